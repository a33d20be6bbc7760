"""pbx-connector backup: a copy to restore from, made while the service runs."""

import sys
from pathlib import Path

import click
from flask.cli import with_appcontext

from cli import terminal
from inbox import now
from upkeep import backup


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keep", type=click.IntRange(min=1), help="Then delete the older backups but the newest so many.")
@with_appcontext
def command(directory: Path, keep: int | None) -> None:
    """Copy the inbox, the call log on SQLite, the list of the forgotten and the destruction records into DIRECTORY.

    The copy is read back before it gets its name, a moment in UTC. A call log on MySQL has mysqldump (docs/operations.md).
    """
    terminal.make_room()
    settings, inbox = terminal.settings(), terminal.inbox()
    with terminal.attempt("no backup was made"):
        made = backup.make(settings, inbox, directory, _progress)
        gone = backup.thin(directory, keep) if keep else []
    with terminal.attempt(f"backup {made.path} is whole, but that it was made cannot be noted"):
        facts = {"backup_directory": str(directory.absolute()), "backup_at": str(now()), "backup_keep": str(keep or 0)}
        inbox.remember(**facts)
    for name, facts in made.manifest["files"].items():
        counts = ", ".join(f"{facts[table]} {table}" for table in backup.COUNTED.get(name, ()))
        terminal.echo(
            f"{name}: {(made.path / name).stat().st_size} bytes" + (f", {counts}, read back" if counts else "")
        )
    if backup.call_log_file(settings) is None:
        terminal.echo("the call log is on MySQL: back it up with mysqldump --single-transaction (docs/operations.md)")
    terminal.echo(f"backup {made.path}" + (f"; {len(gone)} older deleted, {keep} kept" if keep else ""))


def _progress(name: str, left: int, all: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{name}: {100 * (all - left) // max(all, 1)} %", err=True, nl=not left)
