"""flask forward: the inbox to the call log, by hand."""

import sqlite3
import time

import click
import peewee
from flask import current_app
from flask.cli import with_appcontext

from calllog import batch
from cli import terminal
from forwarder import Tally
from inbox import Unavailable


@click.command("forward")
@click.option("--once", is_flag=True, required=True, help="All that waits now, then stop.")
@with_appcontext
def command(once: bool) -> None:
    """Forward the inbox to the call log by hand; the running service does it by itself."""
    box, forwarder = terminal.inbox(), current_app.extensions["connector"].forwarder
    with box.forwarding(wait=False) as mine:
        if not mine:
            box.wake()
            click.echo(f"a running service forwards this inbox already; {box.backlog()[0]} waiting")
            return
        began = time.monotonic()
        try:
            tally: Tally = forwarder.once()
        except (peewee.PeeweeException, batch.SchemaDiffers, Unavailable, OSError, sqlite3.Error) as error:
            terminal.fail(f"not forwarded, {box.backlog()[0]} waiting: {type(error).__name__}: {error}")
        else:
            seconds = time.monotonic() - began
            click.echo(f"{tally.forwarded} forwarded, {tally.ignored} ignored, {tally.dead} dead in {seconds:.1f} s")
