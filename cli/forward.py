"""pbx-connector forward: the inbox to the call log, by hand."""

import time

import click
from flask import current_app
from flask.cli import with_appcontext

from cli import terminal
from forwarder import Tally


@click.command("forward")
@click.option("--once", is_flag=True, required=True, help="All that waits now, then stop.")
@with_appcontext
def command(once: bool) -> None:
    """Forward the inbox to the call log by hand; the running service does it by itself."""
    inbox, forwarder = terminal.inbox(), current_app.extensions["connector"].forwarder
    with inbox.forwarding(wait=False) as mine:
        if not mine:
            inbox.wake()
            terminal.echo(f"a running service forwards this inbox already; {inbox.backlog()[0]} waiting")
            return
        began = time.monotonic()
        with terminal.attempt("not forwarded"):
            tally: Tally = forwarder.once()
        seconds = time.monotonic() - began
        terminal.echo(f"{tally.forwarded} forwarded, {tally.ignored} ignored, {tally.dead} dead in {seconds:.1f} s")
