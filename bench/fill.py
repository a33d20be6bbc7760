"""Fill a call log with so many calls of one event each, by bulk SQL: what a few years of notifications leave behind."""

from collections.abc import Callable

from peewee import Database, MySQLDatabase

import models
from calllog import database
from models import CallEvents, Calls

CHUNK = 200_000
SCATTERED = (("client_number",), ("employee_ext",), ("event_key",))  # these indexes are made after the fill: far faster

# Expressions that both databases understand; {n} is the row's number, {pick} a whole number from 0, scattered by n.
CALLS = {
    "id": "{n}",
    "change_no": "{n}",
    "provider": "'uis'",
    "provider_call_id": "{call}",
    "direction": "'in'",
    "state": "'ended'",
    "disposition": "'answered'",
    "is_answered": "1",
    "client_number": "{phone}",
    "line_number": "'74951234567'",
    "employee_number": "'79161234567'",
    "employee_ext": "{ext}",
    "employee_ids": "'482911'",
    "caller_raw": "{phone}",
    "called_raw": "'74951234567'",
    "client_name": "'Иванов Пётр'",
    "scenario_name": "'Основной сценарий'",
    "started_at": "{at}",
    "answered_at": "{at}",
    "ended_at": "{at}",
    "wait_seconds": "10",
    "talk_seconds": "50",
    "total_seconds": "60",
    "reason": "'normal'",
    "reason_raw": "'subscriber_disconnects'",
    "hangup_by": "'client'",
    "call_source": "'va'",
    "events_count": "1",
    "first_event_at": "{at}",
    "last_event_at": "{at}",
    "updated_at": "{at}",
}
PAYLOAD = (
    '{"v":1,"feed":"uis","provider":"uis","kind":"ended","received_at":1709276460000,"direction":"in",'
    '"client_number":"79201119613","line_number":"74951234567","leg_key":"79161234567","employee_number":"79161234567",'
    '"employee_ext":"102","employee_ids":"482911","started_at":1709276400000,"ended_at":1709276460000,"wait_seconds":10,'
    '"total_seconds":60,"answered":true,"reason":"normal","reason_raw":"subscriber_disconnects","scenario_name":'
    '"Основной сценарий","notification_name":"Завершение звонка","call_source":"va"}'
)
EVENTS = {
    "id": "{n}",
    "call_id": "{n}",
    "event_key": "{key}",
    "feed": "'uis'",
    "kind": "'ended'",
    "occurred_at": "{at}",
    "received_at": "{at}",
    "notification_name": "'Завершение звонка'",
    "node": "'bench'",
    "payload": f"'{PAYLOAD}'",
}
SQLITE = {
    "n": "n",
    "call": "CAST(1000000000 + n AS TEXT)",
    "phone": "'79' || substr(CAST(10000000000 + n * 7919317 % 1000000000 AS TEXT), 3)",
    "ext": "CAST(100 + n % 40 AS TEXT)",
    "at": "datetime(1600000000 + n * 20, 'unixepoch')",
    "key": "lower(hex(randomblob(32)))",
}
MARIADB = {
    "n": "seq",
    "call": "CAST(1000000000 + seq AS CHAR)",
    "phone": "CONCAT('79', SUBSTR(CAST(10000000000 + seq * 7919317 % 1000000000 AS CHAR), 3))",
    "ext": "CAST(100 + seq % 40 AS CHAR)",
    "at": "TIMESTAMPADD(SECOND, seq * 20, '2020-09-13 12:26:40')",
    "key": "SHA2(seq, 256)",
}


def fill(url: str, rows: int, say: Callable[[str], None]) -> None:
    """An upgraded, empty call log gets `rows` calls; the counter and every index are as if they had been forwarded."""
    db = database.open_database(url, create=True)
    mysql = isinstance(db, MySQLDatabase)
    words = MARIADB if mysql else SQLITE
    with db.connection_context():
        if mysql:
            db.execute_sql("SET SESSION unique_checks = 0")
        else:
            db.execute_sql("PRAGMA synchronous = OFF")
            db.execute_sql("PRAGMA cache_size = -262144")
        for table in (Calls, CallEvents):
            _drop_scattered(db, table, mysql)
        for first in range(1, rows + 1, CHUNK):
            last = min(rows, first + CHUNK - 1)
            for name, columns in (("calls", CALLS), ("call_events", EVENTS)):
                values = ", ".join(expression.format(**words) if _is_word(expression) else expression
                                   for expression in columns.values())  # fmt: skip
                numbers = f"seq_{first}_to_{last}" if mysql else "numbers"
                within = "" if mysql else _numbers(first, last)
                sql = f"INSERT INTO {name} ({', '.join(columns)}) {within} SELECT {values} FROM {numbers}"
                db.execute_sql(sql.replace("%", "%%") if mysql else sql)
            say(f"{'MariaDB' if mysql else 'SQLite'}: {last:,} of {rows:,} calls")
        say("making the indexes again")
        with db.bind_ctx(models.TABLES):
            for table in (Calls, CallEvents):
                database.create(db, table)
        param = db.param
        db.execute_sql(f"UPDATE change_counter SET change_no = {param}, last_id = {param} WHERE id = 1", (rows, rows))
        db.execute_sql("ANALYZE TABLE calls, call_events" if mysql else "PRAGMA wal_checkpoint(TRUNCATE)")


def _is_word(expression: str) -> bool:
    return expression.startswith("{")


def _numbers(first: int, last: int) -> str:
    return f"WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"


def _drop_scattered(db: Database, table: type[models.Table], mysql: bool) -> None:
    name = table._meta.table_name
    for index in db.get_indexes(name):
        if tuple(index.columns) in SCATTERED:
            db.execute_sql(f"DROP INDEX `{index.name}`" + (f" ON {name}" if mysql else ""))
