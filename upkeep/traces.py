"""Traces of what was deleted, in the bytes of our own SQLite files.

`secure_delete` overwrites what a statement deletes; but where SQLite has rebuilt a page before, to make room in it, an
earlier copy of a row may be in what the page has free. VACUUM writes the file anew. What a database server keeps in its
files is not ours (docs/operations.md).
"""

import contextlib
import re
import sqlite3
from pathlib import Path

import peewee

from inbox import Inbox
from upkeep.bites import truncate_log
from upkeep.forgotten import Forgotten

DUE = "traces_due"  # a fact of the inbox: something was deleted since the files were written anew
CHUNK, OVERLAP = 1 << 22, 256  # bytes read at once, and those that are looked at again: a number may lie across

_BETWEEN = rb"(?:\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|[^0-9A-Za-z]){0,8}"


def count(path: Path, number: str) -> int:
    """How many times the number is in a file and in its -wal, written in any way that has its digits; of UTF-16 each second
    byte is a sign between them."""
    core, found = number[1:] if len(number) == 11 and number[0] == "7" else number, 0
    before = rb"(?:(?:00|8" + _BETWEEN + rb"10" + _BETWEEN + rb")?[78]" + _BETWEEN + rb")?"
    digits = _BETWEEN.join(bytes([ord(digit)]) for digit in core)
    wanted = re.compile(rb"(?<![0-9])" + before + digits + rb"(?![0-9])")
    for one in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(FileNotFoundError), one.open("rb") as file:
            tail = b""
            while chunk := file.read(CHUNK):
                text = tail + chunk
                found += sum(hit.end() > len(tail) for hit in wanted.finditer(text))
                tail = text[-OVERLAP:]
    return found


def log_file(db: peewee.Database | None) -> Path | None:
    """The call log's file; None where it is on MySQL."""
    path = getattr(db, "path", None)
    return path if isinstance(path, Path) else None


def remove(
    db: peewee.Database | None, inbox: Inbox, who: Forgotten, number: str = ""
) -> tuple[dict[str, int], list[str]]:
    """Write those of the files anew in which the number is found, both where it is not known. Returns (file -> how many
    times it still is in there, what is in the way as sentences)."""
    log = log_file(db)
    places = [inbox.path] if log is None else [inbox.path, log]
    in_the_way: list[str] = []
    left: dict[str, int] = {}
    with who.held():  # nothing is written to the call log meanwhile
        for path in places:
            if path == inbox.path:
                inbox.truncate_log()
            elif db is not None:
                truncate_log(db)
            if number and not count(path, number):
                left[path.name] = 0
                continue
            try:
                whole = inbox.file.rewrite() if path == inbox.path else _rewrite(db)
            except (sqlite3.Error, peewee.PeeweeException) as error:
                in_the_way.append(f"{path.name} could not be written anew: {error}")
                whole = True
            if not whole:
                in_the_way.append(f"a reader holds {path.name}: bytes of before are in it until the reader goes")
            if number:
                left[path.name] = count(path, number)
    inbox.remember(**{DUE: "1" if in_the_way else ""})
    return left, in_the_way


def _rewrite(db: peewee.Database | None) -> bool:
    assert db is not None
    db.execute_sql("VACUUM")
    return truncate_log(db)
