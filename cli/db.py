"""flask db: the call log's tables."""

import sys

import click
import peewee
from flask.cli import AppGroup

import models
from cli import terminal

command = AppGroup("db", help="The call log's tables.")


@command.command("upgrade")
def db_upgrade() -> None:
    """Create the tables, or bring them to this release's version. Safe when several start at once."""
    try:
        applied = models.upgrade(terminal.settings().database_url, lambda line: click.echo(line))
    except (models.Newer, peewee.PeeweeException, OSError) as error:
        terminal.fail(f"not upgraded: {type(error).__name__}: {error}")
    else:
        click.echo("the call log is up to date" if not applied else f"schema version {models.VERSION}")


@command.command("status")
def db_status() -> None:
    """Which migrations are applied. Exit status 1 when some are missing."""
    try:
        rows = models.migrations(terminal.settings().database_url)
    except peewee.PeeweeException as error:
        terminal.fail(f"the call log does not answer: {type(error).__name__}: {error}")
    else:
        terminal.table(
            [(name, at.strftime("%Y-%m-%d %H:%M:%S") if at else "missing") for name, at in rows],
            ("migration", "applied"),
        )
        if any(at is None for _, at in rows):
            sys.exit(1)
