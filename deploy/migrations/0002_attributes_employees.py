"""What had no column: call_attributes, employee_name, redirected_from; employees, forgotten_list, schema_info.readable_by;
the index by the last digits of a number. The way back.

`employees`, while it is empty, takes over what the call log shows consistently of extensions: click to call went by the
log until now. Repeatable: whatever is already there stays. Columns are added at the end of their tables, which MariaDB
10.3, MySQL 8.0.12 and SQLite do without rewriting a row; the generated column of the index is written into each.
"""

import json
from typing import Any

import models
from calllog import database, employees

atomic = False  # DDL commits by itself on MySQL, so a crash may leave any of these steps done: each looks first

PAGE = 500  # rows in one transaction

# All that release 0.1.0 (commit 4fcf368, schema version 1) understands of an event's payload; it takes anything else for a
# fault of its own, and every later notification of that call for a dead letter.
FIELDS = frozenset(
    """
    v feed provider provider_call_id kind event_key received_at occurred_at account direction client_number line_number
    leg_key employee_number employee_ext employee_ids caller_raw called_raw client_name provider_contact_id scenario_name
    started_at answered_at ended_at wait_seconds talk_seconds total_seconds answered lost disposition reason reason_raw
    hangup_by recordings call_source external_id notification_name
    """.split()
)
RECORDING = frozenset("kind url_hash url provider_record_id seconds".split())
KINDS = frozenset(
    """
    ringing leg_ringing leg_ended note answered talking talk_ended hangup recording expired settled ended lost
    """.split()
)
REASONS = frozenset(
    """
    normal no_answer busy declined cancelled_by_caller unavailable invalid_number no_route forbidden no_funds blocked
    network answered_elsewhere unknown
    """.split()
) | {""}


def up(migrator: Any, db: Any) -> None:
    with db.bind_ctx(models.TABLES):
        for table in (models.CallAttributes, models.Employees, models.ForgottenList):
            database.create(db, table)
        for table in (models.Calls, models.CallLegs, models.FeedStatus, models.SchemaInfo):
            database.add_missing(db, table)
        database.index_last_digits(db)
        with database.transaction(db):
            employees.take_over(db)


def down(migrator: Any, db: Any) -> None:
    """To what release 0.1.0 writes. Its INSERTs name their columns, so the new ones stay, with their defaults, and so does
    `employees`, which 1C fills, the index, which the database keeps, and `forgotten_list`: that release goes by each
    node's own list. call_attributes is emptied: that release would forget a person and leave those rows."""
    if database.on_mysql(db):  # DDL waits for transactions that saw the schema version before it became 0
        db.execute_sql(f"ALTER TABLE schema_info COMMENT = '{models.SchemaInfo.__doc__}'")
    last = 0
    while rows := _events(db, last):
        last = rows[-1][0]
        with database.transaction(db):
            for id, payload in rows:
                old = understood_by_version_1(payload)
                if old != payload:
                    models.CallEvents.update(payload=old).where(models.CallEvents.id == id).execute(db)
    table = models.CallAttributes
    while ids := [id for (id,) in table.select(table.id).limit(PAGE).tuples().execute(db)]:
        table.delete().where(table.id.in_(ids)).execute(db)


def _events(db: Any, last: int) -> list[tuple[int, str]]:
    table = models.CallEvents
    query = table.select(table.id, table.payload).where(table.id > last).order_by(table.id).limit(PAGE)
    return list(query.tuples().execute(db))


def understood_by_version_1(payload: str) -> str:
    """The payload without what release 0.1.0 cannot read, the same text where there is no such thing."""
    fields = json.loads(payload)
    plain = {name: value for name, value in fields.items() if name in FIELDS} | {"v": 1}
    if "recordings" in plain:
        plain["recordings"] = [
            {name: value for name, value in recording.items() if name in RECORDING} for recording in plain["recordings"]
        ]
    if plain["kind"] not in KINDS:
        plain["kind"] = "note"
    if plain.get("reason", "") not in REASONS:
        plain["reason"] = "unknown"
    return payload if plain == fields else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
