"""flask inbox: deliveries as they were received."""

import json
import sys
from datetime import datetime, timedelta
from typing import Any

import click
from flask.cli import AppGroup

from cli import terminal
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Stored, now

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
            click.echo(json.dumps(_as_json(stored), ensure_ascii=False))
        return
    rows = []
    for stored in found:
        delivery, outcome = stored.delivery, stored.outcome
        detail = " ".join(outcome.detail.split())[:80]
        row = (
            delivery.id,
            terminal.local(delivery.received_at),
            delivery.feed,
            delivery.route,
            outcome.state,
            outcome.reason,
        )
        rows.append((*row, len(delivery.body), detail))
    terminal.table(rows, ("id", "received", "feed", "route", "state", "reason", "bytes", "detail"))


@command.command("show")
@click.argument("id", type=int)
@terminal.json_option
def inbox_show(id: int, as_json: bool) -> None:
    """One delivery: what came, and what became of it."""
    stored = terminal.inbox().delivery(id)
    if stored is None:
        terminal.fail(f"there is no delivery {id}")
        return
    if as_json:
        click.echo(json.dumps(_as_json(stored), ensure_ascii=False))
        return
    delivery, outcome = stored.delivery, stored.outcome
    click.echo(
        f"delivery {delivery.id}: {delivery.feed}/{delivery.route}, received {terminal.local(delivery.received_at)}"
    )
    click.echo(f"state: {outcome.state} {outcome.reason}".rstrip())
    if outcome.detail:
        click.echo(outcome.detail)
    if outcome.event_key:
        click.echo(f"event: {outcome.event_key}")
    click.echo(f"\n{delivery.method} {delivery.query}".rstrip())
    if delivery.content_type:
        click.echo(f"Content-Type: {delivery.content_type}")
    click.echo(delivery.body.decode("utf-8", "replace"))


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
        "body": delivery.body.decode("utf-8", "replace"),
    }


@command.command("replay")
@click.argument("ids", type=int, nargs=-1)
@click.option("--status", type=STATES, help="All those in this state.")
@click.option("--feed", help="All those of this feed.")
@terminal.since_option
def inbox_replay(ids: tuple[int, ...], status: str | None, feed: str | None, since: datetime | None) -> None:
    """Understand deliveries again: by their ids, or all that the options name."""
    box = terminal.inbox()
    chosen = list(ids)
    if not chosen:
        if not (status or feed or since):
            terminal.fail("name deliveries by id, or by --status, --feed, --since")
        chosen = [stored.delivery.id for stored in box.deliveries(status, feed, terminal.milliseconds(since), -1)]
    count = 0
    with click.progressbar(range(0, len(chosen), 500), label="replaying", file=sys.stderr) as steps:
        for start in steps:
            count += box.replay(chosen[start : start + 500])
    click.echo(f"{count} deliveries wait to be understood again")


@command.command("purge")
@click.option("--days", type=click.IntRange(min=0), help="Older than so many days [default: INBOX_DAYS].")
@click.option("--dead", is_flag=True, help="Dead letters too.")
def inbox_purge(days: int | None, dead: bool) -> None:
    """Delete forwarded and ignored deliveries past their days. Waiting ones never, dead ones only with --dead."""
    days = terminal.settings().inbox_days if days is None else days
    gone = terminal.inbox().purge(now() - int(timedelta(days=days).total_seconds() * 1000), dead)
    click.echo(", ".join(f"{count} {state}" for state, count in gone.items()) + f" deleted (older than {days} days)")
