"""A purge that would delete what no passing of days has made old: a clock that is wrong, or a term that was shortened.

Pure but for `Terms`: the clock's doubt (inbox/clock.py) is the first guard; this is the second, for a clock that nobody
doubts and for a slip in INBOX_DAYS or CALLS_DAYS.
"""

import json
from typing import NamedTuple

from inbox import Inbox, clock
from inbox.clock import DAY, Reading

SHARE = 1 / 5  # of what there is, which no ordinary purge exceeds
_FACT = "purged_{part}"


class Purged(NamedTuple):
    """The last purge of the inbox or of the call log: everything from before `before` (milliseconds since 1970 UTC) went;
    0: nothing ever goes."""

    before: int
    at: Reading


def elapsed(since: Reading, at: Reading) -> int:
    """Milliseconds from one reading to another by the witness: the time since boot. Across a restart of the host: by the
    wall clock where NTP vouches for it, else what has passed since the boot."""
    if since.boot == at.boot:
        return at.uptime - since.uptime
    return max(0, at.wall - since.wall) if at.ntp else at.uptime


def leap(last: Purged | None, before: int, at: Reading, gone: int, there: int, days: int) -> str:
    """Why a purge of `gone` of `there` rows, those from before `before`, is no ordinary one; "" if it is. `days` is the
    term: of a short one two days' share is a large one. Of the first purge nothing is known to compare with."""
    if last is None:
        return ""
    # of the two terms: it is a shortened one that is looked for
    longest = max(days, (last.at.wall - last.before) // DAY, 1)
    if gone <= max(SHARE, 2 / longest) * there:
        return ""
    passed = elapsed(last.at, at)
    if before - last.before <= passed + DAY:
        return ""
    moved = f"moved by {(before - last.before) / DAY:.1f} days" if last.before else "was not there before"
    return f"{gone} of {there} would go, and the moment before which all goes {moved} in {passed / DAY:.1f} days"


def last_purge(inbox: Inbox, part: str) -> Purged | None:
    """The last purge of a `part`: inbox or calls."""
    fact = inbox.fact(_FACT.format(part=part))
    before, at = json.loads(fact) if fact else (0, None)
    return Purged(before, Reading(*at)) if at else None


def remember(inbox: Inbox, part: str, before: int) -> None:
    """A part was purged of all from before a moment; 0: it is kept for ever."""
    inbox.remember(**{_FACT.format(part=part): json.dumps([before, clock.read()])})
