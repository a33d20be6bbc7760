"""flask purge: what is past INBOX_DAYS and CALLS_DAYS goes; run daily by a timer."""

import click
from flask.cli import with_appcontext

from cli import terminal
from config import Stop
from inbox import now
from inbox.judge import DAY
from upkeep import acts, retention


@click.command("purge")
@click.option("--inbox", "only_inbox", is_flag=True, help="Only deliveries: the call log is left alone.")
@click.option("--days", type=click.IntRange(min=0), help="With --inbox: older than so many days, not INBOX_DAYS.")
@click.option("--dead", is_flag=True, help="With --inbox: dead letters of that age too.")
@click.option("--dry-run", is_flag=True, help="Say how many would be deleted, delete nothing.")
@with_appcontext
def command(only_inbox: bool, days: int | None, dead: bool, dry_run: bool) -> None:
    """Delete what is past its term: deliveries older than INBOX_DAYS, calls whose last event is older than CALLS_DAYS.

    Waiting deliveries and open calls never; dead letters with CALLS_DAYS. Each deletion leaves a record: flask acts.
    """
    if not only_inbox and (dead or days is not None):
        raise Stop("--days and --dead are about deliveries: add --inbox")
    settings, inbox, at = terminal.settings(), terminal.inbox(), now()
    done = "would be deleted" if dry_run else "deleted"
    inbox_days = settings.inbox_days if days is None else days
    oldest = inbox_days if only_inbox else settings.calls_days or inbox_days
    why = retention.BY_HAND.format(days=inbox_days) if dead or days is not None else retention.EXPIRED_TERM
    failed, period = "not all was deleted, run it again", f"до {terminal.local(at - oldest * DAY)}"
    with terminal.attempt(failed), acts.record(settings, inbox.node(), "purge", why, period=period) as record:
        kept = None if dry_run else record
        gone = retention.purge_inbox(inbox, settings, kept, at, inbox_days, dead)
        counts = ", ".join(f"{count} {state}" for state, count in gone.items())
        terminal.echo(f"inbox: {counts} {done} (older than {inbox_days} days)")
        if only_inbox:
            return
        if not settings.calls_days:
            terminal.echo("call log: kept for ever (CALLS_DAYS=0)")
            return
        terminal.echo(f"call log: {_purge_calls(kept, at)} calls {done} (older than {settings.calls_days} days)")


def _purge_calls(record: acts.Record | None, at: int) -> int:
    log, settings, count = terminal.call_log(), terminal.settings(), 0
    total = retention.count_past(log, settings, at)
    if record is None:
        return total
    with terminal.bar("calls", total) as bar:
        for bite in retention.purge_calls(log, settings, record, at):
            bar.update(bite["calls"])
            count += bite["calls"]
    return count
