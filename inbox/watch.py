"""What the forwarder notices beside forwarding, logged and noted once: silent feeds, a low disk, how the call log is."""

import contextlib
import logging
import sqlite3
import time

import peewee

from calllog.batch import Restored, SchemaDiffers
from config import Settings
from inbox import LATE_CHANGE, Inbox, clock, now, reserve
from inbox.state import node_state

log = logging.getLogger("connector.forwarder")

LOOK_EVERY = 60.0  # seconds: a look at silent feeds and the disk
DISK_EVERY = 3600.0  # seconds: how often a low disk is told again
NOTE_EVERY = 10.0  # seconds: how often it is noted that the call log answers

# why a batch failed: the label `reason` of connector_forward_errors_total
TROUBLES: dict[str, tuple[type[Exception], ...]] = {
    "schema_differs": (SchemaDiffers,),
    "restored": (Restored,),
    "call_log_away": (peewee.PeeweeException,),
    "inbox": (OSError, sqlite3.Error),
    "our_fault": (Exception,),
}


class Watch:
    """Once a minute, whatever the call log's state: notes the clock; logs that it is doubted, or believed again, and which
    feeds have fallen silent or speak again; keeps the reserve; once an hour logs that the disk is low."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings, self.inbox = settings, inbox
        self._looked = -LOOK_EVERY
        self._silent: set[str] = set()
        self._doubt = ""
        self._disk_logged = -DISK_EVERY

    def look(self) -> None:
        """Look, if a minute has passed."""
        at = time.monotonic()
        if at - self._looked < LOOK_EVERY:
            return
        self._looked = at
        with contextlib.suppress(OSError, sqlite3.Error):  # a full disk is told elsewhere; forwarding goes on
            clock.note(self.inbox.file)
        state = node_state(self.settings, self.inbox)
        self._look_at_clock(state.clock_doubt)
        if not state.clock_doubt:
            self._look_at_feeds(set(state.silent_feeds))
        reserve.keep(self.settings)
        low = [disk for disk in state.disks if disk.low]
        if low and at - self._disk_logged >= DISK_EVERY:
            self._disk_logged = at
            for disk in low:
                log.warning("the disk is low: %s", disk)

    def _look_at_clock(self, doubt: str) -> None:
        if doubt and doubt != self._doubt:
            log.error(
                "the clock is doubted: %s; forwarding goes on, nothing is deleted or dropped for its age: set it right, or "
                "pbx-connector clock trust", doubt,
            )  # fmt: skip
        elif self._doubt and not doubt:
            log.info("the clock is believed again")
        self._doubt = doubt

    def _look_at_feeds(self, silent: set[str]) -> None:
        for feed in sorted(silent - self._silent):
            minutes = self.settings.feeds[feed].silence_minutes
            log.warning("%s: no delivery for more than %d minutes (%s_SILENCE_MINUTES)", feed, minutes, feed.upper())
        for feed in sorted(self._silent - silent):
            log.info("%s: deliveries come again", feed)
        self._silent = silent


class CallLogNote:
    """How the call log was last seen: logged when that changes, and noted in the inbox for readyz, metrics and the page."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self._wrong = ""  # the sentence that was logged last, "" while the call log answers
        self._noted_at = -NOTE_EVERY
        self._away_since = ""  # milliseconds
        self._blocked: tuple[int, str] | None = None  # unknown: what a process before noted

    def blocked(self, calls: int, by: str) -> None:
        """So many calls wait because somebody has locked their rows."""
        if (calls, by) == self._blocked:
            return
        if by and (not self._blocked or by != self._blocked[1]):
            log.warning("%d calls cannot be written, locked by %s; the others go on", calls, by)
        elif self._blocked and self._blocked[0] and not calls:
            log.info("no call is locked any more")
        self._blocked = calls, by
        try:
            self.inbox.remember(blocked_calls=str(calls), blocked_by=by)
        except (OSError, sqlite3.Error) as error:
            log.error("the inbox cannot be written: %s", error)

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
        self._wrong, at = sentence, now()
        if not self._away_since:
            self._away_since = self._known_since() or str(at)
        self._note("away", sentence, reason, self._away_since, str(at + round(delay * 1000)))

    def _known_since(self) -> str:
        """When a process before this one saw it go."""
        with contextlib.suppress(OSError, sqlite3.Error):
            return self.inbox.fact("call_log_away_since") if self.inbox.fact("call_log_state") == "away" else ""
        return ""

    def answered(self) -> None:
        """It answered: noted unless it was a moment ago, or it was away."""
        if self._wrong:
            log.info("the call log is back")
        elif time.monotonic() - self._noted_at <= NOTE_EVERY:
            return
        self._wrong, self._away_since, self._noted_at = "", "", time.monotonic()
        self._note("ok", "")

    def late(self, calls: list[int]) -> None:
        """Calls that had ended a day before what changed them came: a recording that was long in making, or a lie."""
        shown = ", ".join(map(str, calls[:10]))
        log.warning("%d calls that had long ended were changed: %s", len(calls), shown)
        with contextlib.suppress(OSError, sqlite3.Error):
            self.inbox.trouble(LATE_CHANGE, shown, len(calls))

    def _note(self, state: str, sentence: str, reason: str = "", since: str = "", next_at: str = "") -> None:
        try:
            self.inbox.remember(
                call_log_state=state,
                call_log_message=sentence,
                call_log_reason=reason,
                call_log_seen_at=str(now()),
                call_log_away_since=since,
                call_log_next_at=next_at,
            )
            if reason:
                self.inbox.trouble(reason, sentence)
        except (OSError, sqlite3.Error) as error:
            log.error("the inbox cannot be written: %s", error)
