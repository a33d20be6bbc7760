"""Backup and restore of this node's files: inbox, call log on SQLite, the list of the forgotten, destruction records.

A backup is a directory named by its moment in UTC; it bears that name only when it is whole and was read back. The call
log is copied before the inbox: whatever the log's copy lacks, the inbox's copy still has, and forwards again
(docs/decisions/0006 and 0010).
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from calllog import database
from config import Settings, Stop
from inbox import Inbox, clock, now, read_position, rescue
from inbox import file as inbox_file
from models import Position
from server import files
from upkeep import acts, ours, reject, traces
from upkeep.exchange import give
from upkeep.forget import SWEPT
from upkeep.forgotten import Forgotten
from upkeep.search import Place
from upkeep.sweep import Sweep

VERSION = 1  # of the manifest
INBOX, CALLS, MANIFEST = "inbox.db", "calls.db", "manifest.json"
LISTS = ("forgotten", acts.LOG)  # merged into those that are there, never put in their place
STAMP = re.compile(r"\d{8}T\d{6}Z")
KEPT = "forgotten.list"  # beside the backups: who was forgotten since, and the records
BESIDE = "restoring"  # beside a database: what is made ready to take its place
COUNTED = {
    INBOX: ("deliveries", "placements"),
    CALLS: ("calls", "call_events", "call_legs", "call_recordings", "call_attributes", "contacts", "employees"),
}
PAGES = 2000  # of the database, copied at once

# After a lost disk nobody remembers how far readers of the call log had come. The estimate is above any number that they
# hold: a burst, one rebuild of every call, a hundred changes a second since the copy (docs/decisions/0010-forgetting.md).
JUMP, CHANGES_A_SECOND = 100_000, 100
MARGIN = 1000  # the position is remembered after the commit, and not synced

_LOG_POSITION = (
    "SELECT max(change_no, coalesce((SELECT max(change_no) FROM calls), 0)), incarnation FROM change_counter"
)


@dataclass(frozen=True, slots=True)
class Backup:
    """A whole backup."""

    path: Path
    manifest: dict[str, Any]
    remarks: tuple[str, ...] = ()  # of what its files have beside our tables

    @property
    def at(self) -> datetime:
        """When it was begun; nothing forgotten before is in it."""
        return datetime.strptime(self.path.name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def backups(directory: Path) -> list[Backup]:
    """The whole backups in a directory, the oldest first."""
    found = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if STAMP.fullmatch(path.name):
            with contextlib.suppress(OSError, ValueError):
                found.append(Backup(path, json.loads((path / MANIFEST).read_text())))
    return found


def call_log_file(settings: Settings) -> Path | None:
    """The call log's file, None where it is on MySQL."""
    name, options = database.parse_url(settings.database_url)
    return None if options else Path(name)


# -------------------------------------------------------------------------------------------------------------- backup


def make(settings: Settings, inbox: Inbox, directory: Path, progress: Callable[[str, int, int], None]) -> Backup:
    """A new backup in `directory`, verified; `progress` is called with (file, pages left, pages). The service may run.
    Raises Stop, OSError and sqlite3.Error, and leaves nothing behind then."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(directory):
        _remove_parts(directory)
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        if (directory / stamp).exists():
            raise Stop(f"there is a backup {stamp} already: less than a second ago")
        part = directory / f".{stamp}.part"
        part.mkdir(mode=0o700)
        try:
            manifest = _fill(settings, inbox, part, progress)
            files.write(part / MANIFEST, json.dumps(manifest, indent=1).encode())
            files.sync(part)
            part.rename(directory / stamp)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        files.sync(directory)
    return Backup(directory / stamp, manifest)


def _remove_parts(directory: Path) -> list[Path]:
    """What backups that were killed have left; call it alone in the directory."""
    left = sorted(directory.glob(".*.part"))
    for part in left:
        shutil.rmtree(part)
    return left


def clear_parts(directory: Path) -> list[Path]:
    """The same where nobody makes a backup now; what is gone."""
    if not directory.is_dir():
        return []
    try:
        with _alone_in(directory):
            return _remove_parts(directory)
    except Stop:  # one is being made, by which this is deleted
        return []


def clear(directory: Path) -> bool:
    """Whether a restore that was killed had left something beside a database; it is gone. Nobody restores while a command
    uses DATA_DIR."""
    there = (directory / BESIDE).is_dir()
    shutil.rmtree(directory / BESIDE, ignore_errors=True)
    return there


def keep_lists(settings: Settings, directory: Path) -> None:
    """The list of the forgotten and the records, as they are now, beside the backups: a lost disk and an older backup bring
    nobody back."""
    place = directory / KEPT
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Forgotten(settings.inbox_dir).held():
        for source in (settings.inbox_dir / LISTS[0], acts.directory(settings) / LISTS[1]):
            if source.exists():
                new = place / f".{source.name}.new"
                new.unlink(missing_ok=True)
                files.write(new, source.read_bytes())
                new.replace(place / source.name)
    files.sync(place)


def thin(directory: Path, keep: int) -> list[Path]:
    """Delete whole backups but the newest `keep`; returns those that are gone."""
    with _alone_in(directory):
        gone = [backup.path for backup in backups(directory)[:-keep]]
        for path in gone:
            part = path.rename(path.with_name(f".{path.name}.part"))  # half deleted it is no backup
            shutil.rmtree(part)
    return gone


def _fill(settings: Settings, inbox: Inbox, part: Path, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    log = call_log_file(settings)
    sources = {INBOX: inbox.path}
    if log is not None:
        if not log.exists():
            raise Stop(f"there is no call log at {log}: run pbx-connector db upgrade")
        sources = {CALLS: log, **sources}  # the log first, see above
    inbox.node()  # the inbox is there, even where nothing ever came
    anyone = Forgotten(settings.inbox_dir).known() > 0
    manifest: dict[str, Any] = {"version": VERSION, "at": now(), "node": inbox.node(), "files": {}}
    for name, source in sources.items():
        _copy(source, part / name, partial(progress, name), anyone)
        manifest["files"][name] = {"sha256": files.sha256(part / name), **_looked_at(part / name)}
    kept = Forgotten(settings.inbox_dir)
    with kept.held():
        for source in (settings.inbox_dir / "forgotten", settings.data_dir / "acts" / "acts.jsonl"):
            if source.exists():
                files.write(part / source.name, source.read_bytes())
                manifest["files"][source.name] = {"sha256": files.sha256(part / source.name)}
    return manifest


def _copy(source: Path, target: Path, progress: Callable[[int, int], None], rewrite: bool = False) -> None:
    """SQLite's online copy of one moment: the snapshot is held, or every commit beside it would begin the copy anew. With
    `rewrite` it has no bytes beside its rows (upkeep/traces.py)."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with contextlib.closing(_open(source, "ro")) as there, contextlib.closing(_open(target, "rw")) as copy:
        there.execute("BEGIN")
        there.execute("SELECT count(*) FROM sqlite_master").fetchone()
        there.backup(copy, pages=PAGES, progress=lambda _, left, all: progress(left, all), sleep=0)
        there.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        if rewrite:
            copy.execute("VACUUM")
    files.sync(target)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 10000")
    return db


def _looked_at(path: Path) -> dict[str, Any]:
    """What a database says when it is read back: counts, schema version, position. Raises Stop if it is broken."""
    with contextlib.closing(_open(path, "ro")) as db:
        integrity = db.execute("PRAGMA quick_check").fetchone()[0]
        if integrity != "ok":
            raise Stop(f"{path.name} is broken: {integrity}")
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}  # of an older release: fewer
        found: dict[str, Any] = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in COUNTED[path.name]
            if table in there
        }
        if path.name == INBOX:
            found["user_version"] = db.execute("PRAGMA user_version").fetchone()[0]
            found["last_id"] = db.execute("SELECT coalesce(max(id), 0) FROM deliveries").fetchone()[0]
            known = read_position(db)
            found["change_no"], found["incarnation"] = known.change_no, known.incarnation
        else:
            found["schema_version"] = db.execute("SELECT version FROM schema_info").fetchone()[0]
            found["change_no"], found["incarnation"] = db.execute(_LOG_POSITION).fetchone()
    return found


# ------------------------------------------------------------------------------------------------------------- restore


def verified(path: Path) -> Backup:
    """The backup at this path, read back whole: it has the files that its manifest lists and no other, as they were
    written, and their tables are ours (inbox/file.py `foreign`, upkeep/ours.py). Raises Stop."""
    found = [one for one in backups(path.absolute().parent) if one.path.name == path.absolute().name]
    if not found:
        raise Stop(f"{path} is no whole backup: it has no {MANIFEST}, or its name is no moment like 20260131T030000Z")
    listed = found[0].manifest["files"]
    there = {one.name for one in path.iterdir()} - {MANIFEST}
    if listed.keys() != there or INBOX not in there or there - {INBOX, CALLS, *LISTS}:
        raise Stop(f"{path} has {', '.join(sorted(there))}; its {MANIFEST} lists {', '.join(sorted(listed))}")
    remarks: list[str] = []
    for name, facts in listed.items():
        try:
            if files.sha256(path / name) != facts["sha256"]:
                raise Stop(f"{path / name} is not as it was written: its sha256 differs")
            if name in COUNTED:
                remarks += _of_ours(path / name)
                if any(facts.get(key) != value for key, value in _looked_at(path / name).items()):
                    raise Stop(f"{path / name} does not hold what {MANIFEST} says")
        except (OSError, sqlite3.Error) as error:
            raise Stop(f"{path / name} cannot be read: {error}") from error
    return replace(found[0], remarks=tuple(remarks))


def _of_ours(path: Path) -> list[str]:
    """What a database has beside our tables, in sentences. Raises Stop where that could act on what is written to it."""
    with contextlib.closing(_open(path, "ro")) as db:
        refused, remark = (inbox_file.foreign(db), "") if path.name == INBOX else ours.foreign(db)
    if refused:
        raise Stop(f"{path} was not made by this program alone: {refused}")
    return [remark] if remark else []


def lacking(inbox: Inbox, backup: Backup) -> tuple[int, int]:
    """(deliveries of the present inbox that the backup's lacks, how many of them wait); (0, 0) where it cannot be read."""
    last = backup.manifest["files"][INBOX]["last_id"]
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(inbox.path, "rw")) as db:
        node = db.execute("SELECT value FROM facts WHERE name = 'node'").fetchone()
        after = last if node == (backup.manifest["node"],) else 0
        found: tuple[int, int] = db.execute(
            "SELECT count(*), coalesce(sum(state = 'received'), 0) FROM deliveries WHERE id > ?", (after,)
        ).fetchone()
        return found
    return 0, 0


def restore(
    settings: Settings,
    inbox: Inbox,
    backup: Backup,
    *,
    with_inbox: bool,
    with_calls: bool,
    position: int,
    merged: bool = False,
) -> list[str]:
    """Put the backup's files in place of those that are there, which are kept aside; returns what was done, in sentences.

    Only inside `inbox.alone()`. Each file is made ready beside its place, those who were forgotten are deleted from it,
    and then it is renamed: a crash leaves the old one or the new one. The call log goes first: beside it the old inbox is
    as right as the new one. `position`: the highest change_no that a reader may hold, 0 if nobody knows. `merged`: the
    present inbox's deliveries go into the restored one. Raises Stop, OSError, sqlite3.Error, peewee's errors.
    """
    log = call_log_file(settings)
    places: dict[str, Path] = {}
    if with_calls and log is not None:
        places[CALLS] = log
    if with_inbox:
        places[INBOX] = inbox.path
    known, done = _position(inbox.path), []
    if not known.incarnation:  # a lost disk
        known = _position(backup.path / INBOX, "ro")
    if with_calls:
        highest = _highest(inbox.path, log, backup, position)
        known = replace(
            known, change_no=highest, incarnation=known.incarnation or backup.manifest["files"][CALLS]["incarnation"]
        )
        done.append(f"changes go on above {known.change_no}, which no reader of the call log can have passed")
    elif position:
        known = replace(known, change_no=max(position, known.change_no))
    for lists in (backup.path, backup.path.parent / KEPT):
        Forgotten(settings.inbox_dir).merge(lists / LISTS[0])
        acts.merge(acts.directory(settings), lists)
    with contextlib.ExitStack() as stack:
        staged = {name: stack.enter_context(_staged(backup.path / name, place)) for name, place in places.items()}
        if merged and with_inbox and inbox.path.exists():
            done.append(_merged(inbox.path, Inbox(staged[INBOX].parent)))
        for place in places.values():
            stack.enter_context(_nobody_has(place))
        restored = Inbox(staged[INBOX].parent) if with_inbox else inbox
        if known.incarnation:
            restored.settle([], known)
        if with_inbox:
            clock.forget(restored.file)
        done += _forget_in(settings, restored, staged.get(CALLS))
        if with_inbox and (count := reject.again(settings, restored)):
            done.append(f"{count} deliveries that were rejected after the backup are rejected again")
        restored.close()
        for name, place in places.items():
            done.append(_swap(staged[name], place))
    return done


def _highest(inbox: Path, log: Path | None, backup: Backup, position: int) -> int:
    """A number that no reader of the call log can have passed: what DATA_DIR remembers where it is of the same log, else
    an estimate from above."""
    copied = {name: backup.manifest["files"][name] for name in (CALLS, INBOX)}
    least: int = max(facts["change_no"] for facts in copied.values())
    if position:
        return max(position, least)
    seen = [known for known in map(_position, (inbox, *([log] if log else []))) if known.incarnation]
    remembered = max([max(known.change_no, known.reached) for known in seen], default=0) + MARGIN
    if any(known.incarnation == copied[CALLS]["incarnation"] for known in seen):
        return max(least, remembered)
    seconds: int = max(0, now() - backup.manifest["at"]) // 1000
    estimate: int = least + JUMP + copied[CALLS]["calls"] + CHANGES_A_SECOND * seconds
    return max(estimate, remembered)


def _forget_in(settings: Settings, inbox: Inbox, log: Path | None) -> list[str]:
    """Delete the forgotten from a copy before it is put in place; returns what was done, in sentences."""
    who = Forgotten(settings.inbox_dir)
    if not who.known():
        return []
    db = database.open_database(f"sqlite:///{log}") if log else None
    gone = Counter[str]()
    why = "повторное удаление после восстановления из копии"
    with acts.record(settings, inbox.node(), "again", why) as record, db.connection_context() if db else nullcontext():
        sweep = Sweep(Place(db, inbox, settings, pause=False), who, record)
        for bite in sweep.run():
            gone.update(bite)
        of = who.digests()
        record.fields["digests"] = sorted(digest for at in sweep.met for digest in of.get(at, ()))
        if db is not None:
            give(db, who.facts())
        inbox.remember(**{SWEPT: str(who.size())})
        if any(gone.values()):
            traces.remove(db, inbox, Forgotten(None))
    counts = ", ".join(f"{count} {name}" for name, count in gone.items() if count) or "nothing"
    return [f"of {who.known()} forgotten numbers the copy held: {counts}; deleted again"]


def _merged(present: Path, restored: Inbox) -> str:
    """What the present inbox alone holds, brought into the restored one; returns in a sentence what was done."""
    with contextlib.closing(_open(present, "rw")) as old:
        added = rescue.merge(old, restored.file.connection("FULL"), whole=True)
    restored.close()
    return f"{added} deliveries of the present inbox that the backup lacks are kept"


@contextlib.contextmanager
def _staged(source: Path, place: Path) -> Iterator[Path]:
    """The backup's file beside its place, in a directory of its own, brought to this release's schema."""
    place.parent.mkdir(mode=0o700 if place.name == INBOX else 0o750, parents=True, exist_ok=True)
    beside = place.parent / BESIDE
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o700)
    file = beside / (INBOX if source.name == INBOX else CALLS)
    try:
        shutil.copyfile(source, file)
        if place.exists():
            shutil.copystat(place, file)
        if source.name == CALLS:
            database.upgrade(f"sqlite:///{file}", lambda line: None)
        yield file
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _nobody_has(place: Path) -> Iterator[None]:
    """Keep everybody out of a database that is about to be replaced. Leaving WAL succeeds only where no other connection
    is open, however idle: 1C's over ODBC too. A broken file is nobody's. Raises Stop."""
    if not place.exists():
        yield
        return
    with contextlib.closing(_open(place, "rw")) as db:
        try:
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise Stop(f"another program has {place} open (1C over ODBC?): close it and come again") from error
        yield
        if db.in_transaction:
            db.execute("ROLLBACK")


def _swap(file: Path, place: Path) -> str:
    """The file in its place, by one rename; what was there is kept aside."""
    with contextlib.closing(_open(file, "rw")) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    files.sync(file)
    done = f"{place} is restored"
    if place.exists():
        aside = place.with_name(f"{place.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        os.link(place, aside)
        for suffix in ("-wal", "-shm"):  # of a broken file: a sound one has none by now
            with contextlib.suppress(FileNotFoundError):
                Path(f"{place}{suffix}").rename(f"{aside}{suffix}")
        done += f"; what was there is {aside}: delete it when you are sure, it holds personal data"
    file.replace(place)
    files.sync(place.parent)
    return done


def _position(path: Path, mode: str = "rw") -> Position:
    """How far an inbox or a call log has come, nowhere where it cannot be read."""
    with contextlib.suppress(sqlite3.Error, TypeError), contextlib.closing(_open(path, mode)) as db:
        if path.name == INBOX:
            return read_position(db)
        return Position(*db.execute(_LOG_POSITION).fetchone())
    return Position()


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Stop(f"another backup is at work in {directory}") from None
    finally:
        os.close(fd)
