"""pbx-connector purge: what is past INBOX_DAYS, CALLS_DAYS and DEAD_DAYS goes; run daily by a timer."""

import contextlib
import sqlite3
import sys

import click
from flask.cli import with_appcontext

from cli import terminal
from config import Settings, Stop
from inbox import Inbox, clock, now
from inbox.judge import DAY
from upkeep import acts, leaps, retention, traces
from upkeep.forgotten import Forgotten


@click.command("purge")
@click.option("--inbox", "only_inbox", is_flag=True, help="Only deliveries: the call log is left alone.")
@click.option("--days", type=click.IntRange(min=0), help="With --inbox: older than so many days, not INBOX_DAYS.")
@click.option("--dead", is_flag=True, help="With --inbox: dead letters of that age too.")
@click.option("--dry-run", is_flag=True, help="Say how many would be deleted, delete nothing.")
@click.option("--yes", is_flag=True, help="Even if it is much more than the days that have passed account for.")
@with_appcontext
def command(only_inbox: bool, days: int | None, dead: bool, dry_run: bool, yes: bool) -> None:
    """Delete what is past its term: deliveries older than INBOX_DAYS, calls whose last event is older than CALLS_DAYS.

    Waiting deliveries and open calls never; dead letters past DEAD_DAYS (or CALLS_DAYS). Each deletion leaves a record
    (pbx-connector acts). Nothing goes while the clock is doubted (pbx-connector clock trust).
    """
    if not only_inbox and (dead or days is not None):
        raise Stop("--days and --dead are about deliveries: add --inbox")
    terminal.make_room()
    settings, inbox, at = terminal.settings(), terminal.inbox(), now()
    done = "would be deleted" if dry_run else "deleted"
    inbox_days = settings.inbox_days if days is None else days
    oldest = inbox_days if only_inbox else settings.calls_days or inbox_days
    why = retention.BY_HAND.format(days=inbox_days) if dead or days is not None else retention.EXPIRED_TERM
    failed, period = "not all was deleted, run it again", f"до {terminal.local(at - oldest * DAY)}"
    if not dry_run:
        _refuse_by_clock(inbox)
    with terminal.attempt(failed), acts.record(settings, inbox.node(), "purge", why, period=period) as record:
        kept = None if dry_run else record
        if kept and days is None:  # a term that is typed is meant
            _ask(inbox, "inbox", at, inbox_days, retention.past_inbox(inbox, settings, at, inbox_days, dead), yes)
        gone = retention.purge_inbox(inbox, settings, kept, at, inbox_days, dead)
        counts = ", ".join(f"{count} {state}" for state, count in gone.items())
        terminal.echo(f"inbox: {counts} {done} (older than {inbox_days} days)")
        if kept and days is None:
            leaps.remember(inbox, "inbox", at - inbox_days * DAY)
        if kept and inbox.fact(traces.DUE):
            _rewrite(inbox, settings)
        if only_inbox:
            return
        if settings.calls_days:
            count = _purge_calls(inbox, settings, kept, at, yes)
            terminal.echo(f"call log: {count} calls {done} (older than {settings.calls_days} days)")
        else:
            terminal.echo("call log: kept for ever (CALLS_DAYS=0)")
        if kept:
            leaps.remember(inbox, "calls", at - settings.calls_days * DAY if settings.calls_days else 0)
            inbox.remember(purged_at=str(now()), purge_refused="")


def _rewrite(inbox: Inbox, settings: Settings) -> None:
    """The files without the bytes that what was forgotten since may have left in them."""
    _, in_the_way = traces.remove(terminal.call_log(), inbox, Forgotten(settings.inbox_dir))
    for sentence in in_the_way:
        terminal.echo(sentence)


def _purge_calls(inbox: Inbox, settings: Settings, record: acts.Record | None, at: int, yes: bool) -> int:
    log, count = terminal.call_log(), 0
    total, there = retention.count_past(log, settings, at)
    if record is None:
        return total
    _ask(inbox, "calls", at, settings.calls_days, (total, there), yes)
    with terminal.bar("calls", total) as bar:
        for bite in retention.purge_calls(log, settings, record, at):
            bar.update(bite["calls"])
            count += bite["calls"]
    return count


def _refuse_by_clock(inbox: Inbox) -> None:
    with terminal.attempt("nothing was deleted"):
        doubt = clock.seen(inbox.file).doubt
        if doubt:
            _refuse(inbox, f"the clock is doubted: {doubt}; set it right or, if it is right, pbx-connector clock trust")


def _ask(inbox: Inbox, part: str, at: int, days: int, counts: tuple[int, int], yes: bool) -> None:
    """Whoever sits at the terminal is asked about a purge that is no ordinary one; a timer is refused."""
    before = at - days * DAY
    leap = leaps.leap(leaps.last_purge(inbox, part), before, clock.read(), *counts, days)
    if not leap or yes:
        return
    what = f"{'deliveries' if part == 'inbox' else 'calls'} from before {terminal.local(before)}: {leap}"
    if not sys.stdin.isatty():
        _refuse(inbox, f"{what}; if that is meant: pbx-connector purge --yes")
    terminal.echo(what)
    if not click.confirm("Delete them for good?"):
        _refuse(inbox, "as you say")


def _refuse(inbox: Inbox, sentence: str) -> None:
    with contextlib.suppress(OSError, sqlite3.Error):  # whether or not it can be noted
        inbox.remember(purge_refused=sentence)
    raise Stop(sentence)
