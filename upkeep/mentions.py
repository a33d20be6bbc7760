"""Mentions of somebody forgotten: in others' calls, in names that 1C wrote, in what the inbox keeps beside deliveries."""

import re
import time
from collections.abc import Iterator
from functools import partial

import peewee

from calllog import batch
from calllog.batch import TooMuch
from calllog.database import transaction
from calllog.reading import pages
from inbox import Text
from models import CallEvents, Contacts, Employees, Position
from upkeep.bites import ROWS, Counts, bites
from upkeep.blanking import blank_event, blank_json
from upkeep.exchange import give
from upkeep.search import BLANKED, MENTIONS, Search, fragment
from upkeep.spellings import blank, blank_sentence

_RECEIVED = re.compile(r'"received_at":(\d+)')


class Mentions:
    """Of those whom a search is for."""

    def __init__(self, search: Search) -> None:
        self.search = search

    def run(self) -> Iterator[Counts]:
        """Table -> how many, bite by bite."""
        db = self.search.db
        if db is not None and self.search.place.log:
            yield from self._of_events(db)
            yield from self._names(db)
        yield from self._texts()

    def _of_events(self, db: peewee.Database) -> Iterator[Counts]:
        for rows in pages(db, ROWS, CallEvents.id, CallEvents.call_id, CallEvents.payload, CallEvents.received_at):
            found: set[int] = set()
            for _, call, payload, at in rows:
                if call in found or call in self.search.his or not self.search.who.may_mention(payload):
                    continue
                exact = _RECEIVED.search(payload)  # in milliseconds, the column's are whole seconds
                clean = blank_json(
                    payload, self.search.known(int(exact[1]) if exact else at, self._call_was_there(call))
                )
                if clean != payload:
                    found.add(call)
                    self.search.show(MENTIONS, f"call {call}: {fragment(payload, clean)}")
            name = f"{BLANKED}calls"
            for bite in bites(sorted(found)):
                keys = [f"events {id}" for id in bite]
                yield self.search.bite({name: len(bite)}, bite, keys, partial(self._blank_calls, db, name))
            yield {}

    def _call_was_there(self, id: int) -> bool:
        return self.search.marks is None or id <= self.search.marks.call

    def _blank_calls(self, db: peewee.Database, name: str, ids: list[int]) -> Counts:
        """Their events without the number, and the calls folded from these: their change_no moves."""
        events = []
        for id, of_call in batch.stored_events(db, ids).items():
            for event in of_call:
                known = self.search.known(event.received_at, self._call_was_there(id))
                clean = blank_event(event, known)
                if clean != event:
                    events.append(clean)
        if not events:
            return {}
        inbox, known_position = self.search.inbox, self.search.place.position
        try:
            applied = batch.apply(
                db, events, node=inbox.node(), zone=self.search.settings.timezone, now=time.time_ns() // 1_000_000,
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

    def _names(self, db: peewee.Database) -> Iterator[Counts]:
        """Names in 1C's own tables that mention him."""
        for column in (Contacts.client_name, Employees.employee_name):
            table = column.model._meta.table_name
            for rows in pages(db, ROWS, column.model.id, column, column.model.updated_at):
                found: list[tuple[int, str, object, int]] = []
                for id, words, at in rows:
                    if not self.search.who.may_mention(words):
                        continue
                    self.search.last = -1
                    clean = blank(words, self.search.known(self.search.written(table, id, at), True))
                    if clean != words:
                        found.append((id, clean, at, self.search.last))
                        self.search.show(MENTIONS, f"{table} {id}, then: {clean}")
                for bite in bites(found):
                    name, keys = f"{BLANKED}{table}", [f"{table} {id}" for id, *_ in bite]
                    yield self.search.bite({name: len(bite)}, bite, keys, partial(self._rename, db, column))

    def _rename(self, db: peewee.Database, column: peewee.Field, rows: list[tuple[int, str, object, int]]) -> Counts:
        table = column.model
        facts = self.search.rows_known(table._meta.table_name, [(id, at, of) for id, _, at, of in rows])
        with transaction(db):
            give(db, facts)
            for id, words, _, _ in rows:
                table.update({column: words}).where(table.id == id).execute(db)
        return {f"{BLANKED}{table._meta.table_name}": len(rows)}

    def _texts(self) -> Iterator[Counts]:
        changes = [
            (text, words) for text in self.search.inbox.texts() for words in [self._other(text)] if words != text.words
        ]
        planned: Counts = {}
        for text, words in changes:
            name = text.table if words is None else f"{BLANKED}{text.table}"
            planned[name] = planned.get(name, 0) + 1
        yield self.search.bite(planned, changes, ["texts"], partial(self._put_texts, planned))

    def _put_texts(self, planned: Counts, changes: list[tuple[Text, str | None]]) -> Counts:
        self.search.inbox.put_texts(changes)
        return planned

    def _other(self, text: Text) -> str | None:
        """The words without the number; None where the row goes: an order to call him, an answer to one."""
        known = self.search.known(None, True)
        clean = blank_sentence(text.words, known) if self.search.who.may_mention(text.words) else text.words
        goes = text.table == "placements" or text.column == "number"
        return None if clean != text.words and goes else clean
