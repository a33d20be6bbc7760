"""Accounts: what 1C's and the connector's may and may not do, by deploy/mysql.sql and by the rights on SQLite's files."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pyodbc
import pytest

import models
from calllog import database
from models import Calls, Contacts, Employees
from tests.rig import needs, odbc
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import ROOT, Service, until

GRANTS = (ROOT / "deploy" / "mysql.sql").read_text(encoding="utf-8")
SAID = {
    "CHANGE_ME_CONNECTOR_HOST": "127.0.0.1",
    "CHANGE_ME_CONNECTOR_PASSWORD": "connectors-word",
    "CHANGE_ME_1C_HOST": "127.0.0.1",
    "CHANGE_ME_1C_PASSWORD": "word-of-1c",
}


@pytest.fixture(autouse=True, scope="module")
def _drivers() -> None:
    odbc.require()


# -------------------------------------------------------------------------------------------------- MySQL and MariaDB


@dataclass(frozen=True)
class Granted:
    """A server on which deploy/mysql.sql ran, and the URL of each account."""

    server: MariaDB
    connector: str
    one_c: str


def run(server: MariaDB, replaced: dict[str, str]) -> None:
    """deploy/mysql.sql as an administrator runs it."""
    text = GRANTS
    for placeholder, value in replaced.items():
        text = text.replace(placeholder, value)
    server.load("mysql", text)


def forget(server: MariaDB) -> None:
    """As if it had never run."""
    server.execute("DROP DATABASE IF EXISTS calls")
    for user, host in server.execute("SELECT User, Host FROM mysql.user WHERE User IN ('connector', 'c1')"):
        server.execute(f"DROP USER '{user}'@'{host}'")


@pytest.fixture(scope="module")
def granted(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Granted]:
    """The file run before there are tables, then `pbx-connector db upgrade` and a forwarder by the connector's account."""
    forget(mariadb)
    run(mariadb, SAID)
    url = f"mysql://{{}}:{{}}@127.0.0.1:{mariadb.port}/calls"
    found = Granted(
        mariadb,
        url.format("connector", SAID["CHANGE_ME_CONNECTOR_PASSWORD"]),
        url.format("c1", SAID["CHANGE_ME_1C_PASSWORD"]),
    )
    database.upgrade(found.connector, lambda line: None)
    node = Node(tmp_path_factory.mktemp("granted"), found.connector)
    node.deliver("in", **ring("1"))
    node.deliver("rec", **end("1"))
    assert node.forward().forwarded == 2
    node.forwarder.close()
    yield found
    forget(mariadb)


def test_the_file_may_be_run_again_and_has_no_other_placeholders(granted: Granted) -> None:
    before = granted.server.execute("SHOW GRANTS FOR 'c1'@'127.0.0.1'")
    run(granted.server, SAID)
    assert granted.server.execute("SHOW GRANTS FOR 'c1'@'127.0.0.1'") == before
    left = GRANTS
    for placeholder in SAID:
        left = left.replace(placeholder, "")
    statements = [line for line in left.splitlines() if not line.startswith("--")]
    assert "CHANGE_ME" not in "".join(statements)


def test_the_database_is_utf8mb4(granted: Granted) -> None:
    sql = "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = 'calls'"
    assert granted.server.execute(sql) == [("utf8mb4",)]


@pytest.mark.parametrize("table", models.TABLES, ids=lambda table: table._meta.table_name)
def test_1c_reads_every_table(table: type[models.Table], granted: Granted) -> None:
    with contextlib.closing(odbc.connect(granted.one_c)) as connection:
        read = odbc.rows(connection, f"SELECT * FROM {table._meta.table_name} ORDER BY id")
        assert read == rows(granted.connector, table)
        assert connection.cursor().primaryKeys(table=table._meta.table_name).fetchall()


def test_1c_writes_contacts(granted: Granted) -> None:
    with contextlib.closing(odbc.connect(granted.one_c)) as connection:
        connection.execute("INSERT INTO contacts (client_number, client_name) VALUES (?, ?)", "79201119613", "Ёж 🦔")
        connection.execute("UPDATE contacts SET responsible_ext = '101'")
        (row,) = rows(granted.connector, Contacts)
        assert (row["client_name"], row["responsible_ext"]) == ("Ёж 🦔", "101")
        connection.execute("DELETE FROM contacts")
        assert rows(granted.connector, Contacts) == []


def test_1c_writes_employees(granted: Granted) -> None:
    with contextlib.closing(odbc.connect(granted.one_c)) as connection:
        connection.execute("INSERT INTO employees (employee_ext, employee_name) VALUES (?, ?)", "101", "Ёжикова Анна")
        connection.execute("UPDATE employees SET provider_employee_id = '17'")
        (row,) = rows(granted.connector, Employees)
        assert (row["employee_ext"], row["employee_name"], row["provider_employee_id"]) == ("101", "Ёжикова Анна", "17")
        connection.execute("DELETE FROM employees")
        assert rows(granted.connector, Employees) == []


OTHERS = [table._meta.table_name for table in models.TABLES if table not in (Contacts, Employees)]
NOT_FOR_1C = [
    *(f"INSERT INTO {table} (id) VALUES (77)" for table in OTHERS),
    *(f"UPDATE {table} SET id = 77" for table in OTHERS),
    *(f"DELETE FROM {table}" for table in OTHERS),
    *(f"{what} TABLE {table}" for what in ("DROP", "TRUNCATE") for table in ("calls", "contacts")),
    "ALTER TABLE contacts ADD COLUMN note INT",
    "ALTER TABLE calls COMMENT ''",
    "CREATE INDEX mine ON calls (account)",
    "CREATE TABLE mine (id INT)",
    "CREATE TEMPORARY TABLE mine (id INT)",
    "CREATE VIEW mine AS SELECT id FROM calls",
    "CREATE TRIGGER mine BEFORE INSERT ON contacts FOR EACH ROW SET NEW.id = 1",
    "LOCK TABLES calls READ",
    "FLUSH TABLES WITH READ LOCK",
]
NOT_FOR_ANYBODY = [
    "SELECT * FROM mysql.user",
    "SELECT * FROM others.secrets",
    "CREATE DATABASE mine",
    "CREATE USER mine IDENTIFIED BY 'x'",
    "GRANT SELECT ON calls.* TO 'c1'@'127.0.0.1'",
    "SELECT * FROM calls INTO OUTFILE 'calls.txt'",
    "SELECT LOAD_FILE('/etc/hostname') FROM mysql.user",
    "SET GLOBAL read_only = 1",
    "SET PASSWORD FOR 'connector'@'127.0.0.1' = PASSWORD('x')",
]


@pytest.fixture(scope="module")
def others(granted: Granted) -> Iterator[None]:
    """Another application's database on the same server."""
    granted.server.execute("CREATE DATABASE others")
    granted.server.execute("CREATE TABLE others.secrets (id INT)")
    yield
    granted.server.execute("DROP DATABASE others")


@pytest.mark.parametrize("sql", [*NOT_FOR_1C, *NOT_FOR_ANYBODY])
@pytest.mark.usefixtures("others")
def test_1c_may_not(sql: str, granted: Granted) -> None:
    with contextlib.closing(odbc.connect(granted.one_c)) as connection, pytest.raises(pyodbc.Error, match="denied"):
        connection.execute(sql)


@pytest.mark.parametrize("sql", NOT_FOR_ANYBODY)
@pytest.mark.usefixtures("others")
def test_the_connector_may_not(sql: str, granted: Granted) -> None:
    _, said = database.parse_url(granted.connector)
    with contextlib.closing(pymysql.connect(**said, database="calls")) as db, db.cursor() as cursor:
        with pytest.raises(pymysql.MySQLError, match="denied") as refused:
            cursor.execute(sql.replace("'connector'", "'c1'"))
        assert refused.value.args[0] in (1044, 1045, 1142, 1227)


def test_a_lock_that_1c_takes_on_rows_only_delays_the_connector(granted: Granted, tmp_path: Path) -> None:
    """MariaDB lets whoever may SELECT say SELECT … FOR UPDATE; the contract's reader never does."""
    node = Node(tmp_path / "node", granted.connector)
    node.deliver("in", **ring("1", scenario_name="после"))
    waits = (
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'connector' "
        "AND info LIKE 'INSERT INTO calls%' AND time_ms > 300"
    )
    with contextlib.closing(odbc.connect(granted.one_c, autocommit=False)) as connection:
        connection.execute("SELECT id FROM calls WHERE provider_call_id = '1' FOR UPDATE").fetchall()
        with ThreadPoolExecutor(1) as pool:
            forwarded = pool.submit(node.forward)
            until(lambda: granted.server.execute(waits) != [(0,)], "the connector waits")
            connection.rollback()
            assert forwarded.result(30).forwarded == 1
            pool.submit(node.forwarder.close)
    assert rows(granted.connector, Calls)[0]["events_count"] == 3


def test_placeholders_left_as_they_are_let_nobody_in(mariadb: MariaDB, granted: Granted) -> None:
    run(mariadb, {})
    try:
        hosts = {host for (host,) in mariadb.execute("SELECT Host FROM mysql.user WHERE User IN ('connector', 'c1')")}
        assert hosts == {"127.0.0.1", "change_me_connector_host", "change_me_1c_host"}
        url = granted.one_c.replace(SAID["CHANGE_ME_1C_PASSWORD"], "CHANGE_ME_1C_PASSWORD")
        with pytest.raises(pyodbc.Error, match="Access denied"):
            odbc.connect(url)
    finally:
        mariadb.execute("DROP USER 'connector'@'CHANGE_ME_CONNECTOR_HOST', 'c1'@'CHANGE_ME_1C_HOST'")


# --------------------------------------------------------------------------------------------------------------- SQLite

SERVICE, READER = "daemon", "nobody"  # accounts that every system has
GROUP = 54321  # the group that the two share: a number does, it needs no name


@dataclass
class Account:
    """A second system account that reads a file by ODBC: `isql` is not in a virtual environment that it may not see."""

    name: str
    groups: tuple[int, ...] = (GROUP,)

    def start(self, path: Path) -> "subprocess.Popen[str]":
        who = pwd.getpwnam(self.name)
        isql = shutil.which("isql") or "isql"
        connection = f"Driver={{{odbc.driver('sqlite')}}};NoCreat=1;Timeout=2000;Database={path}"
        return subprocess.Popen(
            [isql, connection, "-k", "-v", "-b", "-d,"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
            user=who.pw_uid, group=who.pw_gid, extra_groups=self.groups,
            env={"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"},  # without HOME it crashes
        )  # fmt: skip

    def asks(self, path: Path, sql: str) -> str:
        """What isql answers: rows, or the driver's error."""
        out, _ = self.start(path).communicate(f"{sql}\n", timeout=30)
        return out.strip()


@pytest.fixture
def accounts() -> Iterator[Path]:
    """A directory that every account may enter."""
    needs.root("being two other accounts")
    needs.program("isql", "unixodbc")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def give(service: Service, directory_mode: int, file_mode: int) -> Path:
    """The files belong to the service's account, the call log's to the shared group too; the call log's file."""
    owner = pwd.getpwnam(SERVICE)
    call_log = service.data_dir / "calllog"
    for path in [service.data_dir, *service.data_dir.rglob("*")]:
        os.chown(path, owner.pw_uid, GROUP if path.is_relative_to(call_log) else owner.pw_gid)
    for path in call_log.iterdir():
        path.chmod(file_mode)
    call_log.chmod(directory_mode)
    service.data_dir.chmod(0o711)
    service.directory.chmod(0o755)
    return call_log / "calls.db"


COUNT = "SELECT COUNT(*) FROM calls"
TOUCH = "UPDATE schema_info SET version = version"
INBOX = "SELECT COUNT(*) FROM deliveries"


def post(service: Service, call: str) -> dict[str, Any]:
    assert service.post("/hs/UIScom/in", f'{{"call_session_id": "{call}", "direction": "in"}}').status_code == 200
    return service.call(call)


def test_with_the_shared_groups_write_rights_a_second_account_reads_whether_the_service_runs_or_not(
    accounts: Path,
) -> None:
    reader, service_account = Account(READER), Account(SERVICE)
    with Service(accounts / "service") as service:
        service.flask("db", "upgrade")
        path = give(service, 0o2770, 0o660)
        assert reader.asks(path, COUNT) == "0"
        service.start(upgrade=False)
        post(service, "1")
        assert reader.asks(path, COUNT) == "1"
        assert {other.stat().st_gid for other in path.parent.iterdir()} == {GROUP}
        service.stop()
        service.flask("db", "status")  # the last to close takes -wal and -shm away
        assert not path.with_name("calls.db-shm").exists()
        assert reader.asks(path, COUNT) == "1"
        # a reader that came first made -wal and -shm, and still has the file open: the service goes on all the same
        holder = reader.start(path)
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(f"{COUNT}\n")
        holder.stdin.flush()
        assert holder.stdout.readline().strip() == "1"
        shared = path.with_name("calls.db-shm").stat()
        assert (shared.st_uid, shared.st_gid) == (pwd.getpwnam(READER).pw_uid, GROUP)
        assert service_account.asks(path, TOUCH) == ""
        service.start(upgrade=False)
        post(service, "2")
        holder.communicate("", timeout=30)
        assert reader.asks(path, COUNT) == "2"


def test_with_read_rights_only_a_second_account_reads_while_the_service_runs_and_not_while_it_is_stopped(
    accounts: Path,
) -> None:
    reader = Account(READER)
    with Service(accounts / "service") as service:
        service.flask("db", "upgrade")
        path = give(service, 0o2750, 0o640)
        assert "readonly database" in reader.asks(path, COUNT)
        service.start(upgrade=False)
        post(service, "1")
        assert reader.asks(path, COUNT) == "1"
        assert "readonly database" in reader.asks(path, TOUCH)
        service.stop()
        service.flask("db", "status")
        assert "readonly database" in reader.asks(path, COUNT)


def test_a_writable_directory_with_read_only_files_is_the_trap_the_readers_files_lock_the_service_out(
    accounts: Path,
) -> None:
    """What docs say not to do: the reader makes -wal and -shm that the service's account may not write."""
    with Service(accounts / "service") as service:
        service.flask("db", "upgrade")
        path = give(service, 0o2770, 0o640)
        assert Account(SERVICE).asks(path, TOUCH) == ""
        assert Account(READER).asks(path, COUNT) == "0"
        until(path.with_name("calls.db-shm").exists, "the reader left -shm behind")
        assert "readonly database" in Account(SERVICE).asks(path, TOUCH)


def test_the_inbox_and_the_call_log_are_out_of_a_strangers_reach(accounts: Path) -> None:
    with Service(accounts / "service") as service:
        service.flask("db", "upgrade")
        path = give(service, 0o2770, 0o660)
        inbox = service.data_dir / "inbox" / "inbox.db"
        service.start(upgrade=False)
        post(service, "1")
        assert Account(SERVICE).asks(path, COUNT) == "1"
        for running in (True, False):
            if not running:
                service.stop()
            assert "connect failed" in Account(READER).asks(inbox, INBOX)
            assert "connect failed" in Account(READER, groups=()).asks(path, COUNT)
        assert (service.data_dir / "inbox").stat().st_mode & 0o777 == 0o700
