"""What «Перезвонить» and «Статистика» cost beside a large call log: the first look at a month, and every look after it."""

import shutil
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from app import create_app
from bench.fill import MARIADB, SQLITE, fill
from bench.measures import POOL, Bench, timed
from bench.report import Line, table
from calllog import database
from calllog.database import on_mysql, open_database
from tests.rig.node import Node, ring

PASSWORD = "a-password-of-the-bench"
RECENT = 80 * 4320  # of the newest calls, 4,320 a day, some are missed, called back or outgoing
LOOKS = 15
MOST_MS = 300


def pages(bench: Bench) -> list[Line]:
    """Milliseconds of each page, in this process, one change of the newest day before each look."""
    lines: list[Line] = []
    for kind in ("SQLite", "MariaDB"):
        directory = bench.fresh("pages")
        directory.mkdir(parents=True)
        url = f"sqlite:///{directory}/calls.db" if kind == "SQLite" else bench.mariadb.create("bench_pages")
        try:
            database.upgrade(url, lambda _: None)
            if kind == "MariaDB":
                bench.mariadb.execute(f"SET GLOBAL innodb_buffer_pool_size = {POOL}")
            fill(url, bench.rows, lambda line: bench.say(f"pages: {line}"))
            enliven(url, bench.rows)
            lines += _looks(bench, kind, Node(directory / "data", url, operator_password=PASSWORD))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            if kind == "MariaDB":
                bench.mariadb.execute("DROP DATABASE IF EXISTS bench_pages")
    return lines


def enliven(url: str, rows: int) -> None:
    """Of the newest calls an eighth are missed, three quarters of those called back an hour later, an eighth outgoing
    and in vain; each incoming one has a leg."""
    db = open_database(url, create=True)
    words = MARIADB if on_mysql(db) else SQLITE
    there = words["phone"].replace("seq" if on_mysql(db) else "n *", "(id - 161)" + ("" if on_mysql(db) else " *"))
    recent = f"id > {max(0, rows - RECENT)}"
    mod = "MOD(id, {})" if on_mysql(db) else "id % {}"
    missed, back, vain = (f"{mod.format(8)} = {rest}" for rest in (0, 1, 2))
    nothing = "answered_at = NULL, is_answered = 0, talk_seconds = NULL"
    with db.connection_context():
        for sql in (
            f"UPDATE calls SET is_missed = 1, disposition = 'missed', {nothing} WHERE {recent} AND {missed}",
            f"UPDATE calls SET direction = 'out', client_number = {there} WHERE {recent} AND {back} "
            f"AND {mod.format(32)} <> 1",
            f"UPDATE calls SET direction = 'out', disposition = 'no_answer', {nothing} WHERE {recent} AND {vain}",
            "INSERT INTO call_legs (id, call_id, leg_key, employee_ext, started_at, answered_at, ended_at) "
            f"SELECT id, id, '105', '105', started_at, answered_at, ended_at FROM calls WHERE {recent} "
            "AND direction = 'in'",
        ):
            db.execute_sql(sql.replace("%", "%%") if on_mysql(db) else sql)
        if on_mysql(db):
            db.execute_sql("ANALYZE TABLE calls, call_legs")


def _looks(bench: Bench, kind: str, node: Node) -> list[Line]:
    client = create_app(node.settings).test_client()
    last = datetime.fromisoformat("2020-09-13 12:26:40") + timedelta(seconds=20 * bench.rows)
    lines, seen = [], []

    def look(path: str, days: int) -> float:
        query = {"since": f"{last - timedelta(days=days - 1):%Y-%m-%d}", "until": f"{last:%Y-%m-%d}"}

        def once() -> Any:
            answer = client.get(path, query_string=query, auth=("", PASSWORD))
            assert answer.status_code == 200
            return answer.text

        return timed(once)

    for path, days in (("/callbacks", 7), ("/statistics", 7), ("/statistics", 30), ("/callbacks", 30)):
        first = look(path, days)
        later = []
        for number in range(LOOKS):
            call = ring(f"{kind}{path}{days}-{number}", start_time=f"{last:%Y-%m-%d %H:%M:%S}")
            node.deliver("in", **call)
            node.forward()
            later.append(look(path, days))
        name = f"{kind}, {bench.rows:,} calls: {path}, {days} days"
        seen.append((name, f"{first:.0f}", f"{median(later):.0f}", f"{max(later):.0f}"))
        bench.say(f"pages: {name}: first {first:.0f} ms, then {median(later):.0f} ms")
        lines.append(Line(f"{name}, ms after the first", later, most=MOST_MS))
    bench.show(table(("page", "first ms", "median ms", "longest ms"), seen))
    return lines
