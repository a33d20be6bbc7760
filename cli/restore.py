"""flask restore: a backup in place of what is there, while nothing runs."""

import sqlite3
from pathlib import Path

import click
import peewee
from flask import current_app
from flask.cli import with_appcontext

from calllog import database
from cli import terminal
from upkeep import backup


@click.command("restore")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--calls", "with_calls", is_flag=True, help="The call log on SQLite; this alone if nothing is said.")
@click.option("--inbox", "with_inbox", is_flag=True, help="The inbox: after a lost disk.")
@click.option("--position", type=click.IntRange(min=1), help="The highest change_no that 1C has read, if you know it.")
@click.option("--yes", is_flag=True, help="Also when the present inbox holds deliveries that the backup lacks.")
@with_appcontext
def command(path: Path, with_calls: bool, with_inbox: bool, position: int | None, yes: bool) -> None:
    """Restore the backup PATH (a directory that flask backup has made). The service must be stopped.

    The present inbox is kept unless told otherwise: whatever the restored call log lacks is forwarded from it again.
    """
    settings, box = terminal.settings(), current_app.extensions["connector"].inbox
    try:
        with box.alone() as free:  # forwarding is stopped, and nothing starts to use DATA_DIR until we are done
            if not free:
                terminal.fail(f"the service or another command uses {settings.data_dir}: stop it, then restore")
            chosen = backup.verified(path)
            click.echo(f"{chosen.path} is whole, made {terminal.local(chosen.manifest['at'])}")
            with_calls = with_calls or not with_inbox
            if with_calls and (backup.call_log_file(settings) is None or backup.CALLS not in chosen.manifest["files"]):
                terminal.fail(
                    "the call log is on MySQL: load its dump (docs/operations.md); --inbox restores the inbox"
                )
            if with_inbox and not yes:
                lacking, waiting = backup.lacking(box, chosen)
                if lacking:
                    terminal.fail(
                        f"the present inbox holds {lacking} deliveries that the backup lacks, {waiting} of them wait: "
                        "without --inbox it is kept and fills the call log; --yes restores the inbox all the same"
                    )
            said = backup.restore(
                settings, box, chosen, with_inbox=with_inbox, with_calls=with_calls, position=position or 0
            )
    except (backup.Wrong, database.Newer, peewee.PeeweeException, OSError, sqlite3.Error) as error:
        owner = (
            "; DATA_DIR must be there and be the service's own (install -d)"
            if isinstance(error, PermissionError)
            else ""
        )
        terminal.fail(f"not restored: {type(error).__name__}: {error}{owner}")
    for sentence in said:
        click.echo(sentence)
    click.echo("start the service: it forwards what waits, and what the restored call log lacks; then flask check")
