"""A power cut loses no acknowledged notification: what was answered 200 is in the inbox that was synced. And of whatever
else has said that it is done everything is there."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from inbox import FORWARDED, Inbox, Outcome, now
from models import Calls
from schemas.reading import Delivery
from tests.rig import powercut, shim
from tests.rig.acts import ACTS, BACKUP, ORDER, PERSON, Walk, an_order
from tests.rig.crash import CALL, Crashes
from tests.rig.provider import Asked, Handler, provider, says
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
    service.flask("db", "upgrade")  # not from here, where nothing is mirrored
    service.start(upgrade=False)
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


# ------------------------------------------------------------------------------------------------- whatever else is "done"


class Cut:
    """Runs an act on what it finds; `power` is then cut, and on again over what was synced."""

    def __init__(self, walk: Walk, library: Path, directory: Path) -> None:
        walk.prepare()
        for path in walk.template.rglob("*.db"):
            with closing(sqlite3.connect(path)) as db:  # its log is emptied, and goes
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.rmtree(walk.site.directory)
        shutil.copytree(walk.template, walk.site.directory)
        self.walk, self.survived = walk, directory / "survived"
        shutil.copytree(walk.template, self.survived)
        environment = powercut.environment(library, walk.site.directory, self.survived)
        self.walk.service.environment |= environment
        self.shim = environment.keys()

    def crashes(self, **sizes: int) -> Crashes:
        return Crashes(self.walk.service.root, self.walk.service.environment, {**self.walk.act.sizes, **sizes})

    def off_and_on(self) -> None:
        """Only what was synced is left."""
        shutil.rmtree(self.walk.site.directory)
        self.survived.rename(self.walk.site.directory)
        for name in self.shim:
            del self.walk.service.environment[name]


@pytest.mark.parametrize("act", [*ACTS, "backup"])
def test_what_a_command_has_said_is_there_after_a_power_cut(act: str, library: Path, tmp_path: Path) -> None:
    cut = Cut(Walk({**ACTS, "backup": BACKUP}[act], tmp_path), library, tmp_path)
    with cut.crashes() as crashes:
        done = cut.walk.again(crashes)
        assert done.code == 0, done.output
    cut.off_and_on()
    if act == "mending":  # marks are not synced: forwarding twice changes nothing
        cut.walk.service.flask("forward", "--once")
    cut.walk.act.whole(cut.walk.site)


def test_who_was_forgotten_beside_a_reader_of_the_inbox_is_not_back_after_a_power_cut(
    library: Path, tmp_path: Path
) -> None:
    """A reader keeps the log from being emptied, which would sync it whatever the deletion itself did."""
    cut = Cut(Walk(ACTS["forget"], tmp_path), library, tmp_path)
    with closing(sqlite3.connect(cut.walk.service.data_dir / "inbox" / "inbox.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        with cut.crashes(**{"inbox.file.BUSY_MS": 1}) as crashes:
            done = cut.walk.again(crashes)
            assert "a reader holds inbox.db" in done.output, done.output
    cut.off_and_on()
    assert cut.walk.site.states() == [FORWARDED] * 4
    assert cut.walk.site.calls() == {"2", "4", "6", "8"}
    assert all(PERSON.encode() not in stored.delivery.body for stored in cut.walk.service.deliveries())


def test_an_order_that_was_dialled_is_remembered_after_a_power_cut(library: Path, tmp_path: Path) -> None:
    with provider() as phones:
        cut = Cut(Walk(an_order(phones.url), tmp_path), library, tmp_path)

        def dialled(handler: Handler, asked: Asked) -> None:
            shutil.copytree(cut.survived, tmp_path / "then")
            says(200, "OK")(handler, asked)

        phones.answer = dialled
        with cut.crashes() as crashes:
            assert cut.walk.again(crashes).code == 0
    assert Inbox(tmp_path / "then" / "data" / "inbox").placement(ORDER) == (None, "")


def written_anew(directory: str) -> None:
    """An inbox whose file is removed under it, and what it acknowledges before and after."""
    inbox = Inbox(Path(directory))
    for number in (1, 2):
        inbox.put(Delivery("uis", "in", b"%d" % number, received_at=now()), Outcome())
        for path in Path(directory).glob("inbox.db*") if number == 1 else ():
            path.unlink()


def test_an_inbox_that_was_written_anew_is_whole_after_a_power_cut(library: Path, tmp_path: Path) -> None:
    watched, shadow = tmp_path / "data", tmp_path / "survived"
    service = Service(tmp_path / "service")
    environment = service.environment | powercut.environment(library, watched, shadow)
    watched.mkdir()
    with Crashes(service.root, environment) as crashes:
        done = crashes.run(CALL, "tests.inbox.test_power_cut:written_anew", str(watched / "inbox"))
        assert done.code == 0, done.output
    inbox = Inbox(shadow / "inbox")
    assert inbox.check() == "ok"
    assert [stored.delivery.body for stored in inbox.deliveries()] == [b"2", b"1"]
