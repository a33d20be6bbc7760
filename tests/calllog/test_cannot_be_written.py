"""A call log that cannot be written: `check`, readyz and the log say why in a sentence, and nothing becomes a dead
letter, however often it is tried."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from calllog import batch, database, statements
from calllog.rehearsal import WRITTEN
from inbox import DEAD, RECEIVED
from models import Calls
from tests.rig.mariadb import MariaDB
from tests.rig.mysql_stand_in import MysqlStandIn
from tests.rig.node import Node, end, ring
from tests.rig.service import Service, until


def away(service: Service, sentence: str) -> None:
    """readyz and `pbx-connector check` say so, and it is no fault of ours."""

    def message() -> Any:
        state = service.get("/readyz").json()["call_log"]
        return state["message"] if state["state"] == "away" else ""

    until(lambda: sentence in message(), f"readyz says {sentence!r}\n{service.log()[-3000:]}")
    checked = service.flask("check", check=False)
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("call log:")]
    assert (checked.returncode, sentence in line) == (1, True), checked.stdout
    assert "our own fault" not in service.log()
    assert service.deliveries(state=DEAD) == []


@pytest.fixture(scope="module")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server with a binary log, whose settings may be changed."""
    with MariaDB(tmp_path_factory.mktemp("own-mariadb"), None, "--log-bin=binlog", "--server-id=1") as server:
        yield server


REFUSED = {
    "read-only": ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0", "point DATABASE_URL at a server that can"),
    "no grant": (
        "REVOKE INSERT ON `refused`.* FROM calls@'127.0.0.1'",
        "GRANT INSERT ON `refused`.* TO calls@'127.0.0.1'",
        "INSERT command denied to user 'calls'",
    ),
    "binlog by statement": (
        "SET GLOBAL binlog_format = 'STATEMENT'",
        "SET GLOBAL binlog_format = 'MIXED'",
        "SET GLOBAL binlog_format = 'ROW'",
    ),
    "no table": ("RENAME TABLE refused.call_legs TO refused.hidden", "RENAME TABLE refused.hidden TO refused.call_legs",
                 "call_legs' doesn't exist"),
    "a column of others": ("ALTER TABLE refused.call_events ADD COLUMN one_c INT NOT NULL",
                           "ALTER TABLE refused.call_events DROP COLUMN one_c", "the column is not ours"),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSED)
def test_what_the_server_refuses_is_named_with_its_remedy_and_goes_on_by_itself(
    how: str, own_mariadb: MariaDB, tmp_path: Path
) -> None:
    refuse, allow, sentence = REFUSED[how]
    with Service(tmp_path / "service", own_mariadb.create("refused")) as service:
        service.flask("db", "upgrade")
        checked = service.flask("check", check=False)
        assert "a call can be written" in checked.stdout
        own_mariadb.execute(refuse)
        try:
            service.start(upgrade=False)
            service.post("/hs/UIScom/in", json.dumps(ring("1")))
            away(service, sentence)
        finally:
            own_mariadb.execute(allow)
        assert service.call("1", seconds=60)["state"] == "ringing"
        assert {row["provider"] for row in service.rows(Calls)} == {"uis"}


def test_a_unique_index_of_others_is_named_and_nothing_is_lost_or_overwritten(
    database_url: str, tmp_path: Path
) -> None:
    """ON DUPLICATE KEY UPDATE takes its conflict for "the call is there": two calls would become one."""
    with Service(tmp_path / "service", database_url) as service:
        service.start()
        service.post("/hs/UIScom/in", json.dumps(ring("1")))
        service.call("1")
        db = database.open_database(database_url)
        with db.connection_context():
            db.execute_sql("CREATE UNIQUE INDEX by_client ON calls (client_number)")
            service.post("/hs/UIScom/in", json.dumps(ring("2")))
            service.post("/hs/UIScom/in", json.dumps(ring("3")))
            away(service, "drop it: by_client ON calls (client_number)")
            db.execute_sql("DROP INDEX by_client" + (" ON calls" if database.on_mysql(db) else ""))
        for call in ("1", "2", "3"):
            assert service.call(call, seconds=60)["state"] == "ringing"


def test_what_is_tried_on_the_call_log_leaves_nothing_in_it(database_url: str, tmp_path: Path) -> None:
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url)
    node.deliver("in", **ring("1"))
    node.forward()
    before = [node.rows(table) for table in WRITTEN]
    node.forwarder.close()
    node.forward()
    assert [node.rows(table) for table in WRITTEN] == before
    node.deliver("rec", **end("2"))
    node.forward()
    assert [row["change_no"] for row in node.rows()] == [1, 2]
    node.forwarder.close()


@pytest.mark.parametrize("trouble", ["there is none", "another schema", "a conflict in every row", "read-only"])
def test_a_night_without_a_call_log_makes_no_dead_letter(trouble: str, database_url: str, tmp_path: Path) -> None:
    if trouble == "read-only" and not database_url.startswith("sqlite"):
        pytest.skip("of a server: test_what_the_server_refuses…")
    node = Node(tmp_path / "node", database_url)
    db = None
    if trouble != "there is none":
        database.upgrade(database_url, lambda line: None)
        db = database.open_database(database_url)
        db.connect()
    mysql = not database_url.startswith("sqlite")
    if db and trouble == "another schema":
        db.execute_sql("UPDATE schema_info SET version = version + 1, readable_by = version + 1")
    elif db and trouble == "read-only":
        db.execute_sql("CREATE TRIGGER closed BEFORE INSERT ON call_events BEGIN SELECT RAISE(ABORT, 'closed'); END")
    elif db and mysql:
        db.execute_sql(
            "CREATE TRIGGER closed BEFORE INSERT ON call_events FOR EACH ROW "
            "SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT = 'closed', MYSQL_ERRNO = 1062"
        )
    elif db and trouble == "a conflict in every row":
        db.execute_sql("CREATE UNIQUE INDEX closed ON call_events (notification_name)")
    for call in range(1, 11):
        node.deliver("in", **ring(str(call)))
        node.deliver("rec", **end(str(call)))
    for _ in range(40):
        with pytest.raises((peewee.PeeweeException, batch.SchemaDiffers)):
            node.forwarder.step()
        node.forwarder.close()
    assert {stored.outcome.state for stored in node.inbox.deliveries()} == {RECEIVED}
    if db:
        db.close()


# -------------------------------------------------------------------------------------------------- the driver's errors


@pytest.fixture
def sha2() -> Iterator[MysqlStandIn]:
    with contextlib.closing(MysqlStandIn("caching_sha2_password")) as server:
        yield server


def test_a_login_that_the_driver_cannot_do_is_a_call_log_that_is_away(sha2: MysqlStandIn, tmp_path: Path) -> None:
    """MySQL 8's default login without TLS: pymysql raises RuntimeError, which peewee does not know."""
    with Service(tmp_path / "service", sha2.url) as service:
        service.start(upgrade=False)
        assert service.post("/hs/UIScom/in", json.dumps(ring("1"))).json() == {"status": "accepted"}
        away(service, "the account logs in with caching_sha2_password, which needs TLS: add ?ssl_ca=")
        assert "Traceback" not in service.log()
        failed = service.flask("calls", "list", check=False)
        assert (failed.returncode, "needs TLS" in failed.stderr, "Traceback" in failed.stderr) == (1, True, False)
        assert service.get("/metrics").text.count('connector_forward_errors_total{reason="our_fault"} 0.0') == 1


@pytest.mark.parametrize(
    "error",
    [
        (1105, "Percona-XtraDB-Cluster prohibits use of GET_LOCK with pxc_strict_mode = ENFORCING"),
        (1235, "This version of MySQL doesn't yet support 'GET_LOCK in cluster (WSREP replication)'"),
    ],
)
def test_a_cluster_that_refuses_get_lock_is_told_with_its_remedy(error: tuple[int, str], tmp_path: Path) -> None:
    answer = lambda statement: error if "GET_LOCK" in statement else None  # noqa: E731
    with contextlib.closing(MysqlStandIn(answer=answer)) as server:
        failed = Service(tmp_path / "service", server.url).flask("db", "upgrade", check=False)
    assert (failed.returncode, "Traceback" in failed.stderr) == (1, False), failed.stderr
    assert "pxc_strict_mode = PERMISSIVE" in failed.stderr


def test_a_server_that_speaks_no_mysql_is_a_call_log_that_is_away(tmp_path: Path) -> None:
    url = "mysql://calls:word@127.0.0.1:{}/calls"
    with contextlib.closing(MysqlStandIn(answer=lambda statement: (65_000, "?"))) as server:
        node = Node(tmp_path / "node", url.format(server.port))
        node.deliver("in", **ring("1"))
        with pytest.raises(peewee.PeeweeException):
            node.forwarder.step()
    assert statements.Indigestible not in peewee.PeeweeException.__mro__
