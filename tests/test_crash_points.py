"""Each act that says "done", killed before each of its writes in turn and after the last, or a write fails: what it leaves
is right, and the same act again makes it whole.

Who dies between two writes that last leaves what who dies at the second one leaves: those are the points for a kill.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox import Inbox
from tests.rig.acts import ACTS, BACKUP, BATCH, ORDER, Walk, an_order, copies_are_whole
from tests.rig.mariadb import MariaDB
from tests.rig.provider import Provider, provider


@pytest.mark.long
@pytest.mark.timeout(900)  # a hundred points and more, on a machine that does other things too
def test_a_batch_that_dies_at_any_write_is_whole_after_the_next_one(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    on_sqlite = database_url.startswith("sqlite")
    walk = Walk(BATCH, tmp_path, "" if on_sqlite else database_url)
    walk.prepare()
    if not on_sqlite:
        walk.put_back = request.getfixturevalue("mariadb").keep("test_calls")
    with walk.crashes() as crashes:
        assert walk.whole(crashes, every_failure=True) > 50


@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_dies_at_any_write_is_whole_after_the_next_one(act: str, tmp_path: Path) -> None:
    walk = Walk(ACTS[act], tmp_path)
    walk.prepare()
    with walk.crashes() as crashes:
        assert walk.whole(crashes) >= 3


@pytest.mark.parametrize("act", ["reject", "forget"])
def test_an_act_on_mysql_that_dies_at_any_write_is_whole_after_the_next_one(
    act: str, mariadb: MariaDB, tmp_path: Path
) -> None:
    walk = Walk(ACTS[act], tmp_path, mariadb.create("test_calls"))
    walk.prepare()
    walk.put_back = mariadb.keep("test_calls")
    with walk.crashes() as crashes:
        assert walk.whole(crashes) >= 3


def test_a_backup_that_dies_at_any_write_leaves_only_whole_ones(tmp_path: Path) -> None:
    """None is made anew after it: within the second it would bear the same name."""
    walk = Walk(BACKUP, tmp_path)
    walk.prepare()
    with walk.crashes() as crashes:
        done = walk.run(crashes)
        assert done.code == 0, done.output
        assert len(list((walk.site.directory / "copies").iterdir())) == 1
        for how, at in walk.points(done, every_failure=False):
            walk.run(crashes, how, at)
            copies_are_whole(walk.site)


# --------------------------------------------------------------------------------------------------------- click to call


@pytest.fixture
def phones() -> Iterator[Provider]:
    with provider() as there:
        yield there


def test_no_order_is_dialled_twice_wherever_the_first_try_died(phones: Provider, tmp_path: Path) -> None:
    walk = Walk(an_order(phones.url), tmp_path)
    walk.prepare()
    with walk.crashes() as crashes:
        done = walk.run(crashes)
        assert (done.code, len(phones.asked)) == (0, 1), done.output
        for how, at in walk.points(done, every_failure=False):
            phones.asked.clear()
            walk.run(crashes, how, at)
            dialled = len(phones.asked)
            walk.again(crashes)
            assert len(phones.asked) <= 1, (how, at)
            claimed = Inbox(walk.service.data_dir / "inbox").placement(ORDER)
            assert claimed or not dialled, (how, at)
