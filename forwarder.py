"""Inbox -> call log: one forwarder a host, in batches, for ever; whatever the call log's state is, providers never wait.

It understands each delivery again from its raw bytes with the function that chose the answer, so live traffic, a
database that was away for a night, a replay and a restored call log all take this one way.
"""

import contextlib
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import peewee

import schemas
from calllog import overdue, restored
from calllog.batch import MOST_EVENTS, Applied, Indigestible, Restored, SchemaDiffers, apply, wall, write_status
from calllog.database import open_database
from config import Settings
from inbox import DEAD, FORGOTTEN, FORWARDED, IGNORED, OUR_FAULT, Inbox, Outcome, now
from inbox.judge import DAY, judge
from inbox.state import disks, silent_feeds
from schemas.event import CallEvent
from schemas.reading import Delivery
from upkeep.forgotten import Forgotten

log = logging.getLogger("connector.forwarder")


LONGEST_DELAY = 30.0  # seconds between two tries while the call log is away
LOOK_EVERY = 1.0  # seconds, in case a wake was lost
LOOK_FOR_ENDS_EVERY = 5.0  # seconds: calls whose end is told by silence
STATUS_EVERY = 60.0  # seconds: feed_status, and a look at silent feeds and the disk
DISK_EVERY = 3600.0  # seconds: how often a low disk is told again

# why a batch failed: what the inbox counts and /metrics tells
TROUBLES: dict[str, tuple[type[Exception], ...]] = {
    "schema_differs": (SchemaDiffers,),
    "restored": (Restored,),
    "call_log_away": (peewee.PeeweeException,),
    "inbox": (OSError, sqlite3.Error),
    "our_fault": (Exception,),
}


@dataclass(slots=True)
class Report:
    """What a step did."""

    forwarded: int = 0
    ignored: int = 0
    dead: int = 0

    @property
    def moved(self) -> int:
        return self.forwarded + self.ignored + self.dead


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
        self._ticked = self._looked = self._watched = -STATUS_EVERY
        self._silent: set[str] = set()
        self._disk_told = -DISK_EVERY
        self._drained = False
        self._told = ""
        self._seen_at = -LONGEST_DELAY

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
        delay = 0.0
        while not self._stop.is_set() and self.inbox.has_turn():
            with self._working:
                if self._stop.is_set():
                    return
                try:
                    self._watch()
                    moved = self.step().moved
                    self.tick()
                    delay = 0.0
                except Exception as error:
                    delay = min(LONGEST_DELAY, delay * 2 or 0.5)
                    self._trouble(error, delay)
                    moved = 0
            if delay:
                self._stop.wait(delay)
            elif not moved:
                self.inbox.wait(LOOK_EVERY)

    def _trouble(self, error: Exception, delay: float) -> None:
        """Say once what is wrong, note it for readyz, count it, and let go of the connection."""
        self.close()
        reason = next(reason for reason, kinds in TROUBLES.items() if isinstance(error, kinds))
        if reason != "our_fault":
            sentence = f"{type(error).__name__}: {error}"
            if sentence != self._told:
                who = "the inbox cannot be written" if reason == "inbox" else "the call log is away"
                log.warning("%s, trying again for ever: %s", who, sentence)
        else:
            sentence = f"our own fault: {type(error).__name__}, the log has the traceback"
            log.exception("forwarding failed for our own fault, trying again in %.1f s", delay)
        self._told = sentence
        # what 1C and readyz are told is due soon after it is back, but not after every deadlock
        self._ticked = min(self._ticked, time.monotonic() - STATUS_EVERY + LOOK_FOR_ENDS_EVERY)
        self._note("away", sentence, reason)

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

    def _watch(self) -> None:
        """Once a minute, whatever the call log's state: say which feeds have fallen silent or speak again; once an hour,
        that the disk is low."""
        clock = time.monotonic()
        if clock - self._watched < STATUS_EVERY:
            return
        self._watched = clock
        silent = set(silent_feeds(self.settings, self.inbox))
        for feed in sorted(silent - self._silent):
            minutes = self.settings.feeds[feed].silence_minutes
            log.warning("%s: no delivery for more than %d minutes (%s_SILENCE_MINUTES)", feed, minutes, feed.upper())
        for feed in sorted(self._silent - silent):
            log.info("%s: deliveries come again", feed)
        self._silent = silent
        low = [disk for disk in disks(self.settings) if disk.low]
        if low and clock - self._disk_told >= DISK_EVERY:
            self._disk_told = clock
            for disk in low:
                log.warning("the disk is low: %s", disk)

    # ---------------------------------------------------------------------------------------------- forwarding

    def once(self) -> Report:
        """Forward all that waits now; for `flask forward --once`. Raises what step raises."""
        total = Report()
        while True:
            report = self.step()
            total.forwarded += report.forwarded
            total.ignored += report.ignored
            total.dead += report.dead
            if not report.moved:
                self.tick(always=True)
                if not self.inbox.waiting(most=1):  # it may have noticed a restore
                    return total

    def step(self) -> Report:
        """One batch: at most 256 deliveries, in the order in which they came. Nobody is forgotten in the middle of it."""
        with self.forgotten.held():
            return self._step(Report())

    def _step(self, report: Report) -> Report:
        batch: list[tuple[Delivery, CallEvent]] = []
        settled: list[tuple[Delivery, Outcome]] = []
        waiting = self.inbox.waiting()
        if waiting:
            self._database()  # first: nothing is understood in vain while the call log is away
        for delivery in waiting:
            zone = self.settings.feeds[delivery.feed].timezone
            outcome, event = judge(partial(schemas.understand, delivery, zone))
            if isinstance(event, CallEvent):
                outcome = self._past(event) or outcome
            if isinstance(event, CallEvent) and outcome.state != IGNORED:
                batch.append((delivery, event))
            else:
                settled.append((delivery, outcome))
        if settled:
            self.inbox.settle(settled)
            for delivery, outcome in settled:
                _tell(delivery, outcome)
            if any(outcome.reason == FORGOTTEN for _, outcome in settled):
                self.inbox.truncate_log()  # its -wal has the body still
            report.ignored = sum(outcome.state == IGNORED for _, outcome in settled)
            report.dead = len(settled) - report.ignored
        if batch:
            self._forward(batch, report)
        self._drained = not self.inbox.waiting(most=1)
        return report

    def _past(self, event: CallEvent) -> Outcome | None:
        """Why an event must not raise a call: it is past CALLS_DAYS, or of somebody forgotten. None: it may."""
        if self.forgotten.of(event):
            return Outcome(
                IGNORED, FORGOTTEN, "Звонок или номер удалён по требованию человека: тело уведомления стёрто."
            )
        days = self.settings.calls_days
        if days and min(event.moment, event.received_at) < now() - days * DAY:
            sentence = f"Событие старше CALLS_DAYS ({days}): звонок уже удалён из журнала или был бы удалён."
            return Outcome(IGNORED, "too_old", sentence)
        return None

    def _forward(self, batch: list[tuple[Delivery, CallEvent]], report: Report) -> None:
        try:
            outcomes = self._apply(batch)
        except Indigestible:  # one of them: each alone, in a transaction of its own
            outcomes = []
            for one in batch:
                try:
                    outcomes += self._apply([one])
                except Indigestible as fault:
                    outcome = Outcome(DEAD, "indigestible", _sentence(fault))
                    self.inbox.settle([(one[0], outcome)])
                    _tell(one[0], outcome)
                    outcomes.append(outcome)
        report.dead += sum(outcome.state == DEAD for outcome in outcomes)
        report.forwarded += sum(outcome.state == FORWARDED for outcome in outcomes)

    def _apply(self, batch: Sequence[tuple[Delivery, CallEvent]]) -> list[Outcome]:
        applied = self._write([event for _, event in batch])
        outcomes = [Outcome(FORWARDED, event_key=event.event_key) for _, event in batch]
        for number in applied.surplus:
            outcomes[number] = Outcome(
                DEAD,
                "too_many_events",
                f"Больше {MOST_EVENTS} событий в одном звонке {batch[number][1].provider_call_id}: похоже, в шаблоне "
                "уведомления вместо номера сессии звонка стоит постоянное значение.",
            )
        # only now, after the commit: a crash before this line forwards the batch again, which changes nothing
        settled = list(zip((d for d, _ in batch), outcomes, strict=True))
        self.inbox.settle(settled, applied.position)
        for delivery, outcome in settled:
            _tell(delivery, outcome)
        return outcomes

    def _write(self, events: Sequence[CallEvent], create_missing: bool = True) -> Applied:
        db = self._database()
        try:
            known = self.inbox.position()
            applied = apply(
                db, events, node=self.inbox.node(), zone=self.settings.timezone, now=now(), known=known,
                reach=self.inbox.reach,
                create_missing=create_missing,
            )  # fmt: skip
        except Restored as error:
            self._mend(db, str(error))
            return self._write(events, create_missing)
        self._seen()
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
        """Every few seconds: end the calls whose end never came. Once a minute: tell 1C that the service lives."""
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
            self._write_status(db)
            self._ticked = clock
            self._seen()

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
            applied = self._write(late, create_missing=False)
            self.inbox.settle([], applied.position)
            log.info("%d calls ended that nobody told the end of", applied.changed)
            if not applied.changed:
                return

    def _write_status(self, db: peewee.Database) -> None:
        last = self.inbox.look().last_deliveries
        waiting = self.inbox.waiting_by_feed()
        dead: dict[str, int] = {}
        for feed, _, count in self.inbox.dead():
            dead[feed] = dead.get(feed, 0) + count
        rows = []
        for name, feed_settings in self.settings.feeds.items():
            if feed_settings.closed and name not in last:
                continue
            said = (wall(last.get(name), self.settings.timezone), waiting.get(name, 0), dead.get(name, 0))
            rows.append((name, *said, wall(now(), self.settings.timezone)))
        write_status(db, self.inbox.node(), rows)

    def _seen(self) -> None:
        """The call log answered: note it, at most every few seconds unless that is news."""
        if self._told or time.monotonic() - self._seen_at > 10:
            if self._told:
                log.info("the call log is back")
            self._told, self._seen_at = "", time.monotonic()
            self._note("ok", "")

    # --------------------------------------------------------------------------------------------- connection

    def _database(self) -> peewee.Database:
        if self._db is None:
            self._db = open_database(self.settings.database_url)
        if self._db.is_closed():
            self._db.connect()
        return self._db

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except Exception:
                log.debug("the connection was already gone", exc_info=True)


def _tell(delivery: Delivery, outcome: Outcome) -> None:
    """One line of a delivery that is settled: a dead letter loudly, the rest for LOG_LEVEL=debug."""
    extra = {"delivery": delivery.id}
    if outcome.reason == "our_fault":
        log.error(OUR_FAULT, delivery.feed, delivery.id, delivery.id, extra=extra)
    elif outcome.state == DEAD:
        log.warning("%s: delivery %d is a dead letter: %s", delivery.feed, delivery.id, outcome.reason, extra=extra)
    else:
        log.debug("%s: delivery %d %s", delivery.feed, delivery.id, outcome.reason or outcome.state, extra=extra)


def _sentence(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-4000:]
