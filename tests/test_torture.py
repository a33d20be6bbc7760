"""The short form of the torture run, and that its account can fail."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.mariadb import MariaDB
from tests.rig.service import ROOT, Service, until
from tests.torture.calllogs import Reader
from tests.torture.oracle import Journal, Verdict, judge


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "mysql"])
def test_half_a_minute_of_everything_loses_and_doubles_nothing(database: str, mariadb: MariaDB) -> None:
    """With another seed each time; the seed of a run that failed is in what it printed."""
    command = [sys.executable, "-m", "tests.torture", "--database", database, "--seconds", "25", "--pause", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 lost, 0 doubled" in done.stdout
    acknowledged = int(done.stdout.split(" sent, ")[-1].split(" acknowledged")[0])
    faults = int(done.stdout.split(" faults of ")[0].splitlines()[-1])
    assert acknowledged > 300
    assert faults > 10


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Service, Path, Reader]:
    """A service that was left alone, the generator's journal and a reader that has read it all."""
    directory = tmp_path_factory.mktemp("account")
    journal, addresses = directory / "journal", directory / "addresses"
    with Service(directory / "service") as service:
        service.start()
        addresses.write_text(service.url)
        generator = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.stream", str(journal), str(addresses), "account", "300", "4"],
            cwd=ROOT,
        )
        until(lambda: journal.exists() and journal.read_bytes().count(b', 200, "') > 200, "200 are acknowledged")
        generator.send_signal(signal.SIGTERM)
        assert generator.wait(60) == 0
        service.settled()
        service.stop()
    reader = Reader(service.database_url)
    reader.poll()
    return service, journal, reader


def account(told: tuple[Service, Path, Reader], url: str = "") -> Verdict:
    service, journal, reader = told
    inbox = service.data_dir / "inbox" / "inbox.db"
    return judge(Journal.read(journal), [inbox], url or service.database_url, 0, reader.copy)


def test_the_account_of_an_undisturbed_run_is_clean(told: tuple[Service, Path, Reader]) -> None:
    verdict = account(told)
    assert verdict.faults == []
    assert verdict.acknowledged >= 200
    assert verdict.calls > 20


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM call_events WHERE id = (SELECT min(id) FROM call_events)", "is not in the call log"),
        ("UPDATE calls SET client_number = '1' WHERE id = (SELECT max(id) FROM calls)", "its events fold to"),
        ("UPDATE calls SET change_no = 99999 WHERE id = (SELECT min(id) FROM calls)", "missed 1 rows"),
        ("DELETE FROM call_legs WHERE id = (SELECT min(id) FROM call_legs)", "has other legs"),
        ("UPDATE call_legs SET employee_number = '1' WHERE id = (SELECT min(id) FROM call_legs)", "has other legs"),
    ],
    ids=["an event", "a column", "a number", "a leg", "of a leg"],
)
def test_the_account_notices_what_is_not_as_acknowledged(
    told: tuple[Service, Path, Reader], tmp_path: Path, damage: str, says: str
) -> None:
    damaged = tmp_path / "calls.db"
    with (
        contextlib.closing(sqlite3.connect(told[0].data_dir / "calllog" / "calls.db")) as whole,
        contextlib.closing(sqlite3.connect(damaged)) as copy,
    ):
        whole.backup(copy)
        assert copy.execute(damage).rowcount == 1
        copy.commit()
    assert [fault for fault in account(told, f"sqlite:///{damaged}").faults if says in fault]


def test_the_account_knows_columns_without_the_fold(told: tuple[Service, Path, Reader], tmp_path: Path) -> None:
    """A rule of ours that is wrong folds all alike: only the fixtures contradict it."""
    journal = Journal.read(told[1])
    for rows, _ in journal.calls.values():
        rows |= {column: "of the fixture" for column in ("is_answered", "reason_raw", "talk_seconds") if column in rows}
    inbox = told[0].data_dir / "inbox" / "inbox.db"
    faults = judge(journal, [inbox], told[0].database_url, 0, told[2].copy).faults
    for column in ("is_answered", "reason_raw", "talk_seconds"):
        assert [fault for fault in faults if f".{column} is " in fault and "of the fixture" in fault]
