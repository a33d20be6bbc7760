"""Whether this host's wall clock may be believed. While it may not, nothing is deleted, ignored as too old, ended by
silence or told as silent; deliveries are forwarded all the same.

The witness is CLOCK_BOOTTIME, which nobody sets. Across a restart of the host it is the last minute that was noted.
"""

import ctypes
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inbox.file import InboxFile, remember

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
STEP = HOUR  # between wall clock and witness within one boot
LONGEST_OFF = 30 * DAY  # that a host was switched off, before its clock is doubted
AGREEMENT = DAY  # after which a clock that has not moved again is believed
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")  # touched by systemd-timesyncd, at least every 2,048 seconds
UNSYNCHRONIZED = 0x40  # STA_UNSYNC of adjtimex(2)
_FACT = "clock"


class Reading(NamedTuple):
    """The clocks of one moment, in milliseconds: since 1970 UTC, and since the host's boot `boot` ("" where that is not
    known); whether NTP vouches for the first."""

    wall: int
    uptime: int
    boot: str
    ntp: bool = False


class Trust(NamedTuple):
    """What a node remembers of its clock (a fact in the inbox).

    `offset` is wall - uptime as it was believed in this boot, None before it was; `noted` the last moment that was
    believed. `doubt` says in a sentence why the clock is not believed, "" while it is; then `seen` is its offset, and
    `since` (uptime) how long it has been that."""

    boot: str
    offset: int | None
    noted: int
    doubt: str = ""
    seen: int = 0
    since: int = 0


def read() -> Reading:
    """The clocks now."""
    wall = time.time_ns() // 1_000_000
    uptime = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Reading(wall, uptime, _boot(), _ntp(wall))


def _boot() -> str:
    """Which boot of the host this is; "" where nobody says. The units' sandbox hides /proc/sys, so systemd tells it."""
    try:
        return BOOT_ID.read_text().strip().replace("-", "")
    except OSError:
        return os.environ.get("BOOT_ID", "")


def judged(known: Trust | None, at: Reading) -> Trust:
    """What is believed of the clock at a reading, given what was before. Pure."""
    offset = at.wall - at.uptime
    believed = Trust(at.boot, offset, at.wall)
    if known is None or at.ntp:
        return believed
    usual = known.offset if at.boot and known.boot == at.boot else None
    doubt = _moved(offset - usual) if usual is not None else _implausible(at.wall - known.noted)
    if not doubt:
        return believed._replace(offset=offset if usual is None else usual)
    steady = known.doubt and known.boot == at.boot and abs(offset - known.seen) <= STEP
    since = known.since if steady else at.uptime
    if at.uptime - since >= AGREEMENT:
        return believed
    return Trust(at.boot, usual, known.noted, known.doubt if steady else doubt, offset, since)


def _moved(by: int) -> str:
    if abs(by) <= STEP:
        return ""
    return f"it was set {'ahead' if by > 0 else 'back'} by {_length(abs(by))} while the host was running"


def _implausible(away: int) -> str:
    """`away` is the time since the last moment that was noted, before the host was restarted."""
    if away < -MINUTE:
        return f"the host started with it {_length(-away)} behind the last minute that was noted"
    if away > LONGEST_OFF:
        return f"the host started with it {_length(away)} after the last minute that was noted"
    return ""


def _length(milliseconds: int) -> str:
    days, hours, minutes = milliseconds // DAY, milliseconds // HOUR, milliseconds // MINUTE
    return f"{days} days" if days > 1 else f"{hours} hours" if hours > 1 else f"{minutes} minutes"


def _ntp(wall: int) -> bool:
    """Whether the time service says that the clock is right: the kernel's word, or systemd-timesyncd's (the unit's
    sandbox hides the kernel's)."""
    state = (ctypes.c_byte * 512)()  # struct timex with modes 0: only ask
    try:
        libc = ctypes.CDLL(None)
        if libc.adjtimex(ctypes.byref(state)) >= 0:
            status = ctypes.c_int.from_buffer(state, 5 * ctypes.sizeof(ctypes.c_long)).value
            return not status & UNSYNCHRONIZED
    except (OSError, AttributeError):  # no such call in this C library
        pass
    try:
        return abs(wall - os.stat(SYNCHRONIZED).st_mtime_ns // 1_000_000) <= 2_048_000 + MINUTE
    except OSError:
        return False


def to_fact(trust: Trust) -> str:
    """As the inbox keeps it."""
    return json.dumps(trust)


def from_fact(fact: str) -> Trust | None:
    """As the inbox kept it; None where it has none."""
    return Trust(*json.loads(fact)) if fact else None


# ----------------------------------------------------------------------------------------------------- in the inbox


def seen_in(facts: Mapping[str, str]) -> Trust:
    """What is believed of the clock now, by the inbox's facts."""
    return judged(from_fact(facts.get(_FACT, "")), read())


def seen(file: InboxFile) -> Trust:
    """What is believed of the clock now. While `doubt` is there, nothing may be deleted or dropped because of its age."""
    return seen_in({_FACT: file.fact(_FACT)})


def note(file: InboxFile) -> None:
    """Once a minute: remember this moment if it is believed, else since when it has not been. A believed clock also ends
    what a wrong one has left: a last delivery in the future would hide a silent feed until then."""
    at = read()
    with file.writing() as db:
        row = db.execute("SELECT value FROM facts WHERE name = ?", (_FACT,)).fetchone()
        trust = judged(from_fact(row[0] if row else ""), at)
        remember(db, _FACT, to_fact(trust))
        if not trust.doubt:
            db.execute("UPDATE counters SET last_at = ? WHERE last_at > ?", (at.wall, at.wall))


def believe(file: InboxFile) -> None:
    """The sysadmin's word: the clock is right as it stands."""
    file.remember(**{_FACT: to_fact(judged(None, read()))})


def forget(file: InboxFile) -> None:
    """Nothing is known of the clock any more: the inbox has come from another day, or another host."""
    file.remember(**{_FACT: ""})
