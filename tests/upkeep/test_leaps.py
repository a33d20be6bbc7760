"""A purge that would delete what no passing of days has made old asks, and refuses where nobody can be asked."""

import pytest

from inbox import now
from inbox.clock import DAY, HOUR, Reading
from tests.rig.node import Node, end
from tests.rig.service import Service
from upkeep.leaps import Purged, elapsed, leap

NOON = 1_795_000_000_000
LAST = Purged(NOON - 30 * DAY, Reading(NOON, 9 * DAY, "a"))


@pytest.mark.parametrize(
    ("before", "at", "gone", "days", "asked"),
    [
        (NOON - 29 * DAY, Reading(NOON + DAY, 10 * DAY, "a"), 900, 30, False),  # a day has passed
        (NOON - 28 * DAY, Reading(NOON + DAY, 10 * DAY, "a"), 900, 30, False),  # and one more is allowed
        (NOON - 27 * DAY, Reading(NOON + DAY, 10 * DAY, "a"), 900, 30, True),  # a shorter term
        (NOON - 27 * DAY, Reading(NOON + DAY, 10 * DAY, "a"), 200, 30, False),  # of little
        (NOON - 2 * DAY, Reading(NOON + DAY, 10 * DAY, "a"), 900, 2, True),  # a much shorter one
        (NOON + 1430 * DAY, Reading(NOON + 1460 * DAY, 10 * DAY, "a"), 900, 30, True),  # a clock that is ahead
        (NOON - 10 * DAY, Reading(NOON + 20 * DAY, HOUR, "b"), 900, 30, True),  # after a restart of the host
        (NOON - 10 * DAY, Reading(NOON + 20 * DAY, HOUR, "b", ntp=True), 900, 30, False),  # NTP vouches for the days
    ],
)
def test_what_is_asked_about(before: int, at: Reading, gone: int, days: int, asked: bool) -> None:
    assert bool(leap(LAST, before, at, gone, 1000, days)) is asked
    assert leap(None, before, at, gone, 1000, days) == ""


def test_of_a_term_of_two_days_half_of_what_there_is_goes_daily() -> None:
    last = Purged(NOON - 2 * DAY, Reading(NOON, 9 * DAY, "a"))
    at = Reading(NOON + 5 * DAY, 9 * DAY, "a")
    assert leap(last, NOON + 3 * DAY, at, 900, 1000, 2) == ""


def test_time_passes_by_the_witness() -> None:
    at = Reading(NOON, 9 * DAY, "a")
    assert elapsed(at, Reading(NOON + 100 * DAY, 10 * DAY, "a")) == DAY
    assert elapsed(at, Reading(NOON - DAY, HOUR, "b", ntp=True)) == 0


@pytest.fixture
def filled(tmp_path, database_url: str) -> Service:
    """Ten calls, one of each of the last ten days, and a purge that had nothing to delete."""
    service = Service(tmp_path / "service", database_url, INBOX_DAYS="30")
    service.flask("db", "upgrade")
    node = Node(service.data_dir, service.database_url, expire_hours=100_000)
    for days in range(10):
        node.deliver("rec", now() - days * DAY - HOUR, **end(f"of {days} days ago"))
    node.forward()
    node.forwarder.close()
    service.flask("purge")
    return service


def test_a_shortened_term_of_deliveries_asks_first(filled: Service) -> None:
    refused = filled.flask("purge", check=False, INBOX_DAYS="2")
    assert refused.returncode == 1
    assert "8 of 10 would go" in refused.stderr
    assert "pbx-connector purge --yes" in refused.stderr
    assert len(filled.deliveries()) == 10
    assert "pbx-connector purge deleted nothing: deliveries from before" in filled.flask("check", check=False).stdout
    assert "8 forwarded" in filled.flask("purge", "--yes", INBOX_DAYS="2").stdout
    assert "purge succeeded 2" in filled.flask("check", "--offline").stdout
    filled.flask("purge", INBOX_DAYS="2")


def test_a_first_term_of_calls_asks_first(filled: Service) -> None:
    filled.flask("purge", "--inbox", "--days", "5")  # a term that is typed is meant
    filled.flask("purge", INBOX_DAYS="6")
    refused = filled.flask("purge", check=False, INBOX_DAYS="5", CALLS_DAYS="5")
    assert (
        refused.returncode,
        "of 10 would go, and the moment before which all goes was not there" in refused.stderr,
    ) == (
        1,
        True,
    ), refused.stderr
    assert "5 calls deleted" in filled.flask("purge", "--yes", INBOX_DAYS="5", CALLS_DAYS="5").stdout
