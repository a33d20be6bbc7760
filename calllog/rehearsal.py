"""Whether the call log can be written: what a batch does, done for a call that there is not, and rolled back."""

import secrets
from datetime import tzinfo
from typing import Any

from peewee import Database, DataError, IntegrityError

from calllog import batch, statements
from calllog.database import transaction, wait_for_locks
from calllog.errors import Locked, holder
from models import CallEvents, Calls, Table
from schemas.event import ENDED, LEG_RINGING, CallEvent, Recording

WRITTEN: tuple[type[Table], ...] = (Calls, CallEvents, *batch.PARTS)


class _RolledBack(Exception):
    """The end of a rehearsal."""


def rehearse(db: Database, *, node: str, zone: tzinfo, now: int) -> None:
    """Raises what a batch would raise whatever was in it, in a sentence: peewee's errors and SchemaDiffers. MySQL's
    AUTO_INCREMENT moves on, nothing else does."""
    batch.check_schema(db)  # first: of another release's tables some are not there
    foreign = foreign_indexes(db)
    if foreign:
        raise batch.Unwritable(
            f"a unique index that is not ours takes two calls for one, drop it: {'; '.join(foreign)}"
        )
    leg = {"leg_key": "check", "employee_ext": "check", "attributes": (("check", "check"),)}
    try:
        _write(db, node, zone, now, {**leg, "recordings": (Recording("full", "check"),)})
    except Locked:  # of legs, perhaps: a call that has none may be written
        rehearse_least(db, node=node, zone=zone, now=now)


def rehearse_least(db: Database, *, node: str, zone: tzinfo, now: int) -> None:
    """The same for a call that has nothing but its row and its events. Raises Locked where not even that goes."""
    try:
        _write(db, node, zone, now, {})
    except Locked as locked:
        raise Locked(f"nothing can be written, a lock of others keeps every new call out: {holder(db)}") from locked


def _write(db: Database, node: str, zone: tzinfo, now: int, parts: dict[str, Any]) -> None:
    key = secrets.token_hex(32)
    rings = CallEvent("", "check", key, LEG_RINGING, key, now, direction="in", **parts)
    ends = rings._replace(kind=ENDED, event_key=key[::-1], ended_at=now)
    made_up = Calls.select(Calls.id).where(Calls.provider == "check")
    wait_for_locks(db, longest=True)
    try:
        with transaction(db):
            batch.write(db, [rings, ends], node=node, zone=zone, now=now)
            for table in batch.PARTS if parts else ():
                table.delete().where(table.call_id.in_(made_up)).execute(db)
            raise _RolledBack
    except _RolledBack:
        pass
    except statements.Indigestible as error:
        if isinstance(
            error.__cause__, DataError | IntegrityError
        ):  # else it is our own code's fault, not the call log's
            raise batch.Unwritable(f"it does not take a made-up call: {error}") from error


def foreign_indexes(db: Database) -> list[str]:
    """Unique indexes that somebody added to the tables that a batch writes, as `name ON table (columns)`. A batch takes
    every conflict of a unique key for a row that is there already."""
    found = []
    for table in WRITTEN:
        ours = {frozenset(["id"]), *(frozenset([f.column_name]) for f in table._meta.sorted_fields if f.unique)}
        ours |= {frozenset(columns) for columns, unique in table._meta.indexes if unique}
        for index in db.get_indexes(table._meta.table_name):
            if index.unique and frozenset(index.columns) not in ours:
                columns = ", ".join(str(column) for column in index.columns)
                found.append(f"{index.name} ON {index.table} ({columns})")
    return found
