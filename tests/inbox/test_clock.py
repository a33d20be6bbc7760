"""A wrong clock is noticed by the time since boot, and across a restart by the last minute that was noted; it is believed
again after a day of agreement, on the word of NTP, or when it is back where it was."""

from itertools import pairwise
from pathlib import Path

import pytest

from inbox import clock
from inbox.clock import DAY, HOUR, MINUTE, Reading, Trust, judged

NOON = 1_795_000_000_000
BOOT = "a"


def at(wall: int, uptime: int, boot: str = BOOT, ntp: bool = False) -> Reading:
    return Reading(NOON + wall, HOUR + uptime, boot, ntp)


def after(*readings: Reading) -> Trust:
    trust = None
    for reading in readings:
        trust = judged(trust, reading)
    assert trust is not None
    return trust


FOUR_YEARS = 4 * 365 * DAY
STORIES = {
    "first seen": ([at(0, 0)], ""),
    "time goes by": ([at(0, 0), at(9 * DAY, 9 * DAY)], ""),
    "59 minutes are no step": ([at(0, 0), at(59 * MINUTE, 0)], ""),
    "many small steps are one": ([at(0, 0), at(50 * MINUTE, 0), at(100 * MINUTE, 0)], "ahead by 100 minutes"),
    "four years ahead": ([at(0, 0), at(FOUR_YEARS, MINUTE)], "ahead by 1459 days"),
    "a day back": ([at(0, 0), at(-DAY, MINUTE)], "back by 24 hours"),
    "ahead and back again": ([at(0, 0), at(FOUR_YEARS, MINUTE), at(2 * MINUTE, 2 * MINUTE)], ""),
    "ahead for less than a day": ([at(0, 0), at(DAY, 0), at(2 * DAY - 1, DAY - 1)], "ahead by 24 hours"),
    "ahead for a day": ([at(0, 0), at(DAY, 0), at(2 * DAY, DAY)], ""),
    "ahead, moved again": ([at(0, 0), at(DAY, 0), at(3 * DAY, 0), at(4 * DAY - 1, DAY - 1)], "ahead by 3 days"),
    "ahead, moved again half a day later": (
        [at(0, 0), at(DAY, 0), at(3 * DAY, DAY // 2), at(3 * DAY + 13 * HOUR, DAY // 2 + 13 * HOUR)],
        "ahead by 2 days",
    ),
    "a day back for a day": ([at(0, 0), at(-DAY, 0), at(0, DAY)], ""),
    "NTP vouches": ([at(0, 0), at(FOUR_YEARS, MINUTE, ntp=True)], ""),
    "restarted": ([at(0, 0), at(DAY, 0, "b")], ""),
    "restarted after a month": ([at(0, 0), at(31 * DAY, 0, "b")], "after the last minute"),
    "restarted in the past": ([at(0, 0), at(-HOUR, 0, "b")], "behind the last minute"),
    "restarted in the past, set right": ([at(0, 0), at(-DAY, 0, "b"), at(MINUTE, MINUTE, "b")], ""),
    "restarted in the past for a day": ([at(0, 0), at(-2 * DAY, 0, "b"), at(-DAY, DAY, "b")], ""),
    "restarted while ahead": ([at(0, 0), at(FOUR_YEARS, 0), at(FOUR_YEARS, 0, "b")], "after the last minute"),
    "which boot is not known": ([at(0, 0, ""), at(9 * DAY, 0, "")], ""),  # perhaps restarted since
    "which boot is not known, ahead": ([at(0, 0, ""), at(FOUR_YEARS, 0, "")], "after the last minute"),
    "which boot is not known, back": ([at(0, 0, ""), at(-HOUR, MINUTE, "")], "behind the last minute"),
    "restarted while ahead, right again": ([at(0, 0), at(FOUR_YEARS, 0), at(HOUR, 0, "b")], ""),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_clock_is_doubted_and_believed_again(story: str) -> None:
    readings, doubt = STORIES[story]
    trust = after(*readings)
    assert doubt in trust.doubt
    assert bool(doubt) == bool(trust.doubt)
    assert clock.from_fact(clock.to_fact(trust)) == trust


def test_a_doubted_moment_is_never_noted_as_the_last_one_that_was_right() -> None:
    assert after(at(0, 0), at(FOUR_YEARS, 0)).noted == NOON
    assert after(at(0, 0), at(FOUR_YEARS, 0), at(FOUR_YEARS, 0, "b")).noted == NOON
    assert after(at(0, 0), at(DAY, DAY)).noted == NOON + DAY


def test_the_clocks_of_this_host_are_read() -> None:
    first, second = pairwise([clock.read(), clock.read(), clock.read()])
    assert after(*first, *second).doubt == ""
    assert first[0].boot == clock.BOOT_ID.read_text().strip().replace("-", "")


def test_where_the_units_sandbox_hides_which_boot_it_is_systemd_tells_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock, "BOOT_ID", tmp_path / "none")
    monkeypatch.setenv("BOOT_ID", "0123456789abcdef0123456789abcdef")
    assert clock.read().boot == "0123456789abcdef0123456789abcdef"
    monkeypatch.delenv("BOOT_ID")
    assert clock.read().boot == ""
