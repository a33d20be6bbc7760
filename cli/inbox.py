"""pbx-connector inbox: deliveries as they were received."""

import re
import sys
from collections import Counter
from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

from cli import terminal
from config import Stop
from inbox import DEAD, FORGOTTEN, FORWARDED, IGNORED, RECEIVED, REJECTED, Stored, Suspects, now
from schemas.reading import Delivery
from upkeep import reject

SHOWN = 200  # senders
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
    """Understand deliveries again: by their ids, or all that the options name; a rejected one only by its id."""
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
            some = chosen[start : start + 500]
            count += reject.replay(terminal.settings(), inbox, some) if ids else inbox.replay(some)
    terminal.echo(f"{count} deliveries wait to be understood again")


@command.command("reject")
@click.option("--feed", required=True, help="The feed whose key has leaked.")
@click.option("--since", type=click.DateTime(), required=True, help="Received from then on (TIMEZONE's wall clock).")
@click.option("--until", type=click.DateTime(), required=True, help="Received before then.")
@click.option("--address", default="", help="Only from this address, as pbx-connector inbox list shows it.")
@click.option(
    "--key", "key_hash", default="", help="Only by the key with this hash, as pbx-connector inbox list shows it."
)
@click.option("--why", default=reject.WHY, show_default=True, help="For the record.")
@click.option("--yes", is_flag=True, help="Do it; without it only shows who has sent how much.")
def inbox_reject(feed: str, since: datetime, until: datetime, address: str, key_hash: str, why: str, yes: bool) -> None:
    """Take out what somebody else than the provider sent by a right key: dead as `rejected`, out of the call log.

    The service may run. On several nodes: on each of them. `pbx-connector inbox replay ID` brings one back.
    """
    terminal.make_room()
    settings, inbox = terminal.settings(), terminal.inbox()
    key_hash = key_hash.lower()
    if key_hash and not re.fullmatch("[0-9a-f]{8}", key_hash):
        raise Stop("--key takes the 8 hex digits that pbx-connector inbox list shows, not the key itself")
    before = min(terminal.milliseconds(until), now())  # what comes later is not judged, nor after a restore
    suspects = Suspects(feed, terminal.milliseconds(since), before, address, key_hash)
    senders = inbox.senders(suspects)
    if not senders and feed not in settings.feeds:
        raise Stop(f"there is no feed {feed}")
    if not yes:
        terminal.table(senders[:SHOWN], ("address", "key", "state", "reason", "deliveries"))
        if len(senders) > SHOWN:
            terminal.echo(f"and {len(senders) - SHOWN} lines more, of fewer deliveries each")
        count = sum(sender.size for sender in senders if sender.reason not in (FORGOTTEN, REJECTED))
        terminal.echo(f"{count} deliveries would be rejected, nothing is yet: --yes does it")
        return
    log, gone = terminal.call_log(), Counter[str]()
    failed = "not all was rejected, run the same command again"
    with terminal.attempt(failed), reject.record(settings, inbox, suspects, why) as record:
        for counts in reject.reject(log, inbox, settings, suspects, record):
            gone.update(counts)
    terminal.echo(
        f"{gone['rejected']} deliveries rejected; {gone['call_events']} events left the call log, {gone['changed']} calls "
        f"were folded anew, {gone['void']} are void; the record of this: pbx-connector acts"
    )


@command.command("purge", hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1)
def inbox_purge(options: tuple[str, ...]) -> None:
    """Gone: see pbx-connector purge."""
    raise Stop(
        "pbx-connector inbox purge left no destruction record and is gone: "
        f"pbx-connector purge {' '.join(['--inbox', *options])} deletes the same and leaves one "
        "(add --dry-run to see how many)"
    )
