"""pbx-connector forget: a person's number out of the call log, the contacts and the inbox, for good."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import peewee
from flask.cli import with_appcontext

from cli import terminal
from config import Stop
from inbox import now
from schemas.fields import phone
from upkeep import acts, backup, forget, search, sweep
from upkeep.forgotten import Forgotten
from upkeep.spellings import SHORTEST, WHOLE, normal, numbers_in

WHY = "отзыв согласия / требование субъекта"
AGAIN = "повторное удаление ранее удалённых"


@click.command("forget")
@click.argument("number", default="")
@click.option("--again", is_flag=True, help="All who were forgotten before: after a call log was restored from a copy.")
@click.option("--why", default=WHY, show_default=True, help="For the destruction record; without the number.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--yes-own", is_flag=True, help="Even if it is one of the company's own: where it was the client.")
@click.option("--yes-short", is_flag=True, help="Even if it has fewer than ten digits.")
@with_appcontext
def command(number: str, again: bool, why: str, yes: bool, yes_own: bool, yes_short: bool) -> None:
    """Delete the calls, contacts and deliveries of NUMBER, in any spelling, blank it where others' mention it, and keep
    only its keyed hash. Without NUMBER it is asked for; - reads it from standard input: an argument stands in `ps` and in
    sudo's log.

    The service may run. A later call of the same person is an ordinary call.
    """
    if number == "-":
        number = sys.stdin.readline()
    elif not number and not again and sys.stdin.isatty():
        number = click.prompt("Number")
    number = normal(phone(number.strip()))
    if again == bool(number):
        raise Stop("name a number, or --again")
    if number and not (number.isascii() and number.isdigit() and len(number) >= SHORTEST):
        raise Stop("that is no phone number")
    if number in numbers_in(why):
        raise Stop("--why must not hold the number: the record is kept for three years")
    terminal.make_room()
    settings, inbox, log = terminal.settings(), terminal.inbox(), terminal.call_log()
    with terminal.attempt("nothing was deleted"):
        own = sweep.own(log, number) if number else {}
        if own and not yes_own:
            counts = ", ".join(f"{count} in {column}" for column, count in own.items())
            raise Stop(f"it is one of the company's own ({counts}); --yes-own forgets it where it was the client")
        if number and not yes:
            _confirm(number, bool(own))
        if 0 < len(number) < WHOLE and not yes_short:
            _confirm_short(number)
    place = search.Place(log, inbox, settings, inbox.position)
    failed = "not all was deleted, the service goes on with it, and so does pbx-connector forget --again"
    with terminal.attempt(failed):
        if before := _swept(forget.finish(place), "finishing"):
            terminal.echo(f"what was broken off is finished: {_counted(before, False)}")
        act = (
            forget.forget(place, number, why, bool(own))
            if number
            else forget.again(place, AGAIN if why == WHY else why)
        )
        gone = _swept(act, "deleting")
    terminal.echo("deleted: " + (_counted(gone, False) or "nothing was there"))
    terminal.echo("mentions of others, blanked: " + (_counted(gone, True) or "none"))
    terminal.echo(f"our own files: {_files(settings.data_dir)}")
    if isinstance(log, peewee.MySQLDatabase):
        terminal.echo(
            "the database server's own files, binary logs and dumps are yours: docs/operations.md has the settings"
        )
    terminal.echo("\n".join(_copies(datetime.now(UTC))))
    terminal.echo("the provider's own records and 1C's data are not touched; the record of this: pbx-connector acts")


def _confirm(number: str, own: bool) -> None:
    """What would go, in two groups with three examples of each, and the question."""
    trial, log, inbox = Forgotten(None), terminal.call_log(), terminal.inbox()
    marks = search.marks(log, inbox, now())
    trial.add(marks.at, trial.digest(number), own=own)
    place = search.Place(log, inbox, terminal.settings())
    looked = sweep.Sweep(place, trial.only([marks.at], number), None, marks)
    there = _swept(looked.run(), "looking")
    for group, what, blanked in (
        (search.HIS, "his, to be deleted", False),
        (search.MENTIONS, "mentions of others", True),
    ):
        terminal.echo(f"{what}: {_counted(there, blanked) or 'none'}")
        for example in looked.examples[group]:
            terminal.echo(f"  {terminal.shown(example, terminal.MOST_CELL)}")
    if not sys.stdin.isatty():
        raise Stop("--yes deletes without asking")
    if not click.confirm("Delete them for good?"):
        raise Stop("as you say")


def _confirm_short(number: str) -> None:
    """So few digits may be many things: they are asked for once more."""
    if not sys.stdin.isatty():
        raise Stop(f"{len(number)} digits are no whole number; --yes-short if it is meant")
    if not click.confirm(f"{len(number)} digits are no whole number with its area's code. Is it meant?"):
        raise Stop("as you say")


def _files(data_dir: Path) -> str:
    """What the last act says of the bytes in our own files."""
    found = acts.records(data_dir / "acts")
    return str(found[-1].get("files", "nothing was deleted")) if found else "nothing was deleted"


def _counted(counts: dict[str, int], blanked: bool) -> str:
    """Those of the counts that were deleted, or blanked, as a list."""
    chosen = {name: count for name, count in counts.items() if name.startswith(search.BLANKED) == blanked}
    return ", ".join(f"{count} {name.removeprefix(search.BLANKED)}" for name, count in chosen.items())


def _swept(act: Iterator[dict[str, int]], label: str) -> dict[str, int]:
    """Counts of what an act found, with a progress bar on a terminal."""
    gone: dict[str, int] = {}
    length = search.steps(terminal.call_log(), terminal.inbox()) if sys.stderr.isatty() else 0
    with terminal.bar(label, length) as bar:
        for bite in act:
            bar.update(1)
            for name, count in bite.items():
                gone[name] = gone.get(name, 0) + count
    return {name: count for name, count in gone.items() if count}


def _copies(at: datetime) -> list[str]:
    """Where and until when copies of ours still hold what was deleted; what a killed restore has left is deleted."""
    inbox = terminal.inbox()
    directory = inbox.fact("backup_directory")
    lines = (
        _backups(Path(directory), int(inbox.fact("backup_keep") or 0), at)
        if directory
        else [
            "no pbx-connector backup was made here: any copy made before now still holds it; delete such copies yourself"
        ]
    )
    log = backup.call_log_file(terminal.settings())
    for folder in {inbox.directory, log.parent if log else inbox.directory}:
        if backup.clear(folder):
            lines.append(f"{folder / backup.BESIDE}, left by a restore that was killed, is deleted")
        for aside in sorted(folder.glob("*.before-*")):
            lines.append(f"{aside} was kept by a restore and may hold it: delete it")
    return lines


def _backups(directory: Path, keep: int, at: datetime) -> list[str]:
    before = [one for one in backup.backups(directory) if one.at <= at]
    left = [f"{part} is left of a backup that was killed: it is deleted" for part in backup.clear_parts(directory)]
    with terminal.attempt(f"the list of the forgotten is not in {directory} yet"):
        backup.keep_lists(terminal.settings(), directory)
    again = "when one of them is restored by pbx-connector restore, the number is deleted from it again"
    if not before:
        return [f"{directory} has no backup that holds it", again, *left]
    if keep:
        gone = f"with a backup a day and --keep {keep} the last of them is gone on {at + timedelta(days=keep):%Y-%m-%d}"
    else:
        gone = "nothing deletes them by itself: pbx-connector backup --keep N does, or delete them yourself"
    there = f"{len(before)} backups in {directory} may hold it, the newest is {before[-1].path.name}"
    return [there, gone, again, *left]
