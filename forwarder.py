"""Inbox -> call log: one forwarder a host, in batches, for ever; whatever the call log's state is, providers never wait.

One step (Forwarder.step) takes at most 256 deliveries. Nobody is forgotten in the middle of it.

1. take: what waits, in the order in which it came. No call log, no step.
2. understand: each again from its raw bytes, with the function that chose the answer. What is ignored, dead, too old or of
   somebody forgotten is settled here.
3. write: the events in one transaction. What cannot be written so is written in smaller pieces: halves of what is too
   much, call by call where somebody has locked a row, each alone where one is at fault. A call that is locked waits apart
   (calllog/held.py). Where the call log was restored, what it lacks waits again and the batch is written after that.
4. settle: marked forwarded, only after the commit. A crash before that forwards the batch again, which changes nothing.

Live traffic, a database that was away for a night, a replay and a restored call log all take this one way. An error that
is not one delivery's own ends the step and the connection; it is tried again after 0.5, 1, 2 ... 30 seconds, for ever.
"""

import contextlib
import json
import logging
import math
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import peewee

from calllog import overdue, restored
from calllog.batch import Applied, Restored, TooMuch, apply, other_nodes, wall, write_status
from calllog.bounds import BEYOND
from calllog.database import open_database, same_file, wait_for_locks
from calllog.errors import Locked, holder
from calllog.held import Held, Key
from calllog.rehearsal import rehearse, rehearse_least
from calllog.statements import Indigestible
from config import Settings
from inbox import DEAD, FORGOTTEN, FORWARDED, IGNORED, OUR_FAULT, Inbox, Outcome, clock, now
from inbox.judge import DAY, understood
from inbox.links import with_known_links
from inbox.state import node_state, shared
from inbox.watch import CallLogNote, Watch
from models import Position
from schemas.event import CallEvent
from schemas.reading import Delivery
from setup.button import judged
from upkeep import traces
from upkeep.forgotten import Forgotten
from upkeep.keeper import Keeper
from upkeep.reject import Withdrawal, carry_out
from upkeep.search import Place

log = logging.getLogger("connector.forwarder")


LONGEST_DELAY = 30.0  # seconds between two tries while the call log is away
LONGEST_WHILE_LOCKED = 5.0  # the same where a lock keeps everything out
LOCK_WAIT = 2  # seconds that a batch waits for a row that somebody has locked
LOOK_EVERY = 1.0  # seconds, in case a wake was lost
LOOK_FOR_ENDS_EVERY = 5.0  # seconds: between two looks for calls that end by silence
STATUS_EVERY = 60.0  # seconds: feed_status
KEEP_FOR = 0.2  # seconds at a time: forgetting that is due

Settled = list[tuple[Delivery, Outcome]]
Item = tuple[Delivery | None, CallEvent]  # an event of our own has no delivery

CONSTANT = "похоже, в шаблоне уведомления вместо номера сессии звонка стоит постоянное значение."


@dataclass(slots=True)
class Tally:
    """How many deliveries a step settled."""

    forwarded: int = 0
    ignored: int = 0
    dead: int = 0
    changed: int = 0  # calls

    @property
    def total(self) -> int:
        return self.forwarded + self.ignored + self.dead

    def __iadd__(self, other: "Tally") -> "Tally":
        self.forwarded += other.forwarded
        self.ignored += other.ignored
        self.dead += other.dead
        self.changed += other.changed
        return self


class CallLog:
    """The forwarder's connection to the call log: opened when it is needed, tried before anything is written, and given up
    after any error that is not one delivery's own."""

    def __init__(self, settings: Settings, inbox: Inbox, note: CallLogNote) -> None:
        self.settings, self.inbox, self.note = settings, inbox, note
        self._db: peewee.Database | None = None

    def database(self) -> peewee.Database:
        """Connected, and fit to be written."""
        if self._db is None:
            self._db = open_database(self.settings.database_url, lock_wait=LOCK_WAIT)
        if self._db.is_closed():
            self._db.connect()
            self._ensure_same(self._db)
            self.rehearse()
        self._ensure_same(self._db)
        return self._db

    def rehearse(self) -> None:
        """Raises what is wrong with the call log whatever is written; `pbx-connector check` does the same."""
        rehearse(self.database(), node=self.inbox.node(), zone=self.settings.timezone, now=now())

    def check_locks(self) -> None:
        """Raises Locked when a lock keeps every new call out."""
        rehearse_least(self.database(), node=self.inbox.node(), zone=self.settings.timezone, now=now())

    def holder(self) -> str:
        """Who holds locks in it."""
        return holder(self.database())

    def apply(self, events: Sequence[CallEvent], create_missing: bool, wait: bool) -> Applied:
        """One transaction, which waits for a locked row or does not; a call log that turns out to be restored is mended
        first. Raises what batch.apply raises, but Restored."""
        db = self.database()
        while True:
            wait_for_locks(db, wait)
            try:
                applied = apply(
                    db, events, node=self.inbox.node(), zone=self.settings.timezone, now=now(),
                    known=self.inbox.position(), reach=self.inbox.reach,
                    create_missing=create_missing,
                )  # fmt: skip
            except Restored as error:
                self._mend(db, str(error))
            else:
                self._ensure_same(db)
                self.note.answered()
                if applied.late:
                    self.note.late(applied.late)
                return applied

    def check_position(self) -> None:
        """Notice a restore on a quiet day too."""
        db = self.database()
        wait_for_locks(db, longest=True)
        try:
            self.inbox.settle([], restored.check_position(db, self.inbox.position()))
        except Restored as error:
            self._mend(db, str(error))

    def _mend(self, db: peewee.Database, what: str) -> None:
        """The call log was restored: forward again what it lacks, and number on above what readers have seen."""
        wait_for_locks(db, longest=True)
        count = self.inbox.requeue(lambda keys: restored.missing(db, keys))
        position = self._withdraw(db, restored.mend(db, self.inbox.position()))
        self.inbox.settle([], position)
        log.warning(
            "%s: it was restored or replaced; %d deliveries are forwarded again, changes go on from %d",
            what, count, position.change_no,
        )  # fmt: skip

    def _withdraw(self, db: peewee.Database, position: Position) -> Position:
        """What was rejected leaves a restored call log again; the position after that."""
        for feed in self.inbox.rejected_by_feed():
            withdrawal = Withdrawal(db, self.inbox, self.settings, feed)
            while applied := withdrawal.step(position):
                position = applied.position
        return position

    @staticmethod
    def _ensure_same(db: peewee.Database) -> None:
        """Raises OperationalError when the SQLite call log is not the file at its path any more: what was written to it
        may not be marked forwarded."""
        if not same_file(db):
            raise peewee.OperationalError("calls.db was moved, removed or replaced under the running service")

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except Exception:
                log.debug("the connection was already gone", exc_info=True)


def _past(event: CallEvent, forgotten: Forgotten, days: int, at: int | None) -> Outcome | None:
    """Why an event must not create a call: past CALLS_DAYS (0: for ever) at the moment `at` (None: the clock is doubted),
    or of somebody forgotten. None: it may."""
    if forgotten.when_call(event.provider, event.provider_call_id) >= 0:
        return Outcome(IGNORED, FORGOTTEN, "Звонок или номер удалён по требованию человека: тело уведомления стёрто.")
    if days and at is not None and min(event.moment, event.received_at) < at - days * DAY:
        sentence = f"Событие старше CALLS_DAYS ({days}): звонок уже удалён из журнала или был бы удалён."
        return Outcome(IGNORED, "too_old", sentence)
    return None


def _write_status(db: peewee.Database, settings: Settings, inbox: Inbox) -> None:
    """This node's rows of feed_status; and what the other nodes' rows say, for readyz, metrics and check."""
    state, waiting = node_state(settings, inbox), inbox.waiting_by_feed()
    dead, last, zone = state.dead_by_feed, state.last_deliveries, settings.timezone
    open_feeds = {name for name, feed in settings.feeds.items() if not feed.closed}
    rows = [
        (feed[:16], wall(last.get(feed), zone), waiting.get(feed, 0), dead[feed], wall(now(), zone))
        for feed in sorted(open_feeds | last.keys())  # those of another release too, however long their names
    ]
    write_status(db, state.node, shared(settings), rows)
    inbox.remember(other_nodes=json.dumps(other_nodes(db, state.node, zone)))


class Forwarder:
    """Forwards one inbox. `start` runs it in a daemon thread of this process; it forwards when its turn comes."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings, self.inbox = settings, inbox
        self._on_turn: Callable[[bool], None] = lambda ours: None
        self.forgotten = Forgotten(settings.inbox_dir)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._working = threading.Lock()
        self._watch, self._note = Watch(settings, inbox), CallLogNote(inbox)
        self._call_log = CallLog(settings, inbox, self._note)
        self.close = self._call_log.close
        self._ticked = self._looked = -STATUS_EVERY
        self._drained = False
        self._keeper = Keeper(settings, inbox, self.forgotten)
        self._held = Held()
        self._holder = ""
        self._rejection: Iterator[None] | None = None  # what the page has asked to reject, as far as it is done
        self._reject_at = 0.0

    # ------------------------------------------------------------------------------------------------ running

    def start(self, on_turn: Callable[[bool], None]) -> None:
        """Called in a worker, after the fork (gunicorn's post_worker_init): a thread does not survive a fork. `on_turn`
        is called from that thread whenever it begins (True) or ceases (False) to be our turn to forward."""
        self._on_turn = on_turn
        with contextlib.suppress(OSError):  # no inbox, no restore of it; _run says what is wrong
            self.inbox.use()  # for life: nothing is restored under a worker, however idle it is
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Stop at a batch boundary; a batch that hangs longer than `seconds` is left to its transaction's rollback."""
        self._stop.set()
        self.inbox.wake()
        if self._working.acquire(timeout=seconds):  # never released: no further batch begins in this process
            log.debug("forwarder stopped at a batch boundary")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self.inbox.forwarding():
                    self._on_turn(True)
                    try:
                        self._forward_for_ever()
                    finally:
                        self._on_turn(False)
                if not self._stop.is_set():
                    log.warning("forwarder.lock was removed or replaced: taking it anew")
            except (OSError, sqlite3.Error) as error:
                log.error("the inbox cannot be read: %s", error)
            except Exception:  # the thread lives on
                log.exception("our own fault between two batches")
            self._stop.wait(LOOK_EVERY)

    def _forward_for_ever(self) -> None:
        delay, taken_up, keeping = 0.0, False, False
        while not self._stop.is_set() and self.inbox.has_turn():
            with self._working:
                if self._stop.is_set():
                    return
                try:
                    self._watch.look()
                    taken_up = taken_up or self._take_up()
                    moved = self.step().total
                    moved += self._reject()
                    self.tick()
                    keeping = self._keep(KEEP_FOR)
                    delay = 0.0
                except Exception as error:
                    self._keeper.drop()
                    delay = min(LONGEST_WHILE_LOCKED if isinstance(error, Locked) else LONGEST_DELAY, delay * 2 or 0.5)
                    self.close()
                    self._rejection = None
                    # feed_status is due soon after the call log is back, but not after every deadlock
                    self._ticked = min(self._ticked, time.monotonic() - STATUS_EVERY + LOOK_FOR_ENDS_EVERY)
                    self._note.away(error, delay)
                    moved = 0
            if delay:
                self._stop.wait(delay)
            elif not moved and not keeping:
                self.inbox.wait(LOOK_EVERY)

    def _take_up(self) -> bool:
        """When our turn begins, deliveries of a feed that another release did not know wait again where this one knows it.
        Only then, so that two releases on one DATA_DIR do not pass a delivery to and fro."""
        count = self.inbox.take_up(self.settings.feeds)
        if count:
            log.info("%d deliveries wait again: this release knows their feed", count)
        return True

    def _keep(self, seconds: float) -> bool:
        """What is due of forgetting, so long; whether anything is left. Between two batches: its bites keep them out."""
        if not (self._keeper.due or self._keeper.busy):
            return False
        place = Place(
            self._call_log.database(), self.inbox, self.settings, self.inbox.position, pause=False, rewrite=False
        )
        return self._keeper.work(place, seconds)

    # ---------------------------------------------------------------------------------------------- forwarding

    def once(self) -> Tally:
        """Forward all that waits now; for `pbx-connector forward --once`. Raises what step raises."""
        self._take_up()
        total = Tally()
        while True:
            tally = self.step()
            total += tally
            if not tally.total and not self._reject():
                self.tick(always=True)
                while self._keep(math.inf):
                    pass
                if not self._waits():  # it may have noticed a restore
                    return total

    def step(self) -> Tally:
        """One batch, as the module's docstring numbers it. Raises what is no single delivery's fault."""
        with self.forgotten.held():
            self._held.next_turn()
            batch, aside = self._understand(self._take())
            tally = self._settle(aside)
            tally += self._write_in_pieces(batch)
            self._drained = not self._waits()
            return tally

    def _reject(self) -> bool:
        """One bite of what the operator page has asked to reject; False when there is none."""
        if not self._rejection and (time.monotonic() < self._reject_at or not self.inbox.asked_to_reject()):
            return False
        db = self._call_log.database()
        wait_for_locks(db, longest=False)
        rejection, self._rejection = self._rejection or carry_out(db, self.inbox, self.settings), None
        try:
            for _ in rejection:
                self._rejection = rejection
                return True
        except Locked:
            log.warning("not all is rejected yet, locked by %s", self._call_log.holder())
            self._reject_at = time.monotonic() + LONGEST_DELAY
        return False

    def _take(self) -> list[Delivery]:
        """1. What waits, the oldest first, but for the calls that are held."""
        waiting = self.inbox.waiting(but=self._held.deliveries())
        if waiting:
            # first: nothing is understood in vain while the call log is away
            self._keeper.look(self._call_log.database())
        return waiting

    def _waits(self) -> bool:
        return bool(self.inbox.waiting(most=1, but=self._held.deliveries()))

    def _understand(self, taken: list[Delivery]) -> tuple[list[Item], Settled]:
        """2. (what is to be written, what is settled without the call log)."""
        batch: list[Item] = []
        aside: Settled = []
        days = self.settings.calls_days
        at = self._believed_now() if days and taken else None
        brought = [(delivery, *understood(delivery, self.settings.feeds)) for delivery in taken]
        if taken:
            self._keeper.judge(self._call_log.database(), [event for _, _, event in brought if event])
        for delivery, outcome, event in brought:
            past = _past(event, self.forgotten, days, at) if event else None
            if event and not past:
                delivery, event = self._keeper.without_mentions(delivery, event)
                batch.append((delivery, with_known_links(event, self.settings, self.inbox)))
            else:
                aside.append((delivery, past or judged(delivery, outcome)))
        return batch, aside

    def _believed_now(self) -> int | None:
        """The moment that the clock was judged at, by which events are too old and calls are over: the clock may leap at
        once after that. None while it is doubted."""
        trust = clock.seen(self.inbox.file)
        return None if trust.doubt else trust.noted

    def _write_in_pieces(self, batch: list[Item], create_missing: bool = True) -> Tally:
        """3 and 4. In one piece where that can be. Raises Locked when a lock keeps every new call out."""
        tally, left, locked = Tally(), [self._without_held(batch)], False
        while left:
            piece = left.pop(0)
            try:
                if piece:
                    tally += self._write(piece, create_missing, wait=not (locked or self._held.any))
            except (TooMuch, Locked, Indigestible) as error:
                smaller = _pieces(piece, error)
                left[:0] = smaller
                locked = locked or isinstance(error, Locked)
                if isinstance(error, Locked) and not smaller:
                    self._held.add(_call(piece[0]), [delivery.id for delivery, _ in piece if delivery])
                elif not smaller:
                    tally += self._bury(piece[0], error)
        if locked:
            self._holder = self._call_log.holder()
        self._note.blocked(len(self._held), self._holder if self._held else "")
        if locked and not tally.total:
            self._call_log.check_locks()
        return tally

    def _without_held(self, batch: list[Item]) -> list[Item]:
        """The batch but for what is of a held call, which joins the call's other deliveries."""
        free = []
        for item in batch:
            if _call(item) not in self._held:
                free.append(item)
            elif item[0]:
                self._held.add(_call(item), [item[0].id])
        return free

    def _write(self, batch: Sequence[Item], create_missing: bool, wait: bool) -> Tally:
        """3 and 4 in one transaction. Raises TooMuch, Locked or Indigestible (an event is at fault): nothing is written."""
        applied = self._call_log.apply([event for _, event in batch], create_missing, wait)
        settled: Settled = []
        for number, (delivery, event) in enumerate(batch):
            reason = applied.surplus.get(number, "")
            hint = "" if reason == "event_too_large" else f": {CONSTANT}"
            outcome = Outcome(DEAD, reason, f"{BEYOND[reason]} {event.provider_call_id}{hint}") if reason else None
            if delivery:
                settled.append((delivery, outcome or Outcome(FORWARDED, event_key=event.event_key)))
        tally = self._settle(settled, applied)
        tally.changed = applied.changed
        return tally

    def _bury(self, item: Item, fault: Exception) -> Tally:
        """3 and 4 of one event that is at fault: a dead letter, if the call log takes any other event at all."""
        self._call_log.rehearse()
        delivery, event = item
        if delivery:
            return self._settle([(delivery, Outcome(DEAD, "indigestible", _traceback(fault)))])
        log.error("the end of call %s cannot be written", event.provider_call_id, exc_info=fault)
        return Tally()

    def _settle(self, settled: Settled, applied: Applied | None = None) -> Tally:
        """4. In the inbox; logged, and counted."""
        if applied:
            self.inbox.settle(settled, applied.position, applied.ended)
        elif settled:
            self.inbox.settle(settled)
        for delivery, outcome in settled:
            _log(delivery, outcome)
        if any(outcome.reason == FORGOTTEN for _, outcome in settled):
            self.inbox.truncate_log()  # its -wal has the body still
            self.inbox.remember(**{traces.DUE: "1"})
        return Tally(*(sum(outcome.state == state for _, outcome in settled) for state in (FORWARDED, IGNORED, DEAD)))

    def tick(self, always: bool = False) -> None:
        """Every few seconds: end the calls whose end never came. Once a minute: write feed_status, by which
        1C knows that the service is alive."""
        at = time.monotonic()
        if self._drained and (always or at - self._looked > LOOK_FOR_ENDS_EVERY):
            if (at_believed := self._believed_now()) is not None:
                with self.forgotten.held():  # what ends a call is rejected before this or after it
                    self._end_overdue(self._call_log.database(), at_believed)
            with self.forgotten.held():
                self._keeper.look(self._call_log.database())
            self._looked, self._keeper.due = at, True
        if always or at - self._ticked > STATUS_EVERY:
            self._call_log.check_position()
            try:
                _write_status(self._call_log.database(), self.settings, self.inbox)
            except Locked:  # by whoever reads it so, 1C perhaps: calls go on
                log.warning("feed_status cannot be written, locked by %s", self._call_log.holder())
            self._ticked = at
            self._note.answered()

    def _end_overdue(self, db: peewee.Database, at: int) -> None:
        """Only when nothing waits: an end that was received in time may be in the inbox still."""
        while True:
            late = overdue.overdue(db, overdue.Terms.of(self.settings), zone=self.settings.timezone, now=at)
            if not late:
                return
            changed = self._write_in_pieces([(None, event) for event in late], create_missing=False).changed
            log.info("%d calls ended whose end never came", changed)
            if not changed:
                return


def _call(item: Item) -> Key:
    return item[1].provider, item[1].provider_call_id


def _pieces(batch: Sequence[Item], error: Exception) -> list[list[Item]]:
    """What to write instead of a batch that failed so; none where it cannot be cut. A call's events keep their order."""
    if isinstance(error, Indigestible):
        return [[item] for item in batch] if len(batch) > 1 else []
    calls: dict[Key, list[Item]] = {}
    for item in batch:
        calls.setdefault(_call(item), []).append(item)
    of_calls = list(calls.values())
    if len(of_calls) == 1:
        return []
    if isinstance(error, Locked):
        return of_calls
    half = len(of_calls) // 2
    return [[item for call in some for item in call] for some in (of_calls[:half], of_calls[half:])]


def _log(delivery: Delivery, outcome: Outcome) -> None:
    """One line of a delivery that is settled: a dead letter as a warning, the rest for LOG_LEVEL=debug."""
    extra = {"delivery": delivery.id}
    if outcome.reason == "our_fault":
        log.error(OUR_FAULT, delivery.feed, delivery.id, delivery.id, extra=extra)
    elif outcome.state == DEAD:
        log.warning("%s: delivery %d is a dead letter: %s", delivery.feed, delivery.id, outcome.reason, extra=extra)
    else:
        log.debug("%s: delivery %d %s", delivery.feed, delivery.id, outcome.reason or outcome.state, extra=extra)


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-4000:]
