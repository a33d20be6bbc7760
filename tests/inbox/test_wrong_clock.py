"""A wrong clock through the running service: nothing is deleted or dropped for its age, everything is forwarded, and it is
told; when the clock is right again, or said to be, all goes on by itself."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from inbox import FORWARDED, IGNORED, now
from inbox.clock import DAY
from models import Calls
from tests.rig.fixtures import ZONE
from tests.rig.node import end, ring
from tests.rig.service import ROOT, Service, until
from tests.rig.shim import WrongClock

FOUR_YEARS = 4 * 365 * 86_400  # seconds
BOOT = "the first boot"


class Clocked(Service):
    """A service with a wall clock and a boot of its own, whose minute is a fifth of a second."""

    def __init__(self, directory: Path, database_url: str = "", **settings: str) -> None:
        days = {"CALLS_DAYS": "30", "INBOX_DAYS": "30", "UIS_SILENCE_MINUTES": "60", "EXPIRE_HOURS": "4"}
        super().__init__(directory / "service", database_url, OPERATOR_PASSWORD="p", **days, **settings)
        self.clock = WrongClock(directory)
        self.environment |= self.clock.environment
        self.boot = directory / "boot_id"
        self.boot.write_text(BOOT)
        text = (ROOT / "forwarder.py").read_text(encoding="utf-8")
        hurried = re.sub(r"(?m)^(LOOK_FOR_ENDS_EVERY|STATUS_EVERY) = [\d.]+", r"\1 = 0.2", text)
        edits = {
            "forwarder.py": (text, hurried),
            "inbox/watch.py": ("LOOK_EVERY = 60.0", "LOOK_EVERY = 0.2"),
            "inbox/clock.py": ('Path("/proc/sys/kernel/random/boot_id")', f"Path({str(self.boot)!r})"),
        }
        self.copy_code(directory / "code", edits)

    def noted(self) -> None:
        """Wait for the next minute."""
        before = self.inbox.fact("clock")
        until(lambda: self.inbox.fact("clock") != before, "the clock is noted")

    def doubt(self) -> str:
        doubt: str = self.get("/readyz").json()["clock_doubt"]
        return doubt

    def tell(self, call: str, at: datetime | None = None, **more: Any) -> None:
        """Post an ended call of this moment, by the right time."""
        moment = f"{at or datetime.now(ZONE):%Y-%m-%d %H:%M:%S}"
        sent = {**end(call), "start_time": moment, "finish_time": moment, **more}
        assert self.post("/hs/UIScom/rec", json.dumps(sent)).ok


@pytest.fixture
def clocked(tmp_path: Path, database_url: str) -> Iterator[Clocked]:
    with Clocked(tmp_path, database_url) as service:
        service.start()
        service.tell("1")
        service.call("1")
        service.noted()
        yield service


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Clocked]:
    with Clocked(tmp_path) as service:
        service.start()
        yield service


def nightly(service: Service, backups: Path) -> tuple[int, str]:
    """What the timer runs: exit status and output."""
    unit = (ROOT / "deploy" / "pbx-connector-daily.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", unit)
    line = line.replace("$$", "$").replace("/var/backups/pbx-connector", str(backups))
    line = line.replace("/opt/pbx-connector/current/pbx-connector", f"{sys.executable} {service.root}")
    done = subprocess.run(
        shlex.split(line), cwd=service.root, env=service.environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_four_years_ahead_deletes_and_drops_nothing_and_everything_is_forwarded(
    clocked: Clocked, tmp_path: Path
) -> None:
    open_call = ring("3", start_time=f"{datetime.now(ZONE):%Y-%m-%d %H:%M:%S}")
    assert clocked.post("/hs/UIScom/in", json.dumps(open_call)).ok
    assert clocked.call("3")["state"] == "ringing"
    clocked.clock.set(FOUR_YEARS)
    assert clocked.get("/readyz").json()["silent_feeds"] == []
    clocked.tell("2")
    assert clocked.call("2")["state"] == "ended"
    clocked.logs("the clock is doubted: it was set ahead by 14")
    before = len(clocked.deliveries())
    status, output = nightly(clocked, tmp_path / "backups")
    assert (status, "nothing was deleted: the clock is doubted: it was set ahead by" in output) == (1, True), output
    assert "pbx-connector clock trust" in output
    assert len(list((tmp_path / "backups").iterdir())) == 1  # the backup is made all the same
    assert {row["provider_call_id"]: row["state"] for row in clocked.rows(Calls)} == {
        "1": "ended", "2": "ended", "3": "ringing"
    }  # fmt: skip
    assert len(clocked.deliveries()) == before
    assert {stored.outcome.state for stored in clocked.deliveries()} == {FORWARDED}
    assert clocked.get("/readyz").json()["silent_feeds"] == []
    assert clocked.get("/readyz").json()["purge_refused"].startswith("the clock is doubted")
    metrics = clocked.get("/metrics").text
    assert "connector_clock_doubted 1.0" in metrics
    assert "connector_purge_refused 1.0" in metrics
    seen = clocked.get("/service", auth=("operator", "p")).text
    assert "Часам сервера нельзя верить: <code>it was set ahead" in seen
    assert "<code>pbx-connector purge</code> ничего не удалил" in seen
    checked = clocked.flask("check", check=False)
    assert (checked.returncode, "clock: WRONG: RuntimeError: doubted: it was set ahead" in checked.stdout) == (1, True)

    clocked.clock.set(0)
    until(lambda: clocked.doubt() == "", "it is believed again")
    clocked.logs("the clock is believed again")
    clocked.tell("4")
    clocked.call("4")
    status, output = nightly(clocked, tmp_path / "later")
    assert (status, output.index("older than 30 days") < output.index("read back")) == (0, True)
    assert {row["provider_call_id"] for row in clocked.rows(Calls)} == {"1", "2", "3", "4"}
    assert clocked.get("/readyz").json()["purge_refused"] == ""


def test_a_delivery_of_the_future_does_not_hide_a_silent_feed(on_sqlite: Clocked) -> None:
    on_sqlite.noted()
    on_sqlite.clock.set(FOUR_YEARS)
    on_sqlite.tell("1")
    on_sqlite.call("1")
    assert on_sqlite.inbox.look().last_deliveries["uis"] > now() + 3 * 365 * DAY
    on_sqlite.clock.set(0)
    until(lambda: on_sqlite.inbox.look().last_deliveries["uis"] <= now(), "its last delivery was a moment ago")
    on_sqlite.clock.set(3500)  # within the hour that is no step
    assert on_sqlite.get("/readyz").json()["silent_feeds"] == []
    on_sqlite.flask("clock", "trust")
    on_sqlite.clock.set(3700)
    until(lambda: on_sqlite.get("/readyz").json()["silent_feeds"] == ["uis"], "the feed is silent")


def test_the_sysadmins_word_makes_a_clock_believed_at_once(on_sqlite: Clocked) -> None:
    on_sqlite.noted()
    on_sqlite.clock.set(2 * 86_400)
    until(lambda: "ahead by 48 hours" in on_sqlite.doubt() or "2 days" in on_sqlite.doubt(), "it is doubted")
    assert "the clock is believed" in on_sqlite.flask("clock", "trust").stdout
    assert on_sqlite.doubt() == ""
    on_sqlite.noted()
    assert on_sqlite.doubt() == ""
    old = datetime.now(ZONE) - timedelta(days=40)
    on_sqlite.tell("9", old)
    on_sqlite.settled()
    assert [stored.outcome.reason for stored in on_sqlite.deliveries(state=IGNORED)] == ["too_old"]


def test_a_host_that_starts_in_the_past_is_doubted_until_the_clock_is_right(on_sqlite: Clocked) -> None:
    on_sqlite.noted()
    on_sqlite.stop()
    on_sqlite.boot.write_text("the second boot")
    on_sqlite.clock.set(-10 * 86_400)
    on_sqlite.start(upgrade=False)
    until(lambda: "behind the last minute that was noted" in on_sqlite.doubt(), "it is doubted")
    on_sqlite.tell("1")
    assert on_sqlite.call("1")["state"] == "ended"
    assert on_sqlite.flask("purge", check=False).returncode == 1
    on_sqlite.clock.set(0)
    until(lambda: on_sqlite.doubt() == "", "it is believed again")
    on_sqlite.stop()
    on_sqlite.boot.write_text("the third boot")
    on_sqlite.start(upgrade=False)
    on_sqlite.noted()
    assert on_sqlite.doubt() == ""
