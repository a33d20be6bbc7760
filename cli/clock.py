"""pbx-connector clock: whether this host's clock is believed."""

from flask.cli import AppGroup

from cli import terminal
from inbox import clock

command = AppGroup("clock", help="Whether this host's clock is believed.")


@command.command("trust")
def clock_trust() -> None:
    """The clock is right as it stands: deletion, too_old, ends by silence and silent feeds go on at once."""
    with terminal.attempt("the clock is as doubted as before"):
        inbox = terminal.inbox()
        doubt = clock.seen(inbox.file).doubt
        clock.believe(inbox.file)
    terminal.echo(f"the clock is believed: {terminal.local(clock.read().wall)}" + (f" ({doubt})" if doubt else ""))
