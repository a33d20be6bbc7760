"""flask check | db | inbox | calls | forward | feeds: what the sysadmin and the set-up person type."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import click
import peewee
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

import calls
import models
import rebuild
import schemas
from config import FeedSettings, Settings
from forwarder import Report
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Inbox, Letter, Unavailable, now

STATES = click.Choice((RECEIVED, FORWARDED, IGNORED, DEAD))
since_option = click.option(
    "--since", type=click.DateTime(), help="Only those received since this moment (TIMEZONE's wall clock)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
limit_option = click.option("--limit", default=50, show_default=True, help="At most so many.")


def register(app: Flask) -> None:
    """Add every command to the application."""
    for command in (check, db, inbox, calls_group, forward, feeds):
        app.cli.add_command(command)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["connector"].settings
    return settings


def _inbox() -> Inbox:
    found: Inbox = current_app.extensions["connector"].inbox
    return found


def _local(moment: int | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment // 1000, _settings().timezone).strftime("%Y-%m-%d %H:%M:%S")


def _milliseconds(since: datetime | None) -> int:
    return int(since.replace(tzinfo=_settings().timezone).timestamp() * 1000) if since else 0


def _table(rows: Iterable[tuple[Any, ...]], head: tuple[str, ...]) -> None:
    lines = [head, *[tuple("" if value is None else str(value) for value in row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


def _fail(message: str) -> None:
    click.echo(message, err=True)
    sys.exit(1)


# --------------------------------------------------------------------------------------------------------------- check


@click.command("check")
@with_appcontext
def check() -> None:
    """Settings (secrets masked), inbox, database, schema, clock. Exit status 1 when something is wrong."""
    settings, wrong = _settings(), []
    for name, value in settings.masked():
        click.echo(f"{name}={value}")
    click.echo()
    for what, test in (("inbox", _check_inbox), ("call log", _check_call_log), ("clock", _check_clock)):
        try:
            click.echo(f"{what}: {test(settings)}")
        except Exception as error:
            wrong.append(what)
            click.echo(f"{what}: WRONG: {type(error).__name__}: {error}")
    closed = [name for name, feed in settings.feeds.items() if feed.closed]
    if closed:
        click.echo(f"closed feeds (their <FEED>_KEY is not set): {', '.join(sorted(closed))}")
    if wrong:
        sys.exit(1)


def _check_inbox(settings: Settings) -> str:
    box = _inbox()
    box.probe()
    said = box.check()
    if said != "ok":
        raise RuntimeError(said)
    waiting, since = box.backlog()
    forwarding = "forwarded by a running service" if box.is_forwarding() else "nothing forwards it now"
    return f"{box.path}, node {box.node()}, {waiting} waiting{' since ' + _local(since) if since else ''}, {forwarding}"


def _check_call_log(settings: Settings) -> str:
    database = models.open_database(settings.database_url)
    with database.connection_context():
        version = models.schema_version(database)
        if version != models.VERSION:
            raise calls.SchemaDiffers(
                f"schema version {version}, this release needs {models.VERSION}: run flask db upgrade"
            )
        number = database.execute_sql("SELECT change_no FROM change_counter WHERE id = 1").fetchone()[0]
    return f"schema version {version}, change_no {number}"


def _check_clock(settings: Settings) -> str:
    here = datetime.now(settings.timezone)
    if not 2025 <= here.year < 2100:
        raise RuntimeError(f"the clock says {here:%Y-%m-%d}")
    return f"{here:%Y-%m-%d %H:%M:%S} {settings.timezone}"


# ------------------------------------------------------------------------------------------------------------------ db

db = AppGroup("db", help="The call log's tables.")


@db.command("upgrade")
def db_upgrade() -> None:
    """Create the tables, or bring them to this release's version. Safe when several start at once."""
    try:
        applied = models.upgrade(_settings().database_url, lambda line: click.echo(line))
    except (models.Newer, peewee.PeeweeException, OSError) as error:
        _fail(f"not upgraded: {type(error).__name__}: {error}")
    else:
        click.echo("the call log is up to date" if not applied else f"schema version {models.VERSION}")


@db.command("status")
def db_status() -> None:
    """Which migrations are applied. Exit status 1 when some are missing."""
    try:
        rows = models.migrations(_settings().database_url)
    except peewee.PeeweeException as error:
        _fail(f"the call log does not answer: {type(error).__name__}: {error}")
    else:
        _table(
            [(name, at.strftime("%Y-%m-%d %H:%M:%S") if at else "missing") for name, at in rows],
            ("migration", "applied"),
        )
        if any(at is None for _, at in rows):
            sys.exit(1)


# --------------------------------------------------------------------------------------------------------------- inbox

inbox = AppGroup("inbox", help="Deliveries as they were received.")


@inbox.command("list")
@click.option("--status", type=STATES, help="Only those in this state.")
@click.option("--feed", help="Only those of this feed.")
@since_option
@limit_option
@json_option
def inbox_list(status: str | None, feed: str | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """The newest deliveries, one a line."""
    letters = _inbox().letters(status, feed, _milliseconds(since), limit)
    if as_json:
        for letter in letters:
            click.echo(json.dumps(_as_json(letter), ensure_ascii=False))
        return
    rows = []
    for letter in letters:
        delivery, outcome = letter.delivery, letter.outcome
        detail = " ".join(outcome.detail.split())[:80]
        row = (delivery.id, _local(delivery.received_at), delivery.feed, delivery.route, outcome.state, outcome.reason)
        rows.append((*row, len(delivery.body), detail))
    _table(rows, ("id", "received", "feed", "route", "state", "reason", "bytes", "detail"))


@inbox.command("show")
@click.argument("id", type=int)
@json_option
def inbox_show(id: int, as_json: bool) -> None:
    """One delivery: what came, and what became of it."""
    letter = _inbox().letter(id)
    if letter is None:
        _fail(f"there is no delivery {id}")
        return
    if as_json:
        click.echo(json.dumps(_as_json(letter), ensure_ascii=False))
        return
    delivery, outcome = letter.delivery, letter.outcome
    click.echo(f"delivery {delivery.id}: {delivery.feed}/{delivery.route}, received {_local(delivery.received_at)}")
    click.echo(f"state: {outcome.state} {outcome.reason}".rstrip())
    if outcome.detail:
        click.echo(outcome.detail)
    if outcome.event_key:
        click.echo(f"event: {outcome.event_key}")
    click.echo(f"\n{delivery.method} {delivery.query}".rstrip())
    if delivery.content_type:
        click.echo(f"Content-Type: {delivery.content_type}")
    click.echo(delivery.body.decode("utf-8", "replace"))


def _as_json(letter: Letter) -> dict[str, Any]:
    delivery, outcome = letter.delivery, letter.outcome
    return {
        "id": delivery.id,
        "feed": delivery.feed,
        "route": delivery.route,
        "received_at": _local(delivery.received_at),
        "state": outcome.state,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "event_key": outcome.event_key,
        "settled_at": _local(letter.settled_at),
        "method": delivery.method,
        "query": delivery.query,
        "content_type": delivery.content_type,
        "client_address": delivery.client_address,
        "body": delivery.body.decode("utf-8", "replace"),
    }


@inbox.command("replay")
@click.argument("ids", type=int, nargs=-1)
@click.option("--status", type=STATES, help="All those in this state.")
@click.option("--feed", help="All those of this feed.")
@since_option
def inbox_replay(ids: tuple[int, ...], status: str | None, feed: str | None, since: datetime | None) -> None:
    """Understand deliveries again: by their ids, or all that the options name."""
    box = _inbox()
    chosen = list(ids)
    if not chosen:
        if not (status or feed or since):
            _fail("name deliveries by id, or by --status, --feed, --since")
        chosen = [letter.delivery.id for letter in box.letters(status, feed, _milliseconds(since), -1)]
    count = 0
    with click.progressbar(range(0, len(chosen), 500), label="replaying", file=sys.stderr) as steps:
        for start in steps:
            count += box.replay(chosen[start : start + 500])
    click.echo(f"{count} deliveries wait to be understood again")


@inbox.command("purge")
@click.option("--days", type=click.IntRange(min=0), help="Older than so many days [default: INBOX_DAYS].")
@click.option("--dead", is_flag=True, help="Dead letters too.")
def inbox_purge(days: int | None, dead: bool) -> None:
    """Delete forwarded and ignored deliveries past their days. Waiting ones never, dead ones only with --dead."""
    days = _settings().inbox_days if days is None else days
    gone = _inbox().purge(now() - int(timedelta(days=days).total_seconds() * 1000), dead)
    click.echo(", ".join(f"{count} {state}" for state, count in gone.items()) + f" deleted (older than {days} days)")


# --------------------------------------------------------------------------------------------------------------- calls

calls_group = AppGroup("calls", help="The call log.")


def _call_log() -> peewee.Database:
    try:
        database = models.open_database(_settings().database_url)
        database.connect()
    except peewee.PeeweeException as error:
        _fail(f"the call log does not answer: {type(error).__name__}: {error}")
    return database


@calls_group.command("list")
@click.option("--since", type=click.DateTime(), help="Only those started since this moment (TIMEZONE's wall clock).")
@limit_option
@json_option
def calls_list(since: datetime | None, limit: int, as_json: bool) -> None:
    """The calls that changed last, one a line."""
    table = models.Calls
    query = table.select().order_by(table.change_no.desc()).limit(limit)
    if since:
        query = query.where(table.started_at >= since)
    try:
        rows = list(query.dicts().execute(_call_log()))
    except peewee.PeeweeException as error:
        _fail(f"the call log cannot be read: {type(error).__name__}: {error}")
        return
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False, default=str))
        return
    shown = ("id", "change_no", "started_at", "direction", "client_number", "line_number", "employee_ext", "state",
             "disposition", "talk_seconds", "reason")  # fmt: skip
    _table([tuple(row[name] for name in shown) for row in rows], shown)


@calls_group.command("show")
@click.argument("id", type=int)
def calls_show(id: int) -> None:
    """One call: its row with the event that gave each column, its legs, recordings, and events with their deliveries."""
    try:
        story = calls.story(_call_log(), id)
    except peewee.PeeweeException as error:
        _fail(f"the call log cannot be read: {type(error).__name__}: {error}")
        return
    if story is None:
        _fail(f"there is no call {id}")
        return
    names = {event.event_key: f"event {number}" for number, event in enumerate(story.events, 1)}
    click.echo(f"call {id}")
    rows = []
    for name, value in story.row.items():
        if value not in (None, ""):
            rows.append((name, value, ", ".join(names[key] for key in story.sources.get(name, []) if key in names)))
    _table(rows, ("column", "value", "from"))
    for title, parts in (("legs", story.legs), ("recordings", story.recordings)):
        if parts:
            click.echo(f"\n{title}")
            heads = tuple(name for name in parts[0] if name not in ("call_id", "url_hash"))
            _table([tuple(part[name] for name in heads) for part in parts], heads)
    click.echo("\nevents, in the order of their own time")
    for event in story.events:
        letters = _inbox().with_event(event.event_key)
        deliveries = ", ".join(f"{letter.delivery.id} ({letter.delivery.route})" for letter in letters)
        click.echo(
            f"{names[event.event_key]}: {_local(event.moment)} {event.kind} {event.feed or 'ours'} "
            f"«{event.notification_name}», received {_local(event.received_at)}, "
            f"{'delivery ' + deliveries if letters else 'its delivery is not in this inbox'}"
        )
        said = {k: v for k, v in json.loads(event.to_payload()).items() if k not in _ENVELOPE}
        columns = [name for name, keys in story.sources.items() if event.event_key in keys]
        click.echo(f"    says: {json.dumps(said, ensure_ascii=False)}")
        click.echo(f"    gave: {', '.join(columns) or 'nothing'}")


@calls_group.command("rebuild")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@since_option
@click.option("--feed", help="Only calls with an event of this feed.")
def calls_rebuild(dry_run: bool, since: datetime | None, feed: str | None) -> None:
    """Understand again the deliveries that this inbox still holds, and fold every call anew from all its events."""
    settings, count = _settings(), 0
    columns: dict[str, list[str]] = {}
    try:
        log = _call_log()
        total = rebuild.count(log, since, feed)
        bar = click.progressbar(length=total, label="calls", hidden=not sys.stderr.isatty(), file=sys.stderr)
        with bar:
            for looked, changes in rebuild.rebuild(log, _inbox(), settings, since=since, feed=feed, dry_run=dry_run):
                bar.update(looked)
                count += len(changes)
                for id, changed in changes.items():
                    for name, (there, would) in changed.items():
                        columns.setdefault(name, []).append(f"call {id}: {_shown(there)} -> {_shown(would)}")
    except (peewee.PeeweeException, calls.SchemaDiffers, calls.Restored, calls.Indigestible) as error:
        _fail(f"the call log cannot be rebuilt now: {type(error).__name__}: {error}")
        return
    click.echo(f"{count} of {total} calls {'would change' if dry_run else 'changed'}")
    for name, examples in sorted(columns.items(), key=lambda item: -len(item[1])):
        click.echo(f"{name}: {len(examples)}; {'; '.join(examples[:3])}")


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "", []) else str(value)


_ENVELOPE = frozenset(
    {"v", "feed", "provider", "provider_call_id", "event_key", "received_at", "kind", "notification_name"}
)


# ------------------------------------------------------------------------------------------------------------- forward


@click.command("forward")
@click.option("--once", is_flag=True, required=True, help="All that waits now, then stop.")
@with_appcontext
def forward(once: bool) -> None:
    """Forward the inbox to the call log by hand; the running service does it by itself."""
    box, forwarder = _inbox(), current_app.extensions["connector"].forwarder
    with box.forwarding(wait=False) as mine:
        if not mine:
            box.wake()
            click.echo(f"a running service forwards this inbox already; {box.backlog()[0]} waiting")
            return
        began = time.monotonic()
        try:
            report: Report = forwarder.once()
        except (peewee.PeeweeException, calls.SchemaDiffers, Unavailable, OSError, sqlite3.Error) as error:
            _fail(f"not forwarded, {box.backlog()[0]} waiting: {type(error).__name__}: {error}")
        else:
            seconds = time.monotonic() - began
            click.echo(f"{report.forwarded} forwarded, {report.ignored} ignored, {report.dead} dead in {seconds:.1f} s")


# --------------------------------------------------------------------------------------------------------------- feeds

feeds = AppGroup("feeds", help="What to set up at each provider.")


@feeds.command("show")
@click.argument("feed")
@click.option("--curl", is_flag=True, help="Only a curl command that posts a first notification.")
def feeds_show(feed: str, curl: bool) -> None:
    """The exact URL with its key, and what to paste at the provider (in Russian: it is for the set-up person)."""
    module = schemas.feeds().get(feed)
    if module is None:
        _fail(f"there is no feed {feed}; there are: {', '.join(schemas.feeds())}")
        return
    settings = _settings().feeds[feed]
    click.echo(_curl(settings, module) if curl else module.guide(lambda path: _url(settings, path)))


def _url(feed: FeedSettings, path: str) -> str:
    key = quote(feed.keys[0], safe="") if feed.keys else f"<{feed.name.upper()}_KEY не задан>"
    return f"{_settings().public_url}{path}" + ("" if feed.open else f"?key={key}")


def _curl(feed: FeedSettings, module: Any) -> str:
    path, body = module.first_notification(datetime.now(feed.timezone))
    return f"curl -sS -H 'Content-Type: application/json' -d '{body}' '{_url(feed, path)}'"
