"""What happens after the call log was restored from a backup (docs/decisions/0006-restore-and-incarnation.md)."""

import secrets
from collections.abc import Sequence

from peewee import Database

import models
from calllog.batch import check_schema, lock_counter
from calllog.database import transaction
from calllog.statements import most_keys
from models import CallEvents, Calls, Position

PAST = 100  # restores that a node remembers


def check_position(db: Database, known: Position) -> Position:
    """Where the call log is, by whatever node's writing. Raises Restored when it is not where this node left it,
    SchemaDiffers when it is another release's."""
    with transaction(db):
        check_schema(db)
        lock_counter(db, known)
        change_no, _, incarnation = lock_counter(db, Position())
        return Position(change_no, incarnation, past=known.past)


def mend(db: Database, known: Position) -> Position:
    """Bring a restored call log's counter above every number that a reader may hold; returns the new position.

    A log of an incarnation that this node has known is a backup: it gets a new incarnation. One of an unknown
    incarnation was mended by another node already. Calls written since the two logs parted are numbered anew: a reader
    may hold another version of them under a higher number (docs/decisions/0006-restore-and-incarnation.md)."""
    with transaction(db):
        check_schema(db)
        change_no, _, incarnation = lock_counter(db, Position())
        marks = [mark for mark, _ in known.past] + [known.incarnation]
        if incarnation in marks:
            since = marks.index(incarnation)
            parted = min([change_no, *(number for _, number in known.past[since:])])
            incarnation = secrets.token_hex(16)
        else:
            parted = db.execute_sql("SELECT restored_from FROM change_counter WHERE id = 1").fetchone()[0]
        seen = max(known.change_no, known.reached)
        last = max(change_no, seen)
        if seen > parted:
            up = last - parted  # above every number there is: none meets another on the way
            Calls.update(change_no=Calls.change_no + up).where(Calls.change_no > parted).execute(db)
            last = max(last, change_no + up)
        models.ChangeCounter.update(change_no=last, incarnation=incarnation, restored_from=parted).execute(db)
    return Position(last, incarnation, past=(*known.past, (known.incarnation, parted))[-PAST:])


def missing(db: Database, event_keys: Sequence[str]) -> set[str]:
    """Those of the keys that the call log has no event of."""
    lacking, most = set(event_keys), most_keys(db)
    for at in range(0, len(event_keys), most):
        found = CallEvents.select(CallEvents.event_key).where(CallEvents.event_key.in_(event_keys[at : at + most]))
        lacking -= {key for (key,) in found.tuples().execute(db)}
    return lacking
