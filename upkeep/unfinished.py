"""An act that is under way: each bite is noted before it is done and after, so that whoever finishes the act after a kill
knows all that it has deleted.

DATA_DIR/acts/<id>.unfinished, JSON lines: what the act is, then for each bite `about`, with the rows that it is going to
touch, and `done`. The file is locked while somebody is at it, and gone with the act's end.
"""

import contextlib
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from server import files

SUFFIX = ".unfinished"


class Bite(NamedTuple):
    """What a bite was going to do to which rows, and what it did: None where nobody has noted that."""

    about: dict[str, int]
    rows: frozenset[str]
    done: dict[str, int] | None


class Unfinished:
    """One such act, locked as long as this is open. `fields` are its record's, `aim` whatever its sweep has to know."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self._lock = path, lock
        self.fields: dict[str, Any] = {}
        self.aim: dict[str, Any] = {}
        self._bites: list[Bite] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a crash in the middle of a line
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if "aim" in line:
            self.fields, self.aim = line["fields"], line["aim"]
        elif "about" in line:
            self._bites.append(Bite(line["about"], frozenset(line["rows"]), None))
        else:
            self._bites[-1] = self._bites[-1]._replace(done=line["done"])

    def before(self, about: Mapping[str, int], rows: Sequence[str]) -> None:
        """A bite is going to touch these rows."""
        self._note({"about": about, "rows": list(rows)})

    def after(self, done: Mapping[str, int]) -> None:
        """It did so."""
        self._note({"done": done})

    def counts(self) -> dict[str, int]:
        """All that was done. A bite is done whole or not at all: of one that a kill has cut off nobody noted what it did,
        but had it not been done, a later one would have found its rows."""
        total, later = Counter[str](), set[str]()
        for bite in reversed(self._bites):
            if bite.done is not None or not later & bite.rows:
                total.update(bite.about if bite.done is None else bite.done)
            later |= bite.rows
        return {name: count for name, count in total.items() if count}

    def end(self) -> None:
        """It is finished."""
        self.path.unlink(missing_ok=True)
        files.sync(self.path.parent)

    def close(self) -> None:
        """Let go of it; it is whoever's that comes next, if it is not finished."""
        os.close(self._lock)

    def _note(self, line: dict[str, Any]) -> None:
        files.append(self.path, json.dumps(line) + "\n")
        self._take(line)


def begun(directory: Path, fields: Mapping[str, Any], aim: Mapping[str, Any]) -> Unfinished:
    """A new act, on disk before anything else is done."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{fields['id']}{SUFFIX}"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    files.append(path, json.dumps({"fields": fields, "aim": aim}, ensure_ascii=False) + "\n")
    files.sync(directory)
    return Unfinished(path, lock)


def left(directory: Path) -> Iterator[Unfinished]:
    """The acts that nobody is at, the oldest first, each closed after its turn."""
    paths = directory.glob(f"*{SUFFIX}") if directory.is_dir() else ()
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        one = _free(path)
        if one is not None:
            try:
                yield one
            finally:
                one.close()


def present(directory: Path) -> bool:
    """Whether any act is under way or was broken off."""
    return directory.is_dir() and any(directory.glob(f"*{SUFFIX}"))


def _free(path: Path) -> Unfinished | None:
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        one = Unfinished(path, lock)
    except (BlockingIOError, FileNotFoundError):  # somebody is at it, or has just finished it
        os.close(lock)
        return None
    return one if one.fields else None
