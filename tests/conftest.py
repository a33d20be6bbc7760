"""What every test may ask for: the two databases, a running service on each, and the command line beside it."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import mariadb as mariadb_rig
from tests.rig import needs
from tests.rig.mariadb import MariaDB
from tests.rig.service import Service, running
from tests.rig.surroundings import isolate

isolate()
DATABASES = ("sqlite", "mysql")

# every Inbox of a test leaves its writer's thread and files to the end of the run: more than the usual 1,024
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft != resource.RLIM_INFINITY and _soft < 8192:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if _hard == resource.RLIM_INFINITY else min(8192, _hard), _hard))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: of several workers none is left alone with one in the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A real MariaDB for the whole run. Tests that stop, pause or kill one start their own."""
    needs.present(mariadb_rig.missing())
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty call log of its own for this test, on SQLite and on MariaDB."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/calllog/calls.db"
    server: MariaDB = request.getfixturevalue("mariadb")
    url: str = server.create("test_calls")
    return url


@pytest.fixture(scope="session", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service (two workers) a database for the whole run: tests that share it use call ids of their own."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("mariadb").create("shared_calls")
    yield from running(tmp_path_factory.mktemp(f"service-{request.param}"), url)


@pytest.fixture(scope="session")
def sqlite_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on SQLite for tests to which the database does not matter."""
    yield from running(tmp_path_factory.mktemp("service-any"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    needs.root("a full disk, a small tmpfs,")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
