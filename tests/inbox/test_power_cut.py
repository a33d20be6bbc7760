"""A power cut loses no acknowledged notification: what was answered 200 is in the inbox that was synced."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from models import Calls
from tests.rig import powercut, shim
from tests.rig.service import Service, until
from tests.rig.traffic import Traffic, traffic


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim.build(powercut.SOURCE, tmp_path_factory.mktemp("powercut"))


def cut(library: Path, directory: Path, synchronous: str = "FULL") -> tuple[Service, Traffic]:
    """Traffic on a service whose DATA_DIR is watched; kill -9 of it all in the middle; what was acknowledged."""
    watched, shadow = directory / "data", directory / "survived"
    service = Service(directory)
    if synchronous != "FULL":
        wal = 'db.execute("PRAGMA journal_mode = WAL")'
        never = (
            f'{wal}\n        db.execute("PRAGMA wal_autocheckpoint = 0")'  # one may come just before the cut, and syncs
        )
        service.copy_code(
            directory / "code",
            {
                "inbox/writer.py": ('synchronous="FULL"', f'synchronous="{synchronous}"'),
                "inbox/file.py": (wal, never),
            },
        )
    ordinary = dict(service.environment)
    service.environment |= powercut.environment(library, watched, shadow)
    service.start()
    with traffic(service, pause=0) as seen:
        until(lambda: seen.count > 150, "traffic flows")
        service.kill()
        acknowledged = Traffic(dict(seen.accepted))
    shadow.rename(directory / "after")
    service.data_dir = directory / "after"
    service.environment = ordinary
    service.environment["DATA_DIR"] = str(service.data_dir)
    service.database_url = service.environment["DATABASE_URL"] = f"sqlite:///{service.data_dir}/calllog/calls.db"
    return service, acknowledged


def stored(service: Service) -> int:
    inbox = service.data_dir / "inbox" / "inbox.db"
    if not inbox.exists():
        return 0
    with closing(sqlite3.connect(inbox)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master")]
        return int(db.execute("SELECT count(*) FROM deliveries").fetchone()[0]) if "deliveries" in tables else 0


@pytest.mark.parametrize("run", range(3))
def test_every_delivery_answered_200_is_in_the_inbox_after_a_power_cut(run: int, library: Path, tmp_path: Path) -> None:
    service, seen = cut(library, tmp_path)
    assert seen.count > 150
    assert stored(service) >= seen.count
    with service:
        service.start(upgrade=False)
        service.settled()
        rows = {row["provider_call_id"]: row for row in service.rows(Calls)}
        for call, events in seen.accepted.items():
            assert rows[call]["events_count"] >= events


def test_the_same_cut_loses_deliveries_without_the_sync(library: Path, tmp_path: Path) -> None:
    """The red case: with synchronous=NORMAL a 200 would be a lie, and this test can see it."""
    service, seen = cut(library, tmp_path, "NORMAL")
    assert seen.count > 150
    assert stored(service) < seen.count
