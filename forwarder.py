"""Inbox -> call log: one forwarder a host, in batches, for ever; whatever the call log's state is, providers never wait.

One step (Forwarder.step) takes at most 256 deliveries. Nobody is forgotten in the middle of it.

1. take: what waits, in the order in which it came. No call log, no step.
2. understand: each again from its raw bytes, with the function that chose the answer. What is ignored, dead, too old or of
   somebody forgotten is settled here.
3. write: the events in one transaction. Where one of them is at fault, each in a transaction of its own. Where the call
   log was restored, what it lacks waits again and the batch is written after that.
4. settle: marked forwarded, only after the commit. A crash before that forwards the batch again, which changes nothing.

Live traffic, a database that was away for a night, a replay and a restored call log all take this one way. An error that
is not one delivery's own ends the step and the connection; it is tried again after 0.5, 1, 2 ... 30 seconds, for ever.
"""

import contextlib
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import peewee

import schemas
from calllog import overdue, restored
from calllog.batch import MOST_EVENTS, Applied, Indigestible, Restored, SchemaDiffers, apply, wall, write_status
from calllog.database import open_database, same_file
from config import Settings
from inbox import DEAD, FORGOTTEN, FORWARDED, IGNORED, OUR_FAULT, Inbox, Outcome, now
from inbox.judge import DAY, understood
from inbox.state import node_state
from models import Position
from schemas.event import CallEvent
from schemas.reading import Delivery
from upkeep.forgotten import Forgotten

log = logging.getLogger("connector.forwarder")


LONGEST_DELAY = 30.0  # seconds between two tries while the call log is away
LOOK_EVERY = 1.0  # seconds, in case a wake was lost
LOOK_FOR_ENDS_EVERY = 5.0  # seconds: between two looks for calls that end by silence
STATUS_EVERY = 60.0  # seconds: feed_status, and a look at silent feeds and the disk
DISK_EVERY = 3600.0  # seconds: between two warnings of a low disk

# why a batch failed: the label `reason` of connector_forward_errors_total
TROUBLES: dict[str, tuple[type[Exception], ...]] = {
    "schema_differs": (SchemaDiffers,),
    "restored": (Restored,),
    "call_log_away": (peewee.PeeweeException,),
    "inbox": (OSError, sqlite3.Error),
    "our_fault": (Exception,),
}


Settled = list[tuple[Delivery, Outcome]]


@dataclass(slots=True)
class Tally:
    """How many deliveries a step settled."""

    forwarded: int = 0
    ignored: int = 0
    dead: int = 0

    @property
    def total(self) -> int:
        return self.forwarded + self.ignored + self.dead

    def __iadd__(self, other: "Tally") -> "Tally":
        self.forwarded += other.forwarded
        self.ignored += other.ignored
        self.dead += other.dead
        return self


class Watch:
    """Once a minute, whatever the call log's state: logs which feeds have fallen silent or speak again; once an hour, that
    the disk is low."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings, self.inbox = settings, inbox
        self._looked = -STATUS_EVERY
        self._silent: set[str] = set()
        self._disk_logged = -DISK_EVERY

    def look(self) -> None:
        """Look, if a minute has passed."""
        clock = time.monotonic()
        if clock - self._looked < STATUS_EVERY:
            return
        self._looked = clock
        state = node_state(self.settings, self.inbox)
        silent = set(state.silent_feeds)
        for feed in sorted(silent - self._silent):
            minutes = self.settings.feeds[feed].silence_minutes
            log.warning("%s: no delivery for more than %d minutes (%s_SILENCE_MINUTES)", feed, minutes, feed.upper())
        for feed in sorted(self._silent - silent):
            log.info("%s: deliveries come again", feed)
        self._silent = silent
        low = [disk for disk in state.disks if disk.low]
        if low and clock - self._disk_logged >= DISK_EVERY:
            self._disk_logged = clock
            for disk in low:
                log.warning("the disk is low: %s", disk)


class CallLogNote:
    """How the call log was last seen: logged when that changes, and noted in the inbox for readyz, metrics and the page."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self._wrong = ""  # the sentence that was logged last, "" while the call log answers
        self._noted_at = -LONGEST_DELAY

    def away(self, error: Exception, delay: float) -> None:
        """A batch failed and is tried again: counted under its reason."""
        reason = next(reason for reason, kinds in TROUBLES.items() if isinstance(error, kinds))
        if reason == "our_fault":
            sentence = f"our own fault: {type(error).__name__}, the log has the traceback"
            log.error("forwarding failed for our own fault, trying again in %.1f s", delay, exc_info=error)
        else:
            sentence = f"{type(error).__name__}: {error}"
            if sentence != self._wrong:
                what = "the inbox cannot be written" if reason == "inbox" else "the call log is away"
                log.warning("%s, trying again for ever: %s", what, sentence)
        self._wrong = sentence
        self._note("away", sentence, reason)

    def answered(self) -> None:
        """It answered: noted at most every ten seconds unless it was away."""
        if self._wrong:
            log.info("the call log is back")
        elif time.monotonic() - self._noted_at <= 10:
            return
        self._wrong, self._noted_at = "", time.monotonic()
        self._note("ok", "")

    def _note(self, state: str, sentence: str, reason: str = "") -> None:
        try:
            self.inbox.remember(
                call_log_state=state,
                call_log_message=sentence,
                call_log_reason=reason,
                call_log_seen_at=str(now()),
            )
            if reason:
                self.inbox.trouble(reason, sentence)
        except (OSError, sqlite3.Error) as error:
            log.error("the inbox cannot be written: %s", error)


class Forwarder:
    """Forwards one inbox. `start` runs it in a daemon thread of this process; it forwards when its turn comes."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings, self.inbox = settings, inbox
        self._on_turn: Callable[[bool], None] = lambda ours: None
        self.forgotten = Forgotten(settings.inbox_dir)
        self._db: peewee.Database | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._working = threading.Lock()
        self._watch, self._note = Watch(settings, inbox), CallLogNote(inbox)
        self._ticked = self._looked = -STATUS_EVERY
        self._drained = False

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
        delay, taken_up = 0.0, False
        while not self._stop.is_set() and self.inbox.has_turn():
            with self._working:
                if self._stop.is_set():
                    return
                try:
                    self._watch.look()
                    taken_up = taken_up or self._take_up()
                    moved = self.step().total
                    self.tick()
                    delay = 0.0
                except Exception as error:
                    delay = min(LONGEST_DELAY, delay * 2 or 0.5)
                    self.close()
                    # feed_status is due soon after the call log is back, but not after every deadlock
                    self._ticked = min(self._ticked, time.monotonic() - STATUS_EVERY + LOOK_FOR_ENDS_EVERY)
                    self._note.away(error, delay)
                    moved = 0
            if delay:
                self._stop.wait(delay)
            elif not moved:
                self.inbox.wait(LOOK_EVERY)

    def _take_up(self) -> bool:
        """When our turn begins, deliveries of a feed that another release did not know wait again where this one knows it.
        Only then, so that two releases on one DATA_DIR do not pass a delivery to and fro."""
        count = self.inbox.take_up(self.settings.feeds)
        if count:
            log.info("%d deliveries wait again: this release knows their feed", count)
        return True

    # ---------------------------------------------------------------------------------------------- forwarding

    def once(self) -> Tally:
        """Forward all that waits now; for `flask forward --once`. Raises what step raises."""
        self._take_up()
        total = Tally()
        while True:
            tally = self.step()
            total += tally
            if not tally.total:
                self.tick(always=True)
                if not self.inbox.waiting(most=1):  # it may have noticed a restore
                    return total

    def step(self) -> Tally:
        """One batch, as the module's docstring numbers it. Raises what is no single delivery's fault."""
        with self.forgotten.held():
            batch, aside = self._understand(self._take())
            tally = self._settle(aside)
            if batch:
                try:
                    tally += self._settle(*self._write(batch))
                except Indigestible:
                    for one in batch:
                        tally += self._settle(*self._write_alone(*one))
            self._drained = not self.inbox.waiting(most=1)
            return tally

    def _take(self) -> list[Delivery]:
        """1. What waits, the oldest first."""
        waiting = self.inbox.waiting()
        if waiting:
            self._database()  # first: nothing is understood in vain while the call log is away
        return waiting

    def _understand(self, taken: list[Delivery]) -> tuple[list[tuple[Delivery, CallEvent]], Settled]:
        """2. (what is to be written, what is settled without the call log)."""
        batch, aside = [], []
        for delivery in taken:
            outcome, event = understood(delivery, self.settings.feeds)
            past = _past(event, self.forgotten, self.settings.calls_days) if event else None
            if event and not past:
                batch.append((delivery, event))
            else:
                aside.append((delivery, past or outcome))
        return batch, aside

    def _write(self, batch: Sequence[tuple[Delivery, CallEvent]]) -> tuple[Settled, Position]:
        """3. Raises Indigestible: an event of the batch is at fault, nothing is written."""
        applied = self._apply([event for _, event in batch])
        settled = [(delivery, Outcome(FORWARDED, event_key=event.event_key)) for delivery, event in batch]
        for number in applied.surplus:
            delivery, event = batch[number]
            sentence = (
                f"Больше {MOST_EVENTS} событий в одном звонке {event.provider_call_id}: похоже, в шаблоне "
                "уведомления вместо номера сессии звонка стоит постоянное значение."
            )
            settled[number] = (delivery, Outcome(DEAD, "too_many_events", sentence))
        return settled, applied.position

    def _write_alone(self, delivery: Delivery, event: CallEvent) -> tuple[Settled, Position | None]:
        """3. of one delivery: dead if it is the one at fault."""
        try:
            return self._write([(delivery, event)])
        except Indigestible as fault:
            return [(delivery, Outcome(DEAD, "indigestible", _traceback(fault)))], None

    def _settle(self, settled: Settled, position: Position | None = None) -> Tally:
        """4. In the inbox; logged, and counted."""
        if settled:
            self.inbox.settle(settled, position)
        for delivery, outcome in settled:
            _log(delivery, outcome)
        if any(outcome.reason == FORGOTTEN for _, outcome in settled):
            self.inbox.truncate_log()  # its -wal has the body still
        return Tally(*(sum(outcome.state == state for _, outcome in settled) for state in (FORWARDED, IGNORED, DEAD)))

    def _apply(self, events: Sequence[CallEvent], create_missing: bool = True) -> Applied:
        """One transaction; a call log that turns out to be restored is mended first."""
        db = self._database()
        while True:
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
                self._note.answered()
                return applied

    def _mend(self, db: peewee.Database, what: str) -> None:
        """The call log was restored: forward again what it lacks, and number on above what readers have seen."""
        count = self.inbox.requeue(lambda keys: restored.missing(db, keys))
        position = restored.mend(db, self.inbox.position())
        self.inbox.settle([], position)
        log.warning(
            "%s: it was restored or replaced; %d deliveries are forwarded again, changes go on from %d",
            what, count, position.change_no,
        )  # fmt: skip
        if self.forgotten.known():
            log.warning("who was forgotten may be in the restored call log: run flask forget --again")

    def tick(self, always: bool = False) -> None:
        """Every few seconds: end the calls whose end never came. Once a minute: write feed_status, by which
        1C knows that the service is alive."""
        clock = time.monotonic()
        if self._drained and (always or clock - self._looked > LOOK_FOR_ENDS_EVERY):
            self._end_overdue(self._database())
            self._looked = clock
        if always or clock - self._ticked > STATUS_EVERY:
            db = self._database()
            try:
                self.inbox.settle([], restored.check_position(db, self.inbox.position()))
            except Restored as error:  # also on a quiet day
                self._mend(db, str(error))
            _write_status(db, self.settings, self.inbox)
            self._ticked = clock
            self._note.answered()

    def _end_overdue(self, db: peewee.Database) -> None:
        """Only when nothing waits: an end that was received in time may be in the inbox still."""
        settling = {feed.provider for feed in schemas.feeds().values() if feed.settles}
        while True:
            late = overdue.overdue(
                db,
                zone=self.settings.timezone,
                now=now(),
                expire_hours=self.settings.expire_hours,
                settle_seconds=self.settings.settle_seconds,
                settling=settling,
            )
            if not late:
                return
            applied = self._apply(late, create_missing=False)
            self.inbox.settle([], applied.position)
            log.info("%d calls ended whose end never came", applied.changed)
            if not applied.changed:
                return

    # --------------------------------------------------------------------------------------------- connection

    def _database(self) -> peewee.Database:
        if self._db is None:
            self._db = open_database(self.settings.database_url)
        if self._db.is_closed():
            self._db.connect()
        self._ensure_same(self._db)
        return self._db

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


def _past(event: CallEvent, forgotten: Forgotten, days: int) -> Outcome | None:
    """Why an event must not create a call: past CALLS_DAYS (0: for ever), or of somebody forgotten. None: it may."""
    if forgotten.of(event):
        return Outcome(IGNORED, FORGOTTEN, "Звонок или номер удалён по требованию человека: тело уведомления стёрто.")
    if days and min(event.moment, event.received_at) < now() - days * DAY:
        sentence = f"Событие старше CALLS_DAYS ({days}): звонок уже удалён из журнала или был бы удалён."
        return Outcome(IGNORED, "too_old", sentence)
    return None


def _write_status(db: peewee.Database, settings: Settings, inbox: Inbox) -> None:
    """This node's rows of feed_status."""
    state, waiting = node_state(settings, inbox), inbox.waiting_by_feed()
    dead, last, zone = state.dead_by_feed, state.last_deliveries, settings.timezone
    open_feeds = {name for name, feed in settings.feeds.items() if not feed.closed}
    rows = [
        (feed[:16], wall(last.get(feed), zone), waiting.get(feed, 0), dead[feed], wall(now(), zone))
        for feed in sorted(open_feeds | last.keys())  # those of another release too, however long their names
    ]
    write_status(db, state.node, rows)


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
