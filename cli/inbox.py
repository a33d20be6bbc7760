"""pbx-connector inbox: deliveries as they were received."""

import sys
from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

from cli import terminal
from config import Stop
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Stored
from schemas.reading import Delivery

STATES = click.Choice((RECEIVED, FORWARDED, IGNORED, DEAD))

command = AppGroup("inbox", help="Deliveries as they were received.")


@command.command("list")
@click.option("--status", type=STATES, help="Only those in this state.")
@click.option("--feed", help="Only those of this feed.")
@terminal.since_option
@terminal.limit_option
@terminal.json_option
def inbox_list(status: str | None, feed: str | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """The newest deliveries, one a line."""
    found = terminal.inbox().deliveries(status, feed, terminal.milliseconds(since), limit)
    if as_json:
        for stored in found:
            terminal.echo_json(_as_json(stored))
        return
    rows = []
    for stored in found:
        delivery, outcome = stored.delivery, stored.outcome
        detail = " ".join(outcome.detail.split())[:80]
        rows.append((delivery.id, terminal.local(delivery.received_at), delivery.feed, delivery.route, outcome.state,
                     outcome.reason, len(delivery.body), delivery.client_address, delivery.key_hash, detail))  # fmt: skip
    terminal.table(rows, ("id", "received", "feed", "route", "state", "reason", "bytes", "address", "key", "detail"))


@command.command("show")
@click.argument("id", type=int)
@terminal.json_option
def inbox_show(id: int, as_json: bool) -> None:
    """One delivery: what came, and what became of it."""
    stored = terminal.inbox().delivery(id)
    if stored is None:
        raise Stop(f"there is no delivery {id}")
    if as_json:
        terminal.echo_json(_as_json(stored))
        return
    delivery, outcome = stored.delivery, stored.outcome
    terminal.echo(
        f"delivery {delivery.id}: {delivery.feed}/{delivery.route}, received {terminal.local(delivery.received_at)}"
    )
    terminal.echo(f"from: {terminal.shown(delivery.client_address or 'an unknown address')}, by {_key(delivery)}")
    terminal.echo(f"state: {outcome.state} {outcome.reason}".rstrip())
    if outcome.detail:
        terminal.echo(terminal.shown(outcome.detail))
    if outcome.event_key:
        terminal.echo(f"event: {outcome.event_key}")
    terminal.echo(f"\n{delivery.method} {terminal.shown(delivery.query)}".rstrip())
    if delivery.content_type:
        terminal.echo(f"Content-Type: {terminal.shown(delivery.content_type)}")
    text = delivery.body.decode("utf-8", "replace")
    terminal.echo(terminal.shown(text))
    if len(text) > terminal.MOST:
        terminal.echo(f"\nthe whole body: pbx-connector inbox show {id} --json")


def _key(delivery: Delivery) -> str:
    return f"the key {delivery.key_hash}" if delivery.key_hash else "no key that is known"


def _as_json(stored: Stored) -> dict[str, Any]:
    delivery, outcome = stored.delivery, stored.outcome
    return {
        "id": delivery.id,
        "feed": delivery.feed,
        "route": delivery.route,
        "received_at": terminal.local(delivery.received_at),
        "state": outcome.state,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "event_key": outcome.event_key,
        "settled_at": terminal.local(stored.settled_at),
        "method": delivery.method,
        "query": delivery.query,
        "content_type": delivery.content_type,
        "client_address": delivery.client_address,
        "key_hash": delivery.key_hash,
        "body": delivery.body.decode("utf-8", "replace"),
    }


@command.command("replay")
@click.argument("ids", type=int, nargs=-1)
@click.option("--status", type=STATES, help="All those in this state.")
@click.option("--feed", help="All those of this feed.")
@terminal.since_option
def inbox_replay(ids: tuple[int, ...], status: str | None, feed: str | None, since: datetime | None) -> None:
    """Understand deliveries again: by their ids, or all that the options name."""
    terminal.make_room()
    inbox = terminal.inbox()
    chosen = list(ids)
    if not chosen:
        if not (status or feed or since):
            raise Stop("name deliveries by id, or by --status, --feed, --since")
        chosen = [stored.delivery.id for stored in inbox.deliveries(status, feed, terminal.milliseconds(since), -1)]
    count = 0
    with click.progressbar(range(0, len(chosen), 500), label="replaying", file=sys.stderr) as steps:
        for start in steps:
            count += inbox.replay(chosen[start : start + 500])
    terminal.echo(f"{count} deliveries wait to be understood again")


@command.command("purge", hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1)
def inbox_purge(options: tuple[str, ...]) -> None:
    """Gone: see pbx-connector purge."""
    raise Stop(
        "pbx-connector inbox purge left no destruction record and is gone: "
        f"pbx-connector purge {' '.join(['--inbox', *options])} deletes the same and leaves one "
        "(add --dry-run to see how many)"
    )
