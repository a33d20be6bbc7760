"""pbx-connector check: is this node set up right? Settings, the service itself, inbox, database, schema, disk, clock."""

import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
from flask.cli import with_appcontext

import config
from calllog import batch, database, employees
from calllog.rehearsal import rehearse
from cli import terminal
from config import Settings, Stop
from inbox import clock, now
from inbox.state import disks, node_state
from server import running
from setup import selftest
from setup.doors import weak_doors

SITE = Path("/etc/nginx/sites-enabled/pbx-connector")


@click.command("check")
@click.option("--offline", is_flag=True, help="Ask neither the service nor nginx: before they run.")
@click.option("--send", is_flag=True, help="Also post a self-test through PUBLIC_URL and follow it into the inbox.")
@with_appcontext
def command(offline: bool, send: bool) -> None:
    """Settings (secrets masked), whether the service runs with them, nginx, inbox, database, schema, disk, clock, weak
    doors. Exit status 1 when one is wrong."""
    settings, wrong = terminal.settings(), []
    for name, value in settings.masked():
        terminal.echo(f"{name}={value}")
    for name, like in config.unknown(settings.feeds).items():
        terminal.echo(
            f"{name} is no setting{f': {like}?' if like else ''}; the file that has it is {config.HERE / '.env'}"
        )
    terminal.echo()
    for what, test in (
        *(() if offline else (("service", _check_service), ("nginx", _check_nginx))),
        ("inbox", _check_inbox),
        ("call log", _check_call_log),
        ("other nodes", _check_other_nodes),
        ("employees", _check_employees),
        ("disk", _check_disk),
        ("clock", _check_clock),
        ("every night", _check_tasks),
    ):
        try:
            terminal.echo(f"{what}: {test(settings)}")
        except Exception as error:
            wrong.append(what)
            terminal.echo(f"{what}: WRONG: {type(error).__name__}: {error}")
    closed = [name for name, feed in settings.feeds.items() if feed.closed]
    if closed:
        terminal.echo(f"closed feeds (their <FEED>_KEY is not set): {', '.join(sorted(closed))}")
    for door in weak_doors(settings):
        if door.thought_shut:
            wrong.append("doors")
        terminal.echo(f"weak door: {'WRONG: ' if door.thought_shut else ''}{door.sentence}")
    if send:
        try:
            for sentence in selftest.send(settings, terminal.inbox()):
                terminal.echo(f"self-test: {sentence}")
        except Stop as failed:
            wrong.append("self-test")
            terminal.echo(f"self-test: WRONG: {failed}")
    if wrong:
        sys.exit(1)


def _check_service(settings: Settings) -> str:
    """As it says itself: that it takes deliveries, is this release, and runs with these settings."""
    try:
        status, body = running.ask(settings.bind, "/readyz", settings.api_key)
    except OSError as error:
        raise RuntimeError(f"nobody answers at {settings.bind} ({error}): start it") from None
    service = body.get("service")
    if service is None:
        raise RuntimeError(f"what answers at {settings.bind} with {status} is no connector of this release: restart it")
    if service["release"] != str(config.HERE):
        raise RuntimeError(f"it runs {service['release']}, this is {config.HERE}: restart it")
    if status != 200:
        raise RuntimeError(f"it takes no deliveries: {body.get('inbox')}")
    if service["settings"] != node_state(settings, terminal.inbox()).settings:
        why = f"; at the last reload those in the file were refused: {service['refused']}" if service["refused"] else ""
        raise RuntimeError(
            f"it runs with other settings than these{why}: systemctl reload pbx-connector, or restart it"
        )
    return (
        f"version {service['version']}, with these settings, started {service['started_at']}, "
        f"generation {service['generation']}"
    )


def _check_nginx(settings: Settings) -> str:
    """Where install.sh has set it up: that it passes requests on."""
    if not SITE.exists():
        return f"not asked, there is no {SITE}"
    name = urlsplit(settings.public_url).hostname or "localhost"
    try:
        status, _ = running.ask("127.0.0.1:80", "/healthz", host=name)
    except OSError as error:
        raise RuntimeError(f"nobody answers on port 80 ({error}): systemctl status nginx") from None
    if status != 200:
        raise RuntimeError(f"it answers {status} to /healthz: the service behind it does not, or another site does")
    return "passes requests on"


def _check_inbox(settings: Settings) -> str:
    inbox = terminal.inbox()
    inbox.probe()
    integrity = inbox.check()
    if integrity != "ok":
        raise RuntimeError(integrity)
    state = node_state(settings, inbox)
    forwarding = "forwarded by a running service" if state.forwarding else "nothing forwards it now"
    since = f" since {terminal.local(state.waiting_since)}" if state.waiting else ""
    return f"{inbox.path}, node {state.node}, {state.waiting} waiting{since}, {forwarding}"


def _check_call_log(settings: Settings) -> str:
    db = database.open_database(settings.database_url, lock_wait=2)
    with db.connection_context():
        found = database.present_schema(db)
        if found.version:
            batch.check_schema(db)
        else:
            raise batch.SchemaDiffers("there are no tables yet: run pbx-connector db upgrade")
        row = db.execute_sql("SELECT change_no FROM change_counter WHERE id = 1").fetchone()
        if row is None:
            raise batch.SchemaDiffers("a copy that was broken off: pbx-connector db copy --again")
        state = node_state(settings, terminal.inbox())
        rehearse(db, node=state.node, zone=settings.timezone, now=now())
    if state.blocked_calls:
        raise RuntimeError(f"{state.blocked_calls} calls wait, locked by {state.blocked_by}")
    return f"schema version {found.version}, change_no {row[0]}, a call can be written"


def _check_other_nodes(settings: Settings) -> str:
    """Those that write to the same call log, as the forwarder saw them last."""
    state = node_state(settings, terminal.inbox())
    if state.silent_nodes:
        since = (f"{node} since {terminal.local(state.other_nodes[node])}" for node in state.silent_nodes)
        raise RuntimeError(f"silent: {', '.join(since)}; what they have taken waits on their disks")
    if state.differing_nodes:
        raise RuntimeError(
            f"{', '.join(state.differing_nodes)}: other settings than here, in what all nodes have in common "
            "(docs/operations.md, «Несколько узлов», has the list)"
        )
    return ", ".join(f"{node} wrote {terminal.local(at)}" for node, at in sorted(state.other_nodes.items())) or "none"


def _check_employees(settings: Settings) -> str:
    """What click to call goes by, and what recent calls show otherwise: for somebody to confirm, nothing is wrong."""
    if not settings.uis_api_token:
        return "not needed without UIS_API_TOKEN"
    db = database.open_database(settings.database_url)
    with db.connection_context():
        found = employees.proposals(db)
    if not found:
        return "as recent calls show them"
    shown = [
        f"{one.ext!r}: {one.number!r}, id {one.id!r}, days: {one.days}{', others too' if one.others else ''}"
        for one in found
    ]
    return f"recent calls show {len(found)} extensions otherwise; confirm them at /click-to-call: {'; '.join(shown)}"


def _check_disk(settings: Settings) -> str:
    found = disks(settings)
    low = [str(disk) for disk in found if disk.low]
    if low:
        raise RuntimeError(f"low: {', '.join(low)}")
    return ", ".join(map(str, found))


def _check_clock(settings: Settings) -> str:
    here = datetime.now(settings.timezone)
    if not 2025 <= here.year < 2100:
        raise RuntimeError(f"the clock says {here:%Y-%m-%d}")
    doubt = clock.seen(terminal.inbox().file).doubt
    if doubt:
        raise RuntimeError(
            f"doubted: {doubt}; nothing is deleted or dropped for its age until it is set right, "
            "or: pbx-connector clock trust"
        )
    return f"{here:%Y-%m-%d %H:%M:%S} {settings.timezone}"


def _check_tasks(settings: Settings) -> str:
    state = node_state(settings, terminal.inbox())
    found = ", ".join(f"{task.name} succeeded {terminal.local(task.succeeded_at) or 'never'}" for task in state.tasks)
    if state.purge_refused:
        raise RuntimeError(f"pbx-connector purge deleted nothing: {state.purge_refused}")
    if any(task.overdue for task in state.tasks):
        raise RuntimeError(f"{found}: journalctl -u pbx-connector-daily, or run it by hand")
    return found
