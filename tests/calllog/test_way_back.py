"""The way back: upgrade, rollback and upgrade beside the real code of release 0.1.0, and what a newer release may leave.

tests/fixtures/releases/0.1.0.tar.xz is that release's code, so that no history of a clone is needed:
git archive 4fcf368 -- <its modules at the root> schemas cli handlers deploy/migrations | xz -9e
"""

import json
import subprocess
import sys
import tarfile
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import peewee
import pytest

import models
from calllog import batch, database
from config import Stop
from inbox import DEAD, RECEIVED, now
from models import CallAttributes, CallEvents, CallLegs, CallRecordings, Calls, Employees, SchemaInfo
from tests.rig import surroundings
from tests.rig.fixtures import FOLDER
from tests.rig.node import Node, end, ring, rows
from upkeep import rebuild

THIS_RELEASE = {"id": 1, "version": models.VERSION, "readable_by": models.READABLE_BY}
MORE = {
    "employee_phone_number": "79161112233",
    "employee_full_name": "Петрова Анна",
    "tags": [{"tag_name": "опт"}, {"tag_name": "Ёлка 🎄"}],
    "visitorCountry": "Россия",
}


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Release 0.1.0."""
    directory = tmp_path_factory.mktemp("release-0.1.0")
    with tarfile.open(FOLDER / "releases" / "0.1.0.tar.xz") as packed:
        packed.extractall(directory, filter="data")
    return directory


class Before:
    """Release 0.1.0 on a node's DATA_DIR and call log."""

    def __init__(self, code: Path, node: Node) -> None:
        self.code = code
        self.environment = {
            **surroundings.environment(),
            "DATA_DIR": str(node.settings.data_dir),
            "DATABASE_URL": node.settings.database_url,
            "UIS_KEY": "open",
        }

    def flask(self, *arguments: str, check: bool = True) -> str:
        """Its command line; all that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            cwd=self.code, env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def upgrade(url: str) -> list[str]:
    return database.upgrade(url, lambda line: None)


def downgrade(url: str, version: int = 1) -> list[str]:
    return database.downgrade(url, version, lambda line: None)


def story(call: str) -> list[tuple[str, dict[str, Any]]]:
    """(route, body) of a call's three notifications."""
    told = ring(call, **MORE)
    begun = {**told, "notification_time": "2024-03-01 10:00:10"}
    return [("in", ring(call)), ("in", begun), ("rec", {**end(call, **MORE), "wav_call_records": ["a" * 32]})]


def whole(url: str) -> dict[str, Any]:
    """Every call with its parts, but for ids and numbers."""
    found = {}
    for row in rows(url, Calls):
        parts = {
            table._meta.table_name: sorted(
                str({name: value for name, value in part.items() if name not in ("id", "call_id")})
                for part in rows(url, table)
                if part["call_id"] == row["id"]
            )
            for table in (CallLegs, CallRecordings, CallAttributes)
        }
        found[row["provider_call_id"]] = {**row, **parts, "id": 0, "change_no": 0, "updated_at": None}
    return found


def test_every_call_is_whole_after_an_upgrade_a_rollback_and_an_upgrade(
    database_url: str, tmp_path: Path, old_code: Path
) -> None:
    """Twenty calls, told of in three notifications each: under 0.1.0, this release, 0.1.0 and this one, in every way."""
    node = Node(tmp_path / "node", database_url)
    before = Before(old_code, node)
    began = now()  # not long ago, or the forwarder would end the calls of which not everything has come
    told: list[tuple[int, str, dict[str, Any]]] = []  # receipt, route, body

    def deliver(stage: int) -> int:
        """What comes in this stage; how many."""
        count = 0
        for number, stages in enumerate(combinations_with_replacement(range(4), 3), 1):
            for at, (route, body) in zip(stages, story(str(number)), strict=True):
                if at == stage:
                    told.append((began + len(told), route, body))
                    node.deliver(route, told[-1][0], **body)
                    count += 1
        return count

    before.flask("db", "upgrade")
    assert f"{deliver(0)} forwarded, 0 ignored, 0 dead" in before.flask("forward", "--once")
    with pytest.raises(batch.SchemaDiffers, match="pbx-connector db upgrade"):  # this release beside it, too early
        node.forward()

    assert upgrade(database_url) == ["0002_attributes_employees"]
    count = deliver(1)
    assert "schema version 2" in before.flask("forward", "--once", check=False)  # the old one beside it, too late
    assert len(node.inbox.deliveries(state=RECEIVED)) == count
    assert node.forward().forwarded == count
    assert rows(database_url, CallAttributes)

    assert downgrade(database_url) == ["0002_attributes_employees"]
    count = deliver(2)
    with pytest.raises(batch.SchemaDiffers, match="pbx-connector db upgrade"):
        node.forward()
    assert f"{count} forwarded, 0 ignored, 0 dead" in before.flask("forward", "--once")
    assert "schema version 1" in before.flask("check")

    assert upgrade(database_url) == ["0002_attributes_employees"]
    assert node.forward().dead == 0
    count = deliver(3)
    assert node.forward().forwarded == count
    db = database.open_database(database_url)
    with db.connection_context():
        list(rebuild.rebuild(db, node.inbox, node.settings, since=None, feed=None, dry_run=False))

    fresh = Node(tmp_path / "fresh", f"sqlite:///{tmp_path}/fresh/calls.db")
    upgrade(fresh.settings.database_url)
    for at, route, body in told:
        fresh.deliver(route, at, **body)
    assert fresh.forward().forwarded == len(told) == 60
    assert whole(database_url) == whole(fresh.settings.database_url)
    assert rows(database_url, SchemaInfo) == [THIS_RELEASE]
    assert node.inbox.deliveries(state=DEAD) == []


def test_the_release_before_reads_what_this_one_stored_after_the_way_back(
    database_url: str, tmp_path: Path, old_code: Path
) -> None:
    """Whatever this release or a better one of its schema writes into a payload."""
    node = Node(tmp_path / "node", database_url)
    upgrade(database_url)
    node.deliver(**ring("1", **MORE))
    node.forward()
    better(database_url)
    downgrade(database_url)
    node.deliver("rec", **end("1", **MORE))
    assert "1 forwarded, 0 ignored, 0 dead" in Before(old_code, node).flask("forward", "--once")
    assert [row["state"] for row in rows(database_url, Calls)] == ["ended"]


def test_a_way_back_that_died_at_any_statement_is_finished_by_the_next(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    node = Node(tmp_path / "node", database_url)
    upgrade(database_url)
    for call in "123":
        node.deliver(**ring(call, **MORE))
    node.forward()
    there = rows(database_url, Calls)
    real, left = peewee.Database.execute_sql, [0]

    def execute_sql(self: peewee.Database, sql: str, params: Any = None) -> Any:
        if left[0] == 0:
            raise Died(sql)
        left[0] -= 1
        return real(self, sql, params)

    versions = set()
    for statements in range(1, 200):
        left[0] = statements
        with monkeypatch.context() as patched:
            patched.setattr(peewee.Database, "execute_sql", execute_sql)
            try:
                downgrade(database_url)
            except Died:
                pass
            else:
                break
        (found,) = rows(database_url, SchemaInfo)
        versions.add(found["version"])
        if found["version"] == 0:  # nobody writes meanwhile
            node.deliver(**ring("4"))
            with pytest.raises(batch.SchemaDiffers, match="pbx-connector db upgrade"):
                node.forward()
    assert versions >= {2, 0}
    assert statements > 10
    assert rows(database_url, SchemaInfo) == [{"id": 1, "version": 1, "readable_by": 1}]
    assert rows(database_url, CallAttributes) == []
    assert not any("attributes" in row["payload"] for row in rows(database_url, CallEvents))
    assert rows(database_url, Calls) == there
    upgrade(database_url)
    assert node.forward().dead == 0


def test_a_way_back_that_was_broken_off_may_also_be_undone(database_url: str, tmp_path: Path) -> None:
    upgrade(database_url)
    db = database.open_database(database_url)
    with db.connection_context():
        SchemaInfo.update(version=0).execute(db)
    assert upgrade(database_url) == []
    assert rows(database_url, SchemaInfo) == [THIS_RELEASE]


def test_the_way_back_keeps_what_1c_wrote_and_the_columns_it_asks_for(database_url: str, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", database_url)
    upgrade(database_url)
    node.deliver("rec", **end("1", **MORE))
    node.forward()
    db = database.open_database(database_url)
    with db.connection_context():
        Employees.insert(id=1, employee_ext="101").execute(db)
    downgrade(database_url)
    assert downgrade(database_url) == []
    assert [row["employee_ext"] for row in rows(database_url, Employees)] == ["101"]
    assert [row["employee_name"] for row in rows(database_url, Calls)] == ["Петрова Анна"]


# ---------------------------------------------------------------------------------------------------- a newer call log


def better(url: str) -> None:
    """What a release after this one may have stored."""
    db = database.open_database(url)
    with db.connection_context():
        for id, payload in CallEvents.select(CallEvents.id, CallEvents.payload).tuples().execute(db):
            fields = json.loads(payload) | {"v": 9, "mood": "calm", "reason": "moonlight", "kind": "whistled"}
            fields["recordings"] = [{"kind": "full", "url_hash": "f" * 64, "url": "https://x.example/1", "stars": 5}]
            fields["recordings"].append({"kind": "video", "url_hash": "e" * 64, "url": "https://x.example/2"})
            CallEvents.update(payload=json.dumps(fields)).where(CallEvents.id == id).execute(db)


def newer(url: str, readable_by: int) -> None:
    """The call log as a release after this one leaves it."""
    db = database.open_database(url)
    with db.connection_context():
        db.execute_sql("ALTER TABLE calls ADD COLUMN mood VARCHAR(8) NOT NULL DEFAULT ''")
        db.execute_sql("CREATE TABLE moods (id BIGINT PRIMARY KEY)")
        SchemaInfo.update(version=models.VERSION + 1, readable_by=readable_by).execute(db)
    better(url)


def test_a_newer_call_log_that_allows_it_is_written(database_url: str, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", database_url)
    upgrade(database_url)
    node.deliver(**ring("1", **MORE))
    node.forward()
    newer(database_url, models.VERSION)
    node.deliver("rec", **end("1"))
    node.deliver("in", **ring("2"))
    assert node.forward().forwarded == 2
    calls = {row["provider_call_id"]: row for row in rows(database_url, Calls)}
    assert [(row["state"], row["recording_url"]) for row in calls.values()] == [
        ("ended", "https://x.example/1"), ("ringing", "")
    ]  # fmt: skip
    assert rows(database_url, CallAttributes)
    assert upgrade(database_url) == []
    assert rows(database_url, SchemaInfo) == [{**THIS_RELEASE, "version": models.VERSION + 1}]
    assert batch.remove(database.open_database(database_url), [("uis", "1")])["calls"] == 1


def test_a_newer_call_log_that_does_not_allow_it_is_left_alone(database_url: str, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", database_url)
    upgrade(database_url)
    newer(database_url, models.VERSION + 1)
    node.deliver(**ring("1"))
    with pytest.raises(batch.SchemaDiffers, match="newer release"):
        node.forward()
    with pytest.raises(Stop):
        upgrade(database_url)
    with pytest.raises(Stop, match="only its own release"):
        downgrade(database_url)
    assert rows(database_url, Calls) == []


@pytest.mark.parametrize(("version", "sentence"), [(0, "none of 0"), (models.VERSION + 1, "none of 3")])
def test_a_version_that_there_is_no_way_to_is_refused(version: int, sentence: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.db"
    with pytest.raises(Stop, match="pbx-connector db upgrade"):
        downgrade(url, version)
    upgrade(url)
    with pytest.raises(Stop, match=sentence):
        downgrade(url, version)
    assert rows(url, SchemaInfo) == [THIS_RELEASE]
