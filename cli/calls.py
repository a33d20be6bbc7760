"""pbx-connector calls: the call log, one call whole, and a rebuild with better rules."""

import json
from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

import models
from calllog import reading
from cli import terminal
from config import Stop
from upkeep import rebuild

REPEATS = 20  # of an event whose deliveries are named
MOST_SAID = 2000  # characters of what an event says: a call has a thousand of them at the most

command = AppGroup("calls", help="The call log.")


@command.command("list")
@click.option("--since", type=click.DateTime(), help="Only those started since this moment (TIMEZONE's wall clock).")
@terminal.limit_option
@terminal.json_option
def calls_list(since: datetime | None, limit: int, as_json: bool) -> None:
    """The calls that changed last, one a line."""
    table = models.Calls
    query = table.select().order_by(table.change_no.desc()).limit(limit)
    if since:
        query = query.where(table.started_at >= since)
    with terminal.attempt("the call log cannot be read"):
        rows = list(query.dicts().execute(terminal.call_log()))
    if as_json:
        for row in rows:
            terminal.echo_json(row)
        return
    shown = ("id", "change_no", "started_at", "direction", "client_number", "line_number", "employee_ext", "state",
             "disposition", "talk_seconds", "reason")  # fmt: skip
    terminal.table([tuple(row[name] for name in shown) for row in rows], shown)


@command.command("show")
@click.argument("id", type=int)
def calls_show(id: int) -> None:
    """One call: its row with the event that gave each column, its parts, and its events with their deliveries."""
    with terminal.attempt("the call log cannot be read"):
        story = reading.story(terminal.call_log(), id)
    if story is None:
        raise Stop(f"there is no call {id}")
    names = {event.event_key: f"event {number}" for number, event in enumerate(story.events, 1)}
    terminal.echo(f"call {id}")
    rows = []
    for name, value in story.row.items():
        if value not in (None, ""):
            rows.append((name, value, ", ".join(names[key] for key in story.sources.get(name, ()) if key in names)))
    terminal.table(rows, ("column", "value", "from"))
    for title, parts in (("legs", story.legs), ("recordings", story.recordings), ("attributes", story.attributes)):
        if parts:
            terminal.echo(f"\n{title}")
            heads = tuple(name for name in parts[0] if name not in ("call_id", "url_hash"))
            terminal.table([tuple(part[name] for name in heads) for part in parts], heads)
    terminal.echo("\nevents, in the order of their own time")
    for event in story.events:
        brought = terminal.inbox().with_event(event.event_key, REPEATS)
        deliveries = ", ".join(f"{stored.delivery.id} ({stored.delivery.route})" for stored in brought)
        terminal.echo(
            f"{names[event.event_key]}: {terminal.local(event.moment)} {event.kind} {event.feed or 'ours'} "
            f"«{event.notification_name}», received {terminal.local(event.received_at)}, "
            f"{f'delivery {deliveries}' if brought else f'taken by {story.nodes[event.event_key]}, not in this inbox'}"
        )
        if not event.believed:
            terminal.echo("    not believed: it tells of a moment more than a day after it was received")
        says = json.dumps(event.content(), ensure_ascii=False)
        terminal.echo(f"    says: {terminal.shown(says, MOST_SAID)}")
        terminal.echo(f"    gave: {', '.join(story.gave(event)) or 'nothing'}")


@command.command("rebuild")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@terminal.since_option
@click.option("--feed", help="Only calls with an event of this feed.")
def calls_rebuild(dry_run: bool, since: datetime | None, feed: str | None) -> None:
    """Understand again the deliveries that this inbox still holds, and fold every call anew from all its events."""
    settings, inbox, count = terminal.settings(), terminal.inbox(), 0
    columns: dict[str, list[str]] = {}
    log = terminal.call_log()
    with terminal.attempt("the call log cannot be rebuilt now"):
        total = rebuild.count(log, since, feed)
        with terminal.bar("calls", total) as bar:
            for looked, changes in rebuild.rebuild(log, inbox, settings, since=since, feed=feed, dry_run=dry_run):
                bar.update(looked)
                count += len(changes)
                for id, changed in changes.items():
                    for name, (there, would) in changed.items():
                        columns.setdefault(name, []).append(f"call {id}: {_shown(there)} -> {_shown(would)}")
    terminal.echo(f"{count} of {total} calls {'would change' if dry_run else 'changed'}")
    for name, examples in sorted(columns.items(), key=lambda item: -len(item[1])):
        terminal.echo(f"{name}: {len(examples)}; {'; '.join(examples[:3])}")


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "", []) else str(value)
