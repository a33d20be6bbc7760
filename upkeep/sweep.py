"""One sweep for forgotten people: what is his is deleted, and the number is blanked where others' mention it.

His are the calls whose client's number it is, their deliveries, and his contacts. By a list that knows numbers and calls
by their hashes (forgotten.py), in bites and with the batch's locks (docs/decisions/0010-forgetting.md).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial

import peewee

from calllog import batch
from calllog.database import transaction
from calllog.reading import pages
from inbox import FORGOTTEN, Stored
from inbox.judge import understood
from models import CallEvents, CallLegs, Calls, Contacts, Employees, Table
from schemas.event import CallEvent
from schemas.fields import moment_of, phone
from schemas.reading import Delivery
from upkeep.bites import ROWS, Counts, bites
from upkeep.blanking import blank_delivery, is_id, values
from upkeep.exchange import give
from upkeep.forgotten import CallId, Fact, Forgotten
from upkeep.mentions import Mentions
from upkeep.search import BLANKED, HIS, MENTIONS, Search, fragment
from upkeep.spellings import blank_sentence, normal

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


class Sweep(Search):
    """Deletes what is somebody's whom `who` knows, and blanks the mentions of him; can be repeated after any crash."""

    def run(self) -> Iterator[Counts]:
        """Table -> how many, bite by bite."""
        yield from self._calls()
        for page in self.inbox.pages():
            yield from self._deliveries(page)
        if self.db is not None and self.place.log:
            yield from self._contacts(self.db)
        yield from Mentions(self).run()

    # -- calls: those of deliveries in the inbox, then those in the call log

    def _calls(self) -> Iterator[Counts]:
        seen = set[CallId]()
        for found in self._found_calls():
            new = {call: at for call, at in found.items() if call not in seen}
            seen.update(new)
            for bite in bites(list(new.items())):
                if self.record is None:
                    self._remember(bite)
                yield self.bite(*self._planned(bite), self._remove)
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
            at = at if self.goes(at, first, self.marks is None or id <= self.marks.call) else -1
        if at >= 0:
            self.met.add(at)
            self.show(HIS, f"call {provider} {call} of {first}, client {client or caller or called}")
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
                at = at if self.goes(at, moment, self._was_there(stored.delivery)) else -1
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
        self.his |= ids.keys()
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
        yield self.bite({"deliveries": len(erased)}, erased, keys, lambda ids: {"deliveries": self.inbox.erase(ids)})
        name, keys = f"{BLANKED}deliveries", [f"mention {delivery.id}" for delivery, _ in blanked]
        yield self.bite({name: len(blanked)}, blanked, keys, lambda rows: {name: self.inbox.blank(rows)})

    def _is_his(self, stored: Stored, event: CallEvent | None) -> bool:
        if event is not None:
            return self.who.when_call(event.provider, event.provider_call_id) >= 0
        return stored.outcome.reason != FORGOTTEN and self._names_only_him(stored.delivery)

    def _names_only_him(self, delivery: Delivery) -> bool:
        """Whether a delivery that brings no event has his number for the whole of a value, and no other outside number."""
        found, known = False, self.known(delivery.received_at, self._was_there(delivery))
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
        known = self.known(delivery.received_at, self._was_there(delivery))
        clean, sentence = blank_delivery(delivery, known), blank_sentence(detail, known)
        if clean is delivery and sentence == detail:
            return None
        after = (clean.body.decode("utf-8", "replace"), clean.query, sentence)
        self.show(MENTIONS, f"delivery {delivery.id}: {fragment(' '.join(texts), ' '.join(after))}")
        return replace(clean, event_key=stored.outcome.event_key or (event.event_key if event else "")), sentence

    # -- what 1C writes

    def _contacts(self, db: peewee.Database) -> Iterator[Counts]:
        columns = (Contacts.client_number, Contacts.client_name, Contacts.updated_at)
        for rows in pages(db, ROWS, Contacts.id, *columns):
            his = []
            for id, number, name, at in rows:
                of_number = self.who.when_client(normal(phone(number))) if number else -1
                if self.goes(of_number, self.written("contacts", id, at)):
                    his.append((id, at, of_number))
                    self.show(HIS, f"contact {id}: {number} {name}")
            for bite in bites(his):
                keys = [f"contact {id}" for id, _, _ in bite]
                yield self.bite({"contacts": len(bite)}, bite, keys, partial(self._remove_contacts, db))

    def _remove_contacts(self, db: peewee.Database, rows: list[tuple[int, object, int]]) -> Counts:
        facts = self.rows_known("contacts", rows)
        with transaction(db):
            give(db, facts)
            return {"contacts": Contacts.delete().where(Contacts.id.in_([id for id, _, _ in rows])).execute(db)}


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
