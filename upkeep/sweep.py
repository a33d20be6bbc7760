"""One sweep for forgotten people: what is his is deleted, and the number is blanked where others' mention it.

His are the calls whose client's number it is, their deliveries, and his contacts. By a list that knows numbers and calls
by their hashes (forgotten.py), in bites and with the batch's locks (docs/decisions/0010-forgetting.md).
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

import peewee

from calllog import batch
from calllog.batch import TooMuch
from calllog.database import transaction
from calllog.reading import pages
from config import Settings
from inbox import FORGOTTEN, Inbox, Stored, Text
from inbox.judge import understood
from models import CallEvents, CallLegs, Calls, Contacts, Employees, Position, Table
from schemas.event import CallEvent
from schemas.fields import moment_of, phone
from schemas.reading import Delivery
from upkeep import acts
from upkeep.bites import ROWS, Counts, bites, give_way, in_room, truncate_log
from upkeep.blanking import blank_delivery, blank_event, blank_json, is_id, values
from upkeep.exchange import give
from upkeep.forgotten import CallId, Fact, Forgotten
from upkeep.spellings import Known, blank, normal

T = TypeVar("T")

HIS, MENTIONS = "his", "mentions"
BLANKED = "blanked_"  # before a table: so many of its rows mentioned the number, which was blanked
EXAMPLES = 3  # of each group, that a dry run shows
_RECEIVED = re.compile(r'"received_at":(\d+)')
_WHOLE = re.compile(r"[+\d\s().\u2010-\u2015/-]+")  # a value that is a number and nothing else


def own(db: peewee.Database, number: str) -> Counts:
    """Where the number is one of the company's: column -> how many rows."""
    columns = {
        "calls.line_number": Calls.line_number,
        "calls.employee_number": Calls.employee_number,
        "call_legs.employee_number": CallLegs.employee_number,
    }
    found = {name: column.model.select().where(column == number).count(db) for name, column in columns.items()}
    numbers = Employees.select(Employees.employee_number).tuples().execute(db)
    found["employees.employee_number"] = sum(normal(phone(one)) == number for (one,) in numbers)
    return {name: count for name, count in found.items() if count}


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


class Sweep:
    """Deletes what is somebody's whom `who` knows, and blanks the mentions of him; can be repeated after any crash.

    `record` None: nothing is changed, only counted (`who` is then a list of its own, not the service's). `marks`: of the
    act that is being done, in whose first sweep no times are compared."""

    def __init__(
        self, place: Place, who: Forgotten, record: acts.Record | None = None, marks: Marks | None = None
    ) -> None:
        self.db, self.inbox, self.settings = place.db, place.inbox, place.settings
        self.place, self.who, self.record, self.marks = place, who, record, marks
        self.examples: dict[str, list[str]] = {HIS: [], MENTIONS: []}
        self._his: set[int] = set()  # calls, by their ids in the log
        self.added: set[Fact] = set()  # to the list, by this sweep
        self._met_last = -1
        self.met: set[int] = set()  # when those were forgotten of whom something was found

    def run(self) -> Iterator[Counts]:
        """Table -> how many, bite by bite."""
        yield from self._calls()
        for page in self.inbox.pages():
            yield from self._deliveries(page)
        if self.db is not None and self.place.log:
            yield from self._mentions(self.db)
            yield from self._contacts(self.db)
            yield from self._names(self.db)
        yield from self._texts()

    # -- how anything is deleted or changed

    def _bite(self, about: Counts, rows: list[T], keys: list[str], act: Callable[[list[T]], Counts]) -> Counts:
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

    def _goes(self, at: int, moment: int | datetime | str | None, was_there: bool = True) -> bool:
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
            self._met_last = at
        return goes

    def _known(self, moment: int | datetime | str | None, was_there: bool) -> Known:
        return lambda number: self._goes(self.who.when_number(number), moment, was_there)

    def _show(self, group: str, example: str) -> None:
        if self.record is None and len(self.examples[group]) < EXAMPLES:
            self.examples[group].append(example)

    # -- calls: those of deliveries in the inbox, then those in the call log

    def _calls(self) -> Iterator[Counts]:
        seen = set[CallId]()
        for found in self._found_calls():
            new = {call: at for call, at in found.items() if call not in seen}
            seen.update(new)
            for bite in bites(list(new.items())):
                if self.record is None:
                    self._remember(bite)
                yield self._bite(*self._planned(bite), self._remove)
            yield {}

    def _found_calls(self) -> Iterator[dict[CallId, int]]:
        """Calls that are his, each with when he was forgotten."""
        for page in self.inbox.pages():
            yield self._calls_of(page)
        if self.db is not None and self.place.log:
            columns = (Calls.provider, Calls.provider_call_id, Calls.client_number, Calls.caller_raw, Calls.called_raw,
                       Calls.first_event_at)  # fmt: skip
            for rows in pages(self.db, ROWS, Calls.id, *columns):
                found = {(provider, call): self._of_row(id, provider, call, *row) for id, provider, call, *row in rows}
                yield {call: at for call, at in found.items() if at >= 0}

    def _of_row(
        self, id: int, provider: str, call: str, client: str, caller: str, called: str, first: str | None
    ) -> int:
        at = self.who.when_call(provider, call)
        if at < 0:
            at = self.who.when_client(client, caller, called)
            at = at if self._goes(at, first, self.marks is None or id <= self.marks.call) else -1
        if at >= 0:
            self.met.add(at)
            self._show(HIS, f"call {provider} {call} of {first}, client {client or caller or called}")
        return at

    def _calls_of(self, page: list[Stored]) -> dict[CallId, int]:
        """Of deliveries: calls of his whose row may be gone or not be there yet."""
        found: dict[CallId, int] = {}
        for stored in page:
            event = self._event(stored)
            if event is None:
                continue
            call = event.provider, event.provider_call_id
            at = self.who.when_call(*call)
            if at < 0:
                at = self.who.when_client(event.client_number, event.caller_raw, event.called_raw)
                moment = min(event.moment, event.received_at)
                at = at if self._goes(at, moment, self._was_there(stored.delivery)) else -1
            if at >= 0:
                found[call] = max(at, found.get(call, -1))
        others = self._of_others(list(found))
        found = {call: at for call, at in found.items() if call not in others}
        self.met.update(found.values())
        return found

    def _of_others(self, calls: list[CallId]) -> set[CallId]:
        """Calls that are in the log with another's number: he is only mentioned in them."""
        return others(self.db, calls, self.who) if self.db is not None else set()

    def _event(self, stored: Stored) -> CallEvent | None:
        if stored.outcome.reason == FORGOTTEN:
            return None
        return understood(stored.delivery, self.settings.feeds)[1]

    def _was_there(self, delivery: Delivery) -> bool:
        return self.marks is None or delivery.id <= self.marks.delivery

    def _remember(self, bite: list[tuple[CallId, int]]) -> list[Fact]:
        """Of calls that are not in the log, too: no later delivery may make them."""
        facts: list[Fact] = []
        for at in {at for _, at in bite}:
            new = [call for call, of in bite if of == at and self.who.when_call(*call) < 0]
            facts += self.who.add(at, calls=new) if new else []
        self.added.update(facts)
        return facts

    def _remove(self, bite: list[tuple[CallId, int]]) -> Counts:
        facts = self._remember(bite)
        if self.db is None:
            return {}
        with transaction(self.db):
            give(self.db, facts)
            return batch.remove(self.db, [call for call, _ in bite])

    def _planned(self, bite: list[tuple[CallId, int]]) -> tuple[Counts, list[tuple[CallId, int]], list[str]]:
        """How many rows of each table would go, of which calls, and these calls' names."""
        if self.db is None:
            return {}, bite, []
        ids = present(self.db, [call for call, _ in bite])
        self._his |= ids.keys()
        counts = {"calls": len(ids)}
        tables: tuple[type[Table], ...] = (CallEvents, *batch.PARTS)
        for table in tables if ids else ():
            counts[table._meta.table_name] = table.select().where(table.call_id.in_(list(ids))).count(self.db)
        return counts, bite, [f"call {id}" for id in ids]

    # -- deliveries

    def _deliveries(self, page: list[Stored]) -> Iterator[Counts]:
        erased: list[int] = []
        blanked: list[tuple[Delivery, str]] = []
        for stored in page:
            event = self._event(stored)
            if self._is_his(stored, event):
                erased.append(stored.delivery.id)
            elif clean := self._blanked(stored, event):
                blanked.append(clean)
        keys = [f"delivery {id}" for id in erased]
        yield self._bite({"deliveries": len(erased)}, erased, keys, lambda ids: {"deliveries": self.inbox.erase(ids)})
        name, keys = f"{BLANKED}deliveries", [f"mention {delivery.id}" for delivery, _ in blanked]
        yield self._bite({name: len(blanked)}, blanked, keys, lambda rows: {name: self.inbox.blank(rows)})

    def _is_his(self, stored: Stored, event: CallEvent | None) -> bool:
        if event is not None:
            return self.who.when_call(event.provider, event.provider_call_id) >= 0
        return stored.outcome.reason != FORGOTTEN and self._names_only_him(stored.delivery)

    def _names_only_him(self, delivery: Delivery) -> bool:
        """Whether a delivery that brings no event has his number for the whole of a value, and no other outside number."""
        found, known = False, self._known(delivery.received_at, self._was_there(delivery))
        body = delivery.body.decode("utf-8", "replace")
        if not self.who.may_mention(body) and not self.who.may_mention(delivery.query):
            return False
        for key, value in (*values(body), *values(delivery.query)):
            if is_id(key) or not _WHOLE.fullmatch(value) or moment_of(value.strip()):
                continue
            number = normal(phone(value))
            if known(number):
                found = True
            elif len(number) == 11 and number[0] == "7" and number not in self._own:
                return False
        return found

    @cached_property
    def _own(self) -> set[str]:
        """The company's numbers, as far as the call log knows them."""
        if self.db is None:
            return set()
        columns = (Calls.line_number, Calls.employee_number, CallLegs.employee_number, Employees.employee_number)
        chosen = (column.model.select(column).distinct().tuples().execute(self.db) for column in columns)
        return {normal(phone(number)) for rows in chosen for (number,) in rows}

    def _blanked(self, stored: Stored, event: CallEvent | None) -> tuple[Delivery, str] | None:
        """Another's delivery without the number, and what became of it; None where it does not mention it."""
        delivery, detail = stored.delivery, stored.outcome.detail
        texts = (delivery.body.decode("utf-8", "replace"), delivery.query, detail)
        if not any(map(self.who.may_mention, texts)):
            return None
        known = self._known(delivery.received_at, self._was_there(delivery))
        clean, sentence = blank_delivery(delivery, known), blank(detail, known)
        if clean is delivery and sentence == detail:
            return None
        after = (clean.body.decode("utf-8", "replace"), clean.query, sentence)
        self._show(MENTIONS, f"delivery {delivery.id}: {_fragment(' '.join(texts), ' '.join(after))}")
        return replace(clean, event_key=stored.outcome.event_key or (event.event_key if event else "")), sentence

    # -- mentions in the call log

    def _mentions(self, db: peewee.Database) -> Iterator[Counts]:
        for rows in pages(db, ROWS, CallEvents.id, CallEvents.call_id, CallEvents.payload, CallEvents.received_at):
            found: set[int] = set()
            for _, call, payload, at in rows:
                if call in found or call in self._his or not self.who.may_mention(payload):
                    continue
                exact = _RECEIVED.search(payload)  # in milliseconds, the column's are whole seconds
                clean = blank_json(payload, self._known(int(exact[1]) if exact else at, self._call_was_there(call)))
                if clean != payload:
                    found.add(call)
                    self._show(MENTIONS, f"call {call}: {_fragment(payload, clean)}")
            name = f"{BLANKED}calls"
            for bite in bites(sorted(found)):
                keys = [f"events {id}" for id in bite]
                yield self._bite({name: len(bite)}, bite, keys, partial(self._blank_calls, db, name))
            yield {}

    def _call_was_there(self, id: int) -> bool:
        return self.marks is None or id <= self.marks.call

    def _blank_calls(self, db: peewee.Database, name: str, ids: list[int]) -> Counts:
        """Their events without the number, and the calls folded from these: their change_no moves."""
        events = []
        for id, of_call in batch.stored_events(db, ids).items():
            for event in of_call:
                known = self._known(event.received_at, self._call_was_there(id))
                clean = blank_event(event, known)
                if clean != event:
                    events.append(clean)
        if not events:
            return {}
        inbox, known_position = self.inbox, self.place.position
        try:
            applied = batch.apply(
                db, events, node=inbox.node(), zone=self.settings.timezone, now=time.time_ns() // 1_000_000,
                known=known_position() if known_position else Position(),
                reach=inbox.reach if known_position else lambda change_no: None, create_missing=False,
            )  # fmt: skip
        except TooMuch:
            for id in ids:  # each alone is never too much
                self._blank_calls(db, name, [id])
            return {name: len(ids)}
        if known_position:
            inbox.settle([], applied.position)
        return {name: len(ids)}

    # -- what 1C writes

    def _contacts(self, db: peewee.Database) -> Iterator[Counts]:
        columns = (Contacts.client_number, Contacts.client_name, Contacts.updated_at)
        for rows in pages(db, ROWS, Contacts.id, *columns):
            his = []
            for id, number, name, at in rows:
                of_number = self.who.when_client(normal(phone(number))) if number else -1
                if self._goes(of_number, self._written("contacts", id, at)):
                    his.append((id, at, of_number))
                    self._show(HIS, f"contact {id}: {number} {name}")
            for bite in bites(his):
                keys = [f"contact {id}" for id, _, _ in bite]
                yield self._bite({"contacts": len(bite)}, bite, keys, partial(self._remove_contacts, db))

    def _written(self, table: str, id: int, at: str | datetime | None) -> str | datetime | None:
        """When 1C wrote a row; None, which is before anything, of one that is known to have been there."""
        return None if self.who.when_row(table, id, at) >= 0 else at

    def _remove_contacts(self, db: peewee.Database, rows: list[tuple[int, object, int]]) -> Counts:
        facts = self._rows_known("contacts", rows)
        with transaction(db):
            give(db, facts)
            return {"contacts": Contacts.delete().where(Contacts.id.in_([id for id, _, _ in rows])).execute(db)}

    def _rows_known(self, table: str, rows: list[tuple[int, object, int]]) -> list[Fact]:
        """These rows (id, updated_at, when he was forgotten) are known from now on."""
        facts: list[Fact] = []
        for when in {when for _, _, when in rows}:
            of_him = [(table, id, at) for id, at, of in rows if of == when and self.who.when_row(table, id, at) < 0]
            facts += self.who.add(when, rows=of_him) if of_him else []
        self.added.update(facts)
        return facts

    def _names(self, db: peewee.Database) -> Iterator[Counts]:
        """Names in 1C's own tables that mention him."""
        for column in (Contacts.client_name, Employees.employee_name):
            table = column.model._meta.table_name
            for rows in pages(db, ROWS, column.model.id, column, column.model.updated_at):
                found: list[tuple[int, str, object, int]] = []
                for id, words, at in rows:
                    if not self.who.may_mention(words):
                        continue
                    self._met_last = -1
                    clean = blank(words, self._known(self._written(table, id, at), True))
                    if clean != words:
                        found.append((id, clean, at, self._met_last))
                        self._show(MENTIONS, f"{table} {id}, then: {clean}")
                for bite in bites(found):
                    name, keys = f"{BLANKED}{table}", [f"{table} {id}" for id, *_ in bite]
                    yield self._bite({name: len(bite)}, bite, keys, partial(self._rename, db, column))

    def _rename(self, db: peewee.Database, column: peewee.Field, rows: list[tuple[int, str, object, int]]) -> Counts:
        table = column.model
        facts = self._rows_known(table._meta.table_name, [(id, at, of) for id, _, at, of in rows])
        with transaction(db):
            give(db, facts)
            for id, words, _, _ in rows:
                table.update({column: words}).where(table.id == id).execute(db)
        return {f"{BLANKED}{table._meta.table_name}": len(rows)}

    # -- what the inbox keeps beside deliveries

    def _texts(self) -> Iterator[Counts]:
        changes = [(text, words) for text in self.inbox.texts() for words in [self._other(text)] if words != text.words]
        planned: Counts = {}
        for text, words in changes:
            name = text.table if words is None else f"{BLANKED}{text.table}"
            planned[name] = planned.get(name, 0) + 1
        yield self._bite(planned, changes, ["texts"], partial(self._put_texts, planned))

    def _put_texts(self, planned: Counts, changes: list[tuple[Text, str | None]]) -> Counts:
        self.inbox.put_texts(changes)
        return planned

    def _other(self, text: Text) -> str | None:
        """The words without the number; None where the row goes: an order to call him, an answer to one."""
        known = self._known(None, True)
        clean = blank(text.words, known) if self.who.may_mention(text.words) else text.words
        goes = text.table == "placements" or text.column == "number"
        return None if clean != text.words and goes else clean


def present(db: peewee.Database, calls: list[CallId]) -> dict[int, CallId]:
    """Those of the calls that are in the log, by id."""
    found: dict[int, CallId] = {}
    for provider in {provider for provider, _ in calls}:
        ids = [call for owner, call in calls if owner == provider]
        chosen = Calls.select(Calls.id, Calls.provider_call_id).where(
            Calls.provider == provider, Calls.provider_call_id.in_(ids)
        )
        found |= {id: (provider, call) for id, call in chosen.tuples().execute(db)}
    return found


def others(db: peewee.Database, calls: list[CallId], who: Forgotten) -> set[CallId]:
    """Those of the calls that are in the log with a client's number that nobody has forgotten, and are not forgotten
    themselves."""
    ids = present(db, calls)
    chosen = Calls.select(Calls.id, Calls.client_number).where(Calls.id.in_(list(ids)), Calls.client_number != "")
    rows = chosen.tuples().execute(db) if ids else ()
    return {ids[id] for id, client in rows if who.when_client(client) < 0 and who.when_call(*ids[id]) < 0}


def _fragment(text: str, clean: str) -> str:
    """The words round the number, for the eyes of who decides."""
    start = next((at for at, (one, other) in enumerate(zip(text, clean, strict=False)) if one != other), 0)
    return f"…{text[max(0, start - 40) : start + 40]}…"
