"""What both halves of a sweep share (sweep.py deletes what is his, mentions.py blanks): where and for whom they look, what
is from before he was forgotten, and how a bite is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

import peewee

from calllog import batch
from config import Settings
from inbox import Inbox
from models import CallEvents, Calls, Position
from upkeep import acts
from upkeep.bites import ROWS, Counts, give_way, in_room, truncate_log
from upkeep.forgotten import Fact, Forgotten
from upkeep.spellings import Known

T = TypeVar("T")
When = int | datetime | str | None  # milliseconds, or wall clock in whole seconds; None: unknown

HIS, MENTIONS = "his", "mentions"
BLANKED = "blanked_"  # before a table: so many of its rows mentioned the number, which was blanked
EXAMPLES = 3  # of each group, that a dry run shows


class Marks(NamedTuple):
    """What was there when somebody was forgotten, at the moment `at`: the last delivery's id and the last call's. All of it
    goes, whatever time it names: the clocks of 1C and of providers are not ours."""

    at: int
    delivery: int
    call: int


def marks(db: peewee.Database, inbox: Inbox, at: int) -> Marks:
    """The marks of this moment. Call it where nobody forwards: within `Forgotten.held`."""
    last = next((stored.delivery.id for stored in inbox.deliveries(limit=1)), 0)
    return Marks(at, last, Calls.select(peewee.fn.MAX(Calls.id)).scalar(db) or 0)


def steps(db: peewee.Database, inbox: Inbox) -> int:
    """How many times `Sweep.run` yields, nearly: for a progress bar."""
    deliveries = next((stored.delivery.id for stored in inbox.deliveries(limit=1)), 0)
    rows = sum(table.select().count(db) for table in (Calls, CallEvents))
    return int(2 * deliveries / 500 + rows / ROWS) + 4


@dataclass(slots=True)
class Place:
    """Where a sweep looks. `db` None: only in the inbox. `position` None: the call log is a copy that nobody forwards
    to."""

    db: peewee.Database | None
    inbox: Inbox
    settings: Settings
    position: Callable[[], Position] | None = None
    pause: bool = True  # after each bite, for others
    rewrite: bool = True  # files in which bytes are left, though deliveries wait meanwhile
    log: bool = True  # look through the call log, not only for what deliveries of the inbox tell of


class Search:
    """`record` None: nothing is changed, only counted (`who` is then a list of its own, not the service's). `marks`: of the
    act that is being done, in whose first sweep no times are compared."""

    def __init__(
        self, place: Place, who: Forgotten, record: acts.Record | None = None, marks: Marks | None = None
    ) -> None:
        self.db, self.inbox, self.settings = place.db, place.inbox, place.settings
        self.place, self.who, self.record, self.marks = place, who, record, marks
        self.examples: dict[str, list[str]] = {HIS: [], MENTIONS: []}
        self.his: set[int] = set()  # calls, by their ids in the log
        self.added: set[Fact] = set()  # to the list, by this sweep
        self.last = -1  # when he was forgotten who was met the last time
        self.met: set[int] = set()  # when those were forgotten of whom something was found

    def bite(self, about: Counts, rows: list[T], keys: list[str], act: Callable[[list[T]], Counts]) -> Counts:
        """One bite, while no batch is between its look at the list and its commit; without a record, what is there. `keys`
        name what is there and will not be afterwards."""
        if self.record is None or not rows:
            return about
        began = time.monotonic()
        with self.who.held(), self.record.bite(about, keys):
            done = in_room(rows, act, self._make_room, self.record.add)
        if self.place.pause:
            give_way(began)
        return done

    def _make_room(self) -> None:
        self.inbox.truncate_log()
        if self.db is not None:
            truncate_log(self.db)

    def goes(self, at: int, moment: When, was_there: bool = True) -> bool:
        """Whether what is dated `moment` (milliseconds, or wall clock in whole seconds; None: unknown) is from before
        somebody was forgotten `at`; in the first sweep for him, whether it `was_there`."""
        if at < 0:
            return False
        if self.marks is not None and at == self.marks.at:
            goes = was_there
        elif isinstance(moment, int):
            goes = moment <= at
        else:
            goes = moment is None or str(moment)[:19] < str(batch.wall(at, self.settings.timezone))
        if goes:
            self.met.add(at)
            self.last = at
        return goes

    def known(self, moment: When, was_there: bool) -> Known:
        """Whether a number in a text of that time is to be blanked."""
        return lambda number: self.goes(self.who.when_number(number), moment, was_there)

    def show(self, group: str, example: str) -> None:
        """An example, for a dry run."""
        if self.record is None and len(self.examples[group]) < EXAMPLES:
            self.examples[group].append(example)

    def written(self, table: str, id: int, at: str | datetime | None) -> When:
        """When 1C wrote a row; None, which is before anything, of one that is known to have been there."""
        return None if self.who.when_row(table, id, at) >= 0 else at

    def rows_known(self, table: str, rows: list[tuple[int, object, int]]) -> list[Fact]:
        """These rows (id, updated_at, when he was forgotten) are known from now on."""
        facts: list[Fact] = []
        for when in {when for _, _, when in rows}:
            of_him = [(table, id, at) for id, at, of in rows if of == when and self.who.when_row(table, id, at) < 0]
            facts += self.who.add(when, rows=of_him) if of_him else []
        self.added.update(facts)
        return facts


def fragment(text: str, clean: str) -> str:
    """The words round the number, for the eyes of who decides."""
    start = next((at for at, (one, other) in enumerate(zip(text, clean, strict=False)) if one != other), 0)
    return f"…{text[max(0, start - 40) : start + 40]}…"
