"""What the commands share: the application, moments as a person writes them, tables of text, sentences on failure."""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import peewee
from flask import current_app

from calllog import batch, database, statements
from config import Settings, Stop
from inbox import Inbox, Unavailable, reserve
from server.sqlite import disk_is_full
from server.visible import unseen, visible

# What a command may meet: a database, a disk or an inbox that is away or differs.
EXPECTED = (peewee.PeeweeException, batch.SchemaDiffers, batch.Restored, statements.Indigestible, Unavailable, OSError,
            sqlite3.Error)  # fmt: skip

since_option = click.option(
    "--since", type=click.DateTime(), help="Only those received since this moment (TIMEZONE's wall clock)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
limit_option = click.option("--limit", default=50, show_default=True, help="At most so many.")


def settings() -> Settings:
    """The running application's settings."""
    found: Settings = current_app.extensions["connector"].settings
    return found


def inbox() -> Inbox:
    """The running application's inbox."""
    found: Inbox = current_app.extensions["connector"].inbox
    _use(found)
    return found


def make_room() -> None:
    """For a command that is run because the disk is full, before it opens anything: the reserve is given up."""
    given = reserve.give_up(settings())
    if given:
        click.echo(
            f"the disk is full: the reserve of {given >> 10} KiB is given up, until there is room again", err=True
        )


def _use(inbox: Inbox) -> None:
    """No restore while a command is at work, nor a command while a restore is."""
    if inbox.directory not in _used:
        inbox.use()
        _used.add(inbox.directory)


_used: set[Path] = set()


def call_log() -> peewee.Database:
    """The call log, connected; a sentence and exit status 1 when it does not answer."""
    _use(current_app.extensions["connector"].inbox)
    with attempt("the call log does not answer"):
        db = database.open_database(settings().database_url)
        db.connect()
    return db


def local(moment: int | None) -> str:
    """Milliseconds since 1970 UTC as TIMEZONE's wall clock, "" for None."""
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment // 1000, settings().timezone).strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(since: datetime | None) -> int:
    """TIMEZONE's wall clock as milliseconds since 1970 UTC, 0 for None."""
    return int(since.replace(tzinfo=settings().timezone).timestamp() * 1000) if since else 0


MOST, MOST_CELL = 20_000, 1200  # characters that are printed of one text, of one cell of a table


def shown(text: Any, most: int = MOST) -> str:
    """What came from outside, as a terminal may print it: nothing in it is obeyed, and a flood of it ends somewhere."""
    found = visible(str(text)[:most])
    if len(found) <= most and len(str(text)) <= most:
        return found
    return f"{found[:most]}… (of {len(str(text))} characters)"


def echo(text: Any = "") -> None:
    """A line of any command: the one way to the terminal."""
    click.echo(visible(str(text)))


def echo_json(value: Any) -> None:
    """A value as one JSON line, whole: a program reads it, and no terminal obeys what is in it."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    click.echo(line.translate({ord(one): json.dumps(one)[1:-1] for one in unseen(line)}))


def table(rows: Iterable[tuple[Any, ...]], head: tuple[str, ...]) -> None:
    """Rows under their heads, each column as wide as it needs."""
    lines = [head, *[tuple("" if value is None else shown(value, MOST_CELL) for value in row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def attempt(failed: str) -> Iterator[None]:
    """What may fail for a reason that the sysadmin can mend: the command then ends on a sentence that begins with `failed`.
    Any other exception is a fault of ours and keeps its traceback."""
    try:
        yield
    except Stop as stop:
        raise Stop(f"{failed}: {stop.message}") from None
    except EXPECTED as error:
        raise _sentence(failed, error) from error


def _sentence(failed: str, error: Exception) -> Stop:
    remedy = ""
    if isinstance(error, PermissionError):
        remedy = "; run it as the user whom DATA_DIR belongs to"
    elif disk_is_full(error):
        remedy = "; delete something else on this disk first (docs/operations.md, ConnectorDiskLow)"
    return Stop(f"{failed}: {type(error).__name__}: {error}{remedy}")


def plain(command: click.Command) -> None:
    """A command, and those of its group, end on a sentence also where no `attempt` is around what a disk or a database
    refuses."""
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        plain(one)
    callback, name = command.callback, command.name
    if callback is None or hasattr(callback, "plain"):
        return

    @wraps(callback)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return callback(*arguments, **options)
        except BrokenPipeError:  # click's own affair: … | head
            raise
        except EXPECTED as error:
            raise _sentence(f"{name} failed", error) from error

    call.plain = True  # type: ignore[attr-defined]
    command.callback = call


def bar(label: str, length: int) -> Any:
    """A progress bar, where stderr is a terminal."""
    return click.progressbar(length=length, label=label, hidden=not sys.stderr.isatty(), file=sys.stderr)
