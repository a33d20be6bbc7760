"""flask purge: what is past INBOX_DAYS and CALLS_DAYS goes; run daily by a timer."""

import sys

import click
import peewee
from flask.cli import with_appcontext

from calllog import batch
from cli import terminal
from inbox import now
from inbox.judge import DAY
from upkeep import acts, retention


@click.command("purge")
@with_appcontext
def command() -> None:
    """Delete what is past its term: deliveries older than INBOX_DAYS, calls whose last event is older than CALLS_DAYS.

    Waiting deliveries and open calls never; dead letters with CALLS_DAYS. Each deletion leaves a record: flask acts.
    """
    settings, box, at = terminal.settings(), terminal.inbox(), now()
    days = settings.calls_days or settings.inbox_days
    period = f"до {terminal.local(at - days * DAY)}"
    with acts.record(
        settings.data_dir / "acts", box.node(), settings.timezone, "purge", retention.EXPIRED_TERM, period=period
    ) as record:
        gone = retention.purge_inbox(box, settings, record, at)
        said = ", ".join(f"{count} {state}" for state, count in gone.items())
        click.echo(f"inbox: {said} deleted (older than {settings.inbox_days} days)")
        if not settings.calls_days:
            click.echo("call log: kept for ever (CALLS_DAYS=0)")
            return
        log = terminal.call_log()
        count = 0
        try:
            bar = click.progressbar(
                length=retention.overdue(log, settings, at),
                label="calls",
                hidden=not sys.stderr.isatty(),
                file=sys.stderr,
            )
            with bar:
                for bite in retention.purge_calls(log, settings, record, at):
                    bar.update(bite["calls"])
                    count += bite["calls"]
        except (peewee.PeeweeException, batch.SchemaDiffers) as error:
            terminal.fail(f"{count} calls deleted, then: {type(error).__name__}: {error}; run it again")
        click.echo(f"call log: {count} calls deleted (older than {settings.calls_days} days)")
