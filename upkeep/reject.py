"""Reject: what somebody sent by a leaked key leaves the call log, by a record that a restore applies again.

1. In the inbox the deliveries become dead as `rejected`, bite by bite, while nothing is forwarded.
2. In the call log the events that only rejected deliveries of this inbox have brought go, and their calls are folded anew.
3. Of what is not rejected waits again whatever the call log lacks: what was beyond a flooded call's bounds, and what a
   reject on another node has taken out although it came here, too.

A crash in between leaves less to do for the next run. In a call log that was restored the forwarder does 2 by itself.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import peewee

from calllog import batch, overdue, restored, withdrawal
from calllog.statements import Indigestible
from config import Settings
from inbox import Inbox, Rejection, Suspects, clock, now
from inbox.judge import DAY, understood
from inbox.links import with_known_links
from models import Position
from schemas.event import CallEvent
from upkeep import acts
from upkeep.bites import BITE, Counts, give_way, patiently
from upkeep.forgotten import Forgotten

log = logging.getLogger("connector.inbox")

REJECT, BRING_BACK = "reject", "bring_back"  # kinds of records
WHY = "прислано по утёкшему ключу, не провайдером"


@dataclass(slots=True)
class Withdrawal:
    """2., page by page, of one feed's rejected deliveries."""

    db: peewee.Database
    inbox: Inbox
    settings: Settings
    feed: str
    _last: int = 0
    _size: int = BITE

    def step(self, known: Position) -> batch.Applied | None:
        """The next page in one transaction, None at the end. It may be tried again, whatever it raises."""
        while page := self.inbox.rejected(self.feed, self._last, self._size):
            try:
                applied = self._withdraw(page, known)
            except (batch.TooMuch, Indigestible) as error:
                if len(page) > 1:
                    self._size = len(page) // 2
                    continue
                log.error("what delivery %d has brought cannot leave the call log", page[0][0], exc_info=error)
                applied = batch.Applied(known)
            self._last, self._size = page[-1][0], min(BITE, 2 * self._size)
            return applied
        return None

    def _withdraw(self, page: list[tuple[int, str]], known: Position) -> batch.Applied:
        keys = sorted({key or self._key(id) for id, key in page} - {""})
        stored = withdrawal.events_of(self.db, keys, self.inbox.node()) if keys else {}
        standing = self.inbox.standing(list(stored)) if stored else {}
        instead = {key: self._instead(stored[key], id) for key, id in standing.items()}
        gone = [key for key, event in stored.items() if instead.get(key) != event]
        if not gone:
            return batch.Applied(known)
        return withdrawal.withdraw(
            self.db, gone, [instead[key] for key in gone if key in instead], self._terms(),
            node=self.inbox.node(), zone=self.settings.timezone, now=now(), known=known, reach=self.inbox.reach,
        )  # fmt: skip

    def _terms(self) -> overdue.Terms | None:
        """None while the clock is doubted: no silence is over then."""
        return None if clock.seen(self.inbox.file).doubt else overdue.Terms.of(self.settings)

    def _key(self, id: int) -> str:
        """The key of a delivery that was not marked forwarded: its event is in the call log after a crash."""
        stored = self.inbox.delivery(id)
        event = understood(stored.delivery, self.settings.feeds)[1] if stored else None
        return event.event_key if event else ""

    def _instead(self, event: CallEvent, id: int) -> CallEvent:
        """The event as the first delivery that is not rejected has brought it."""
        stored = self.inbox.delivery(id)
        assert stored is not None
        again = understood(stored.delivery, self.settings.feeds)[1]
        if again is None or (again.event_key, again.provider_call_id) != (event.event_key, event.provider_call_id):
            return event._replace(received_at=stored.delivery.received_at)
        return with_known_links(again, self.settings, self.inbox)


def reject(
    db: peewee.Database, inbox: Inbox, settings: Settings, suspects: Suspects, record: acts.Record
) -> Iterator[Counts]:
    """Reject the suspects, and take out of the call log whatever a run that was broken off has left there."""
    who = Forgotten(settings.inbox_dir)

    def held(work: Any) -> Counts:
        began = time.monotonic()
        with who.held():
            counts = patiently(work)
            record.add(counts)
        give_way(began)
        return counts

    record.begin()
    for ids in _pages(inbox, suspects):
        yield held(lambda ids=ids: {"rejected": inbox.reject(ids)})
    withdrawal = Withdrawal(db, inbox, settings, suspects.feed)
    while True:
        applied: list[batch.Applied | None] = []
        counts = held(partial(_step, withdrawal, applied))
        if applied[-1] is None:
            break
        yield counts
    if _wait_again(db, inbox, settings, suspects):
        inbox.wake()


def _wait_again(db: peewee.Database, inbox: Inbox, settings: Settings, suspects: Suspects) -> int:
    """What found no room beside the rejected, or was taken out by another node's reject, waits again; returns how many."""
    kept = now() - settings.calls_days * DAY if settings.calls_days else 0
    since = max(suspects.since, kept)
    lost = inbox.requeue(lambda keys: restored.missing(db, keys), suspects.feed, since)
    return lost + inbox.make_room(suspects.since)


def carry_out(db: peewee.Database, inbox: Inbox, settings: Settings) -> Iterator[None]:
    """What the operator page has asked for, bite by bite; nothing where it has asked for nothing."""
    suspects = inbox.asked_to_reject()
    if suspects is None:
        return
    gone = Counter[str]()
    with record(settings, inbox, suspects, WHY) as one:
        for counts in reject(db, inbox, settings, suspects, one):
            gone.update(counts)
            yield
    done = {name: gone[name] for name in ("rejected", "call_events", "changed", "void")}
    inbox.rejection_done(Rejection(now(), **done))
    log.info("rejected what the operator page has asked for: %s", done)


def _step(withdrawal: Withdrawal, applied: list[batch.Applied | None]) -> Counts:
    done = withdrawal.step(withdrawal.inbox.position())
    applied.append(done)
    if done is None:
        return {}
    withdrawal.inbox.settle([], done.position)
    return {"call_events": done.removed, "changed": done.changed - done.void, "void": done.void}


def replay(settings: Settings, inbox: Inbox, ids: list[int]) -> int:
    """Understand again deliveries that somebody names one by one: the rejected ones too, which a restore does not reject
    anew. Returns how many."""
    there = inbox.still_rejected(ids)
    if there:
        with acts.record(settings, inbox.node(), BRING_BACK, "", deliveries=there) as record:
            record.begin()
    return inbox.replay(ids, rejected=True)


def again(settings: Settings, inbox: Inbox) -> int:
    """After a restore of the inbox: reject what was rejected after the backup was made, in the order of the records.
    Returns how many deliveries."""
    count = 0
    for act in acts.records(settings.data_dir / "acts"):
        if act["node"] != inbox.node():
            continue
        if act["kind"] == REJECT:
            count += sum(inbox.reject(ids) for ids in _pages(inbox, Suspects(**act["suspects"])))
        elif act["kind"] == BRING_BACK:
            wanted = {tuple(one) for one in act["deliveries"]}
            there = [id for id, at in inbox.still_rejected([id for id, _ in wanted]) if (id, at) in wanted]
            count -= inbox.replay(there, rejected=True)
    return count


def record(settings: Settings, inbox: Inbox, suspects: Suspects, why: str) -> Any:
    """The record of one rejection; see acts.record."""
    since, until = (batch.wall(moment, settings.timezone) for moment in (suspects.since, suspects.until))
    period = f"{suspects.feed}, принято с {since} до {until}"
    return acts.record(settings, inbox.node(), REJECT, why, suspects=asdict(suspects), period=period)


def _pages(inbox: Inbox, suspects: Suspects) -> Iterator[list[int]]:
    last = 0
    while ids := inbox.suspects(suspects, last, BITE):
        last = ids[-1]
        yield ids
