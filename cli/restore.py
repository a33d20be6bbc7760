"""pbx-connector restore: a backup in place of what is there, while nothing runs."""

from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from cli import terminal
from config import Stop
from upkeep import backup


@click.command("restore")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--calls", "with_calls", is_flag=True, help="The call log on SQLite; the default without --inbox.")
@click.option("--inbox", "with_inbox", is_flag=True, help="The inbox: after a lost disk.")
@click.option("--position", type=click.IntRange(min=1), help="The highest change_no that 1C has read, if you know it.")
@click.option("--merge", is_flag=True, help="With --inbox: keep what the present inbox alone holds, too.")
@click.option("--yes", is_flag=True, help="Also when the present inbox holds deliveries that the backup lacks.")
@with_appcontext
def command(path: Path, with_calls: bool, with_inbox: bool, position: int | None, merge: bool, yes: bool) -> None:
    """Restore the backup PATH (a directory that pbx-connector backup has made). The service must be stopped.

    Without --inbox the present inbox is kept: whatever the restored call log lacks is forwarded from it again.
    """
    settings, inbox = terminal.settings(), current_app.extensions["connector"].inbox
    # forwarding is stopped, and nothing starts to use DATA_DIR until we are done
    with terminal.attempt("not restored"), inbox.alone() as free:
        if not free:
            raise Stop(f"the service or another command uses {settings.data_dir}: stop it, then restore")
        chosen = backup.verified(path)
        terminal.echo(f"{chosen.path} is whole, made {terminal.local(chosen.manifest['at'])}")
        for remark in chosen.remarks:
            terminal.echo(remark)
        with_calls = with_calls or not with_inbox
        if with_calls and (backup.call_log_file(settings) is None or backup.CALLS not in chosen.manifest["files"]):
            raise Stop("the call log is on MySQL: load its dump (docs/operations.md); --inbox restores the inbox")
        lacking, waiting = backup.lacking(inbox, chosen) if with_inbox and not (merge or yes) else (0, 0)
        if lacking:
            raise Stop(
                f"the present inbox holds {lacking} deliveries that the backup lacks, {waiting} of them wait: "
                "without --inbox it is kept and fills the call log; --merge keeps both; --yes drops what only it holds"
            )
        done = backup.restore(
            settings, inbox, chosen, with_inbox=with_inbox, merged=merge, with_calls=with_calls, position=position or 0
        )
    for sentence in done:
        terminal.echo(sentence)
    terminal.echo(
        "start the service: it forwards what waits, and what the restored call log lacks; then pbx-connector check"
    )
