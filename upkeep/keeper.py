"""Keeps the forgotten forgotten beside forwarding: late events, what other nodes forget, call logs that come back.

1. Before each batch, `look`: what other nodes have added to the list is taken over.
2. `judge`: an event of somebody forgotten makes its call a forgotten one, here and for every node, and what the call log
   had of it already goes.
3. Between batches, `work`: acts that were broken off are finished; the inbox is swept of what the list has got since it was
   swept the last time; a call log that lacks facts of ours is swept of these.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import peewee

from calllog import batch
from calllog.database import transaction
from calllog.errors import Busy
from config import Settings
from inbox import Inbox
from models import CallEvents
from schemas.event import CallEvent
from schemas.reading import Delivery
from upkeep import acts, forget, unfinished
from upkeep.blanking import blank_delivery, blank_event
from upkeep.exchange import Exchange, give
from upkeep.forget import SWEPT
from upkeep.forgotten import CallId, Fact, Forgotten
from upkeep.search import Place
from upkeep.sweep import others

log = logging.getLogger("connector.forwarder")

LATE = "опоздавшее событие звонка, удалённого ранее"
ELSEWHERE = "удаление данных человека, выполненное на другом узле или раньше"
CAME_BACK = "повторное удаление: журнал восстановлен или скопирован"


class Keeper:
    """Of one node, by the list that its forwarder holds."""

    def __init__(self, settings: Settings, inbox: Inbox, who: Forgotten) -> None:
        self.settings, self.inbox, self.who = settings, inbox, who
        self._exchange = Exchange(who)
        self._work: Iterator[object] | None = None
        self.due = True  # something may be to do: look for it

    @property
    def busy(self) -> bool:
        """Whether something is half done."""
        return self._work is not None

    def look(self, db: peewee.Database) -> None:
        """1. Call it in `held`."""
        taken = self._exchange.take(db)
        self.due = self.due or bool(taken or self._exchange.lacking)

    def judge(self, db: peewee.Database, events: Iterable[CallEvent]) -> None:
        """2. Call it in `held`: afterwards `Forgotten.when_call` tells of each of the events whether it is ignored."""
        if self.who.latest < 0:
            return
        found: dict[CallId, int] = {}
        for event in events:
            call = event.provider, event.provider_call_id
            at = self.who.of(event)
            if at >= 0 and self.who.when_call(*call) < 0:
                found[call] = at
        for call in others(db, list(found), self.who) if found else ():
            del found[call]
        if found:
            self._forget(db, found)

    def _forget(self, db: peewee.Database, found: dict[CallId, int]) -> None:
        """These calls are his whom the list knows since the moment that stands beside each."""
        before = self.who.size()
        facts = [fact for call, at in found.items() for fact in self.who.add(at, calls=[call])]
        self.due = True  # if it is not done here, a sweep of the inbox does it
        with contextlib.suppress(Busy):  # somebody has locked a row: others' calls go on
            self._remove(db, found, facts)
            if int(self.inbox.fact(SWEPT) or 0) == before:
                self.inbox.remember(**{SWEPT: str(self.who.size())})

    def _remove(self, db: peewee.Database, found: dict[CallId, int], facts: list[Fact]) -> None:
        digests = self.who.digests()
        keys: list[str] = []
        of = sorted({digest for at in found.values() for digest in digests.get(at, ())})

        def read(ids: set[int]) -> None:
            chosen = CallEvents.select(CallEvents.event_key).where(CallEvents.call_id.in_(list(ids)))
            keys.extend(key for (key,) in chosen.tuples().execute(db))
            record.begin()

        with acts.record(self.settings, self.inbox.node(), "again", LATE, digests=of) as record:
            with transaction(db):
                give(db, facts)
                gone = batch.remove(db, list(found), also=read)
            brought = [stored.delivery.id for key in keys for stored in self.inbox.with_event(key)]
            if brought:
                gone["deliveries"] = self.inbox.erase(brought)
            record.add(gone)

    def without_mentions(self, delivery: Delivery, event: CallEvent) -> tuple[Delivery, CallEvent]:
        """Another's late delivery, and its event, without the numbers that were forgotten since."""
        at = min(event.moment, event.received_at)
        if at > self.who.latest:
            return delivery, event

        def known(number: str) -> bool:
            return self.who.when_number(number) >= at

        clean = blank_delivery(delivery, known)
        if clean is delivery:
            return delivery, event
        clean = replace(clean, event_key=event.event_key)
        self.inbox.blank([(clean, "")])
        return clean, blank_event(event, known)

    # -- 3.

    def work(self, place: Place, seconds: float) -> bool:
        """Go on with what is due, so long; whether anything is left."""
        if self._work is None:
            if not self.due:
                return False
            self.due, self._work = False, self._all(place)
        until = time.monotonic() + seconds
        for _ in self._work:
            if time.monotonic() > until:
                return True
        self._work = None
        return self.due

    def drop(self) -> None:
        """Leave it as it is, after an error; it is due again."""
        self._work, self.due = None, True

    def _all(self, place: Place) -> Iterator[object]:
        yield from forget.finish(place)
        if unfinished.present(acts.directory(self.settings)):  # a command is at it
            return
        assert place.db is not None
        with self.who.held():
            self._exchange.take(place.db)
        lacking = {fact.at for fact in self._exchange.lacking}
        since = self.who.since(int(self.inbox.fact(SWEPT) or 0))
        if lacking - since or (lacking and not since):
            log.warning("the call log lacks what was forgotten: who was forgotten is deleted from it again")
        if lacking:
            yield from forget.again(place, CAME_BACK, self.who.only(lacking | since))
        elif since:
            yield from forget.again(replace(place, log=False), ELSEWHERE, self.who.only(since))
