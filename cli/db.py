"""pbx-connector db: the call log's tables."""

import sys

import click
from flask.cli import AppGroup

import models
from calllog import database
from cli import terminal
from config import Stop
from upkeep import transfer
from upkeep.exchange import Exchange
from upkeep.forgotten import Forgotten

command = AppGroup("db", help="The call log's tables.")


@command.command("upgrade")
def db_upgrade() -> None:
    """Create the tables, or bring them to this release's version. Safe when several start at once."""
    with terminal.attempt("not upgraded"):
        applied = database.upgrade(terminal.settings().database_url, terminal.echo)
    terminal.echo("the call log is up to date" if not applied else f"schema version {models.VERSION}")
    if applied and "0001_call_log" not in applied:
        terminal.echo("pbx-connector calls rebuild gives the calls of before what this release understands better")


@command.command("downgrade")
@click.argument("release")
def db_downgrade(release: str) -> None:
    """Bring the call log back to what RELEASE (0.1.0, or a schema version: 1) writes, before that release is started.

    `deploy/install.sh --rollback` does it. Repeatable; `pbx-connector db upgrade` undoes it.
    """
    schema_version = database.RELEASES.get(release) or (int(release) if release.isdecimal() else 0)
    if not schema_version:
        known = ", ".join(database.RELEASES)
        raise Stop(f"{release} is no release that this one knows ({known}) and no schema version")
    with terminal.attempt("not downgraded"):
        _take_list()
        back = database.downgrade(terminal.settings().database_url, schema_version, terminal.echo)
    terminal.echo(
        f"schema version {schema_version}" if back else "a release of that version writes the call log as it is"
    )


def _take_list() -> None:
    """Who was forgotten on other nodes, into this node's own list: an older release goes by that alone."""
    db, who = database.open_database(terminal.settings().database_url), Forgotten(terminal.settings().inbox_dir)
    with db.connection_context(), who.held():
        if db.table_exists("forgotten_list"):
            Exchange(who).take(db)


@command.command("status")
def db_status() -> None:
    """Which migrations are applied. Exit status 1 when some are missing."""
    with terminal.attempt("the call log does not answer"):
        rows = database.migrations(terminal.settings().database_url)
    shown = [(name, f"{at:%Y-%m-%d %H:%M:%S}" if at else "missing") for name, at in rows]
    terminal.table(shown, ("migration", "applied"))
    if any(at is None for _, at in rows):
        sys.exit(1)


@command.command("copy")
@click.argument("target_url", envvar="TARGET_URL")
@click.option("--again", is_flag=True, help="Empty a copy that was broken off, and start anew.")
def db_copy(target_url: str, again: bool) -> None:
    """Copy the call log of DATABASE_URL into an empty database, from one snapshot: ids and change_no are kept, every
    table is read again and compared. The service may run. TARGET_URL may also come from the environment."""
    counts: dict[str, int] = {}
    source_url = terminal.settings().database_url
    try:
        database.parse_url(target_url)
    except ValueError as error:
        raise Stop(f"TARGET_URL must be {error}") from None
    try:
        with terminal.attempt("not copied"), terminal.bar("copying", 1) as bar:
            for step in transfer.copy(source_url, target_url, again, lambda line: terminal.echo(f"target: {line}")):
                bar.length = step.total
                bar.update(step.rows)
                counts[step.table] = counts.get(step.table, 0) + (step.rows if step.verified else 0)
    except KeyboardInterrupt:
        raise Stop("broken off: pbx-connector db copy --again empties what was copied and starts anew") from None
    terminal.echo(
        f"copied and compared: {', '.join(f'{count} {table}' for table, count in counts.items()) or 'no rows'}"
    )
    terminal.echo(
        "now set DATABASE_URL to the copy and restart the service: what came meanwhile is forwarded again by itself"
    )
