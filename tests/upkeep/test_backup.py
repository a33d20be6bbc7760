"""backup and restore: a copy under load is whole, and what comes back from it misses nothing."""

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calllog import database
from models import CallEvents, CallLegs, Calls
from tests.rig.crash import DIED, Crashes
from tests.rig.node import Node, end, ring
from tests.rig.service import Service, until
from tests.rig.traffic import traffic
from upkeep import backup as backup_rules

PERSON = "79201119613"
IN, REC = "/hs/UIScom/in", "/hs/UIScom/rec"


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "service") as service:
        yield service.start()


def made(service: Service, directory: Path, *options: str) -> Path:
    """A new backup."""
    said = service.flask("backup", str(directory), *options).stdout
    return Path(said.splitlines()[-1].removeprefix("backup ").split(";")[0])


def manifest(backup: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((backup / "manifest.json").read_text())
    return found


def told(service: Service) -> dict[str, tuple[str, int]]:
    return {row["provider_call_id"]: (row["state"], row["events_count"]) for row in service.rows(Calls)}


def holds(service: Service, accepted: dict[str, int]) -> None:
    """Every acknowledged call is there with its events."""
    rows = told(service)
    assert {call for call, events in accepted.items() if rows.get(call, ("", 0))[1] < events} == set()


class Reader:
    """1C, as docs/contract.md section 3 tells it to read."""

    def __init__(self) -> None:
        self.position, self.calls = 0, dict[str, int]()

    def read(self, service: Service) -> "Reader":
        db = database.open_database(service.database_url)
        with db.connection_context():
            while True:
                last = db.execute_sql("SELECT MAX(change_no) FROM calls").fetchone()[0] or 0
                if last <= self.position:
                    return self
                window = self.position + 5000
                chosen = Calls.select().where(Calls.change_no > self.position, Calls.change_no <= window)
                rows = list(chosen.order_by(Calls.change_no).dicts().execute(db))
                self.calls |= {row["provider_call_id"]: row["events_count"] for row in rows}
                if rows:
                    self.position = rows[-1]["change_no"]
                elif window <= last:
                    self.position = window


# -------------------------------------------------------------------------------------------------------------- backup


def test_a_backup_under_load_restores_into_an_empty_data_dir(on_sqlite: Service, tmp_path: Path):
    with traffic(on_sqlite) as seen:
        until(lambda: seen.count > 100, "traffic")
        before = dict(seen.accepted)
        backup = made(on_sqlite, tmp_path / "backups")
        until(lambda: seen.count > 200, "traffic")
    assert seen.refused == []
    files = manifest(backup)["files"]
    assert files["calls.db"]["calls"] >= 1
    assert files["inbox.db"]["deliveries"] >= sum(before.values())
    assert {path.name for path in backup.iterdir()} == {*files, "manifest.json"}
    assert (backup.stat().st_mode & 0o777, *{p.stat().st_mode & 0o777 for p in backup.iterdir()}) == (0o700, 0o600)
    with Service(tmp_path / "new") as new:
        said = new.flask("restore", str(backup), "--inbox", "--calls").stdout
        assert "calls.db is restored" in said
        new.start(upgrade=False)
        new.settled()
        holds(new, before)
        assert len(new.deliveries()) == files["inbox.db"]["deliveries"]
        there = told(new)
        assert {call: row for call, row in told(on_sqlite).items() if call in before}.keys() <= there.keys()
        assert new.inbox.node() == on_sqlite.inbox.node()
        new.post(REC, json.dumps(end("9001")))
        assert new.call("9001")["state"] == "ended"


def test_a_backup_is_read_back_and_only_older_whole_ones_are_thinned(on_sqlite: Service, tmp_path: Path):
    directory = tmp_path / "backups"
    first = made(on_sqlite, directory)
    (directory / "20200101T000000Z").mkdir()  # no backup: without a manifest
    (directory / "notes").mkdir()
    (directory / ".20200102T000000Z.part").mkdir()  # one that was killed
    until(lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}" > first.name, "another second")
    second = made(on_sqlite, directory, "--keep", "1")
    assert {path.name for path in directory.iterdir()} == {second.name, "20200101T000000Z", "notes"}
    assert on_sqlite.inbox.fact("backup_keep") == "1"
    said = on_sqlite.flask("forget", PERSON, "--yes").stdout
    assert f"1 backups in {directory} may hold it, the newest is {second.name}" in said
    assert "--keep 1 the last of them is gone on" in said


def test_a_full_disk_leaves_no_half_backup(tmp_path: Path, small_disk: Path):
    service = Service(tmp_path / "service")
    service.flask("db", "upgrade")
    copies = small_disk / "copies"
    whole = made(service, copies)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 100_000))
    node = Node(service.data_dir, service.database_url)
    for number in range(40):
        node.deliver("in", **ring(str(number), padding="я" * 5000))
    node.forward()
    done = service.flask("backup", str(copies), "--keep", "1", check=False)
    assert done.returncode == 1
    assert "no backup was made" in done.stderr
    assert list(copies.iterdir()) == [whole]


def test_a_backup_beside_mysql_has_the_inbox_and_says_what_else_to_do(tmp_path: Path, request: pytest.FixtureRequest):
    url = request.getfixturevalue("mariadb").create("test_backup")
    service = Service(tmp_path / "service", url)
    service.flask("db", "upgrade")
    assert "mysqldump --single-transaction" in service.flask("backup", str(tmp_path / "b")).stdout
    (backup,) = (tmp_path / "b").iterdir()
    assert {path.name for path in backup.iterdir()} == {"inbox.db", "manifest.json"}
    refused = service.flask("restore", str(backup), check=False)
    assert refused.returncode == 1
    assert "load its dump" in refused.stderr
    shutil.rmtree(service.data_dir)
    assert "inbox.db is restored" in service.flask("restore", str(backup), "--inbox").stdout


# ------------------------------------------------------------------------------------------------------------- restore


def test_a_restored_call_log_is_filled_from_the_inbox_that_stayed(on_sqlite: Service, tmp_path: Path):
    with traffic(on_sqlite) as seen:
        until(lambda: seen.count > 60, "traffic")
        backup = made(on_sqlite, tmp_path / "b")
        until(lambda: seen.count > 120, "traffic")
    on_sqlite.settled()
    before, reader = told(on_sqlite), Reader().read(on_sqlite)
    on_sqlite.stop()
    said = on_sqlite.flask("restore", str(backup)).stdout
    aside = next((on_sqlite.data_dir / "calllog").glob("calls.db.before-*"))
    assert str(aside) in said
    assert len(told(on_sqlite)) < len(before)
    on_sqlite.start(upgrade=False)
    on_sqlite.post(REC, json.dumps(end("9002")))
    on_sqlite.call("9002")
    on_sqlite.settled()
    assert told(on_sqlite) == {**before, "9002": ("ended", 1)}
    assert reader.read(on_sqlite).calls["9002"] == 1
    assert reader.position < 100_000  # no more than what the inbox remembers, and a little


def test_a_reader_misses_nothing_after_both_were_restored_on_an_empty_disk(on_sqlite: Service, tmp_path: Path):
    with traffic(on_sqlite) as seen:
        until(lambda: seen.count > 60, "traffic")
        backup = made(on_sqlite, tmp_path / "b")
        until(lambda: seen.count > 200, "traffic")
    on_sqlite.settled()
    reader = Reader().read(on_sqlite)
    on_sqlite.kill()
    shutil.rmtree(on_sqlite.data_dir)
    on_sqlite.flask("restore", str(backup), "--inbox", "--calls")
    on_sqlite.start(upgrade=False)
    copied = manifest(backup)["files"]["inbox.db"]["change_no"]
    with traffic(on_sqlite, prefix="8") as later:
        until(lambda: later.count > 60, "traffic")
    on_sqlite.settled()
    assert reader.position > copied
    reader.read(on_sqlite)
    there = {row["provider_call_id"]: row["events_count"] for row in on_sqlite.rows(Calls)}
    # it may know of an event that went with the disk, never of one less than there is
    assert {call for call, events in there.items() if reader.calls.get(call, 0) < events} == set()
    # and with what 1C remembers, the numbers go on from there
    on_sqlite.stop()
    done = on_sqlite.flask("restore", str(backup), "--calls", "--position", str(reader.position + 7)).stdout
    assert f"changes go on above {reader.position + 7}," in done


def test_a_restore_is_refused_while_anything_uses_data_dir(on_sqlite: Service, tmp_path: Path):
    on_sqlite.post(IN, json.dumps(ring("1")))
    on_sqlite.call("1")
    backup = made(on_sqlite, tmp_path / "b")
    refused = on_sqlite.flask("restore", str(backup), check=False)
    assert (refused.returncode, "stop it, then restore" in refused.stderr) == (1, True)
    # idle workers that forward nothing count too (tests/inbox/test_inbox.py has what follows from the mark)
    inode = (on_sqlite.data_dir / "inbox" / "use.lock").stat().st_ino
    marked = re.findall(rf"FLOCK\s+ADVISORY\s+READ\s+(\d+) \S+:{inode} ", Path("/proc/locks").read_text())
    assert set(map(int, marked)) == set(on_sqlite.workers())
    on_sqlite.post(IN, json.dumps(ring("2")))
    on_sqlite.call("2")
    on_sqlite.stop()
    path, _ = database.parse_url(on_sqlite.database_url)
    reader = sqlite3.connect(path)  # 1C over ODBC, idle
    reader.execute("SELECT * FROM calls").fetchall()
    refused = on_sqlite.flask("restore", str(backup), check=False)
    assert (refused.returncode, "1C over ODBC" in refused.stderr) == (1, True)
    reader.close()
    both = on_sqlite.flask("restore", str(backup), "--calls", "--inbox", check=False)
    assert (both.returncode, "holds 1 deliveries that the backup lacks" in both.stderr) == (1, True)
    assert len(told(on_sqlite)) == 2
    assert not [*on_sqlite.data_dir.rglob("*restoring*"), *on_sqlite.data_dir.rglob("*before*")]
    assert (
        "1 deliveries of the present inbox that the backup lacks are kept"
        in on_sqlite.flask("restore", str(backup), "--calls", "--inbox", "--merge").stdout
    )
    assert told(on_sqlite).keys() == {"1"}
    on_sqlite.flask("forward", "--once")
    assert told(on_sqlite).keys() == {"1", "2"}


@pytest.mark.parametrize("how", ["cut", "changed", "no manifest"])
def test_a_backup_that_is_not_as_it_was_written_is_not_restored(how: str, tmp_path: Path):
    service = Service(tmp_path / "service")
    service.flask("db", "upgrade")
    backup = made(service, tmp_path / "b")
    path = backup / ("manifest.json" if how == "no manifest" else "calls.db")
    if how == "no manifest":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-4096] if how == "cut" else data[:5000] + b"x" + data[5001:])
    done = service.flask("restore", str(backup), check=False)
    assert done.returncode == 1
    assert "not restored" in done.stderr


PLANTED = (
    "CREATE TRIGGER planted AFTER INSERT ON {table} BEGIN UPDATE {table} SET {column} = 'planted'; END",
    "CREATE VIEW planted AS SELECT * FROM {table}",
    "CREATE TABLE planted (id INTEGER)",
    "CREATE INDEX planted ON {table} ({column})",
    "ALTER TABLE {table} ADD COLUMN planted TEXT",
    "CREATE UNIQUE INDEX planted ON {table} ({column})",
    "DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS id, 1 AS change_no, '' AS {column}",
)
TOLD = PLANTED[1:5]  # of a call log: a 1C developer may have added it


def tampered(backup: Path, name: str, script: str) -> None:
    """Change a file of a backup, and its manifest so that it agrees."""
    with closing(sqlite3.connect(backup / name)) as db:
        db.executescript(script)
    said = manifest(backup)
    said["files"][name]["sha256"] = hashlib.sha256((backup / name).read_bytes()).hexdigest()
    (backup / "manifest.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def one_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    service = Service(tmp_path_factory.mktemp("backed-up"))
    service.flask("db", "upgrade")
    Node(service.data_dir, service.database_url).deliver("in", **ring("1"))
    return made(service, service.directory / "b")


@pytest.mark.parametrize("script", PLANTED, ids=lambda script: script.split("(")[0].split("planted")[0].strip())
@pytest.mark.parametrize("name", ["inbox.db", "calls.db"])
def test_a_database_that_is_not_ours_alone_is_not_restored(
    name: str, script: str, one_backup: Path, tmp_path: Path
) -> None:
    table, column = ("deliveries", "feed") if name == "inbox.db" else ("call_events", "feed")
    backup = shutil.copytree(one_backup, tmp_path / one_backup.name)
    tampered(backup, name, script.format(table=table, column=column))
    service = Service(tmp_path / "service")
    done = service.flask("restore", str(backup), "--inbox", "--calls", check=False)
    if name == "calls.db" and script in TOLD:
        assert (done.returncode, "the call log also has what is not ours" in done.stdout) == (0, True), done.stderr
    else:
        assert done.returncode == 1
        assert "was not made by this program alone" in done.stderr
        assert not list(service.data_dir.rglob("*.db"))


@pytest.mark.parametrize("stray", ["forgotten", "inbox.db-journal", "acts.jsonl", "notes.txt"])
def test_a_file_that_the_manifest_does_not_list_stops_a_restore(stray: str, one_backup: Path, tmp_path: Path) -> None:
    backup = shutil.copytree(one_backup, tmp_path / one_backup.name)
    (backup / stray).write_text("key 00\ncall 00 1\n")
    service = Service(tmp_path / "service")
    done = service.flask("restore", str(backup), "--inbox", "--calls", check=False)
    assert (done.returncode, stray in done.stderr) == (1, True)
    (backup / stray).unlink()
    (backup / "calls.db").unlink()
    assert "its manifest.json lists" in service.flask("restore", str(backup), "--inbox", check=False).stderr
    assert not list(service.data_dir.rglob("*.db"))


def test_who_was_forgotten_does_not_come_back_with_an_older_copy(on_sqlite: Service, tmp_path: Path):
    for call, client in (("1", PERSON), ("2", "79035550101")):
        on_sqlite.post(IN, json.dumps(ring(call, calling_phone_number=client)))
        on_sqlite.call(call)
    backup = made(on_sqlite, tmp_path / "b")
    on_sqlite.flask("forget", PERSON, "--yes")
    on_sqlite.stop()
    said = on_sqlite.flask("restore", str(backup), "--inbox", "--calls", "--yes").stdout
    assert "the copy held: 1 calls, 1 call_events, 1 deliveries; deleted again" in said
    assert told(on_sqlite).keys() == {"2"}
    assert len(on_sqlite.deliveries()) == 1
    on_sqlite.start(upgrade=False)
    on_sqlite.post(REC, json.dumps(end("1", calling_phone_number=PERSON)))
    on_sqlite.settled()
    assert told(on_sqlite).keys() == {"2"}
    # a copy of now, on another disk, knows it too
    newer = made(on_sqlite, tmp_path / "b")
    with Service(tmp_path / "new") as new:
        new.flask("restore", str(newer), "--inbox", "--calls")
        new.start(upgrade=False)
        new.post(REC, json.dumps(end("1", calling_phone_number=PERSON)))
        new.settled()
        assert told(new).keys() == {"2"}
        assert [json.loads(line)["kind"] for line in new.flask("acts", "--json").stdout.splitlines()] == [
            "forget",
            "again",
        ]


def test_a_restore_killed_at_any_step_leaves_the_old_log_or_the_new_one(tmp_path: Path):
    service = Service(tmp_path / "service", UIS_KEY="open")
    service.flask("db", "upgrade")
    node = Node(service.data_dir, service.database_url)
    node.deliver("in", **ring("1"))
    node.forward()
    backup = made(service, tmp_path / "b")
    node.deliver("in", **ring("2"))
    node.forward()
    node.forwarder.close()
    node.inbox.close()
    template = tmp_path / "template"
    shutil.copytree(service.data_dir, template, ignore=shutil.ignore_patterns("wake"))
    seen = set()
    arguments = ("restore", str(backup), "--calls", "--inbox", "--yes")
    with Crashes(service.root, service.environment) as crashes:
        for at in range(1, 100):
            shutil.rmtree(service.data_dir)
            shutil.copytree(template, service.data_dir)
            done = crashes.run(*arguments, at=at)
            calls, deliveries = tuple(sorted(told(service))), len(service.deliveries())
            seen.add((calls, deliveries))
            assert calls in {("1",), ("1", "2")}, (at, done.output)
            assert deliveries in {1, 2}
            again = Node(service.data_dir, service.database_url)
            again.forward()
            again.forwarder.close()
            for table in (CallEvents, CallLegs):
                assert len(service.rows(table)) <= len(calls) * 2
            assert set(calls) <= told(service).keys()
            if done.code != DIED:
                break
    assert at > 10, done.output
    assert seen >= {(("1", "2"), 2), (("1",), 1)}


def test_a_copy_of_many_pages_under_commits_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_rules, "PAGES", 2)
    node = Node(tmp_path / "node", f"sqlite:///{tmp_path}/calls.db")
    for number in range(10):
        node.deliver("in", **ring(str(number + 1), padding="x" * 9000))
    steps: list[int] = []

    def commit_meanwhile(left: int, all: int) -> None:
        node.inbox.remember(meanwhile=str(len(steps)))
        steps.append(left)
        assert len(steps) < 500, "it begins anew with each commit"

    backup_rules._copy(node.inbox.path, tmp_path / "copy.db", commit_meanwhile, rewrite=False)
    assert len(steps) > 5
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM deliveries").fetchone() == (10,)
