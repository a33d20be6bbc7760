"""One batch, killed before each of its writes in turn and after the last, or a write fails: nothing lost or doubled."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from calllog import database
from inbox import FORWARDED
from models import CallEvents, CallLegs, CallRecordings, Calls
from tests.rig.crash import AFTER, BEFORE, DIED, ERROR, Crashes, Done
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import Service


def content(url: str) -> list[Any]:
    """What 1C sees, but for our own clock and the numbers that a repeated batch may draw anew."""
    hidden = {"id", "call_id", "change_no", "updated_at", "node"}
    return [
        sorted(str({k: v for k, v in row.items() if k not in hidden}) for row in rows(url, table))
        for table in (Calls, CallLegs, CallRecordings, CallEvents)
    ]


def prepare(directory: Path, url: str) -> None:
    """An inbox with a batch that touches every table: new calls, a known one, a repeat, an ignored one, a refused one."""
    node = Node(directory, url)
    node.deliver("in", received_at=NOON, **ring("1"))
    node.forward()
    node.forwarder.close()
    at = iter(range(NOON + 1, NOON + 100))
    employee = {"employee_phone_number": "79990000001", "extension_phone_number": "101"}
    node.deliver("in", received_at=next(at), **ring("1", **employee))
    node.deliver("rec", received_at=next(at), **end("1", **employee, full_record_file_link="https://app.uiscom.ru/r/1"))
    node.deliver("rec", received_at=next(at), **end("2"))
    node.deliver("in", received_at=NOON - 5, **ring("1"))
    node.deliver("in", received_at=next(at), **ring("187020303"))
    node.deliver("in", received_at=next(at), direction="in")


NOON = 4_000_000_000_000  # far ahead: nothing expires meanwhile


@pytest.mark.long
@pytest.mark.timeout(900)  # a hundred points and more, on a machine that does other things too
@pytest.mark.parametrize("mode", [BEFORE, ERROR])
def test_a_batch_that_dies_at_any_write_is_whole_after_the_next_one(
    mode: str, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After a write is before the next one: all that is left of `after` is the last."""
    template = tmp_path / "template"
    database.upgrade(database_url, lambda line: None)
    prepare(template, database_url)
    if database_url.startswith("sqlite"):
        path = Path(database.parse_url(database_url)[0])
        shutil.copytree(path.parent, tmp_path / "backup")

        def put_back() -> None:
            shutil.rmtree(path.parent)
            shutil.copytree(tmp_path / "backup", path.parent)
    else:
        put_back = request.getfixturevalue("mariadb").keep("test_calls")

    service = Service(tmp_path / "node", database_url, UIS_KEY="open")

    def forwarded(crashes: Crashes, mode: str = BEFORE, at: int = 0) -> Done:
        shutil.rmtree(service.data_dir, ignore_errors=True)
        shutil.copytree(template, service.data_dir, ignore=shutil.ignore_patterns("wake"))
        put_back()
        return crashes.run("forward", "--once", mode=mode, at=at)

    with Crashes(service.root, service.environment) as crashes:
        undisturbed = forwarded(crashes)
        assert undisturbed.code == 0, undisturbed.output
        wanted = content(database_url)
        points = [(mode, at) for at in range(1, undisturbed.writes + 1)]
        assert len(points) > 10
        if mode == BEFORE:
            points.append((AFTER, undisturbed.writes))
        for how, at in points:
            done = forwarded(crashes, how, at)
            assert done.code == DIED if how != ERROR else done.writes >= at, (how, at, done)
            again = crashes.run("forward", "--once")
            assert "forwarded" in again.output, (how, at, again.output)
            assert content(database_url) == wanted, f"{how} write {at}: {done.output[-2000:]}"
            states = [stored.outcome.state for stored in service.deliveries()]
            assert states == [FORWARDED] * 5 + ["ignored", "dead"], (how, at)
            numbers = [row["change_no"] for row in rows(database_url, Calls)]
            assert sorted(set(numbers)) == sorted(numbers)
