"""Forgetting whole, at a small size: see tests/forgetting.py."""

from pathlib import Path

import pytest

from tests import forgetting
from tests.rig.mariadb import MariaDB


def test_nothing_is_left_of_the_forgotten_and_all_of_the_others(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = f"sqlite:///{tmp_path}/copy/calls.db"
    if not database_url.startswith("sqlite"):
        server: MariaDB = request.getfixturevalue("mariadb")
        copy = server.create("test_forgetting_copy")
    account = forgetting.run(tmp_path, database_url, copy, calls=60, people=12, forgotten=3)
    assert (account.changed, account.came_back, account.traces) == ([], [], [])
    assert account.counts["calls"] == 60
