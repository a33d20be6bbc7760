"""The `employees` table: what an extension stands for, by the word of 1C or of a person, never of a notification.

Whoever has a feed's key can claim anything of an extension, and click to call dials what an extension stands for. So what
the call log shows is taken over once, by the upgrade that makes the table, where it is consistent; after that it is only
proposed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from peewee import SQL, Database, fn

from calllog.contacts import delete_rows, put_rows, rows_page
from calllog.database import on_mysql, transaction
from models import Calls, Employees
from schemas.event import VOID

DAYS, CONSISTENT_DAYS = 30, 3  # looked at, and on how many of them a number or id must have been shown
SEARCHED = 10_000  # calls that a proposal rests on: the newest
OTHERS = 3  # numbers and ids that are named beside the newest
COLUMNS = (Employees.employee_ext, Employees.employee_number, Employees.provider_employee_id, Employees.employee_name)


class Employee(NamedTuple):
    """One row of `employees` as 1C or a person writes it; the number is normalised."""

    employee_ext: str
    employee_number: str = ""
    provider_employee_id: str = ""
    employee_name: str = ""


def employee(db: Database, ext: str) -> tuple[str, str]:
    """(the provider's id, number) of an extension, "" for what is not known. Of several rows the newest wins."""
    found = (
        Employees.select(Employees.provider_employee_id, Employees.employee_number)
        .where(Employees.employee_ext == ext)
        .order_by(Employees.updated_at.desc(), Employees.id.desc())
        .limit(1)
        .tuples()
        .execute(db)
    )
    for id, number in found:
        return id.strip(), number.strip()
    return "", ""


def store_employees(db: Database, employees: Sequence[Employee], at: datetime) -> None:
    """Write exactly these rows for these extensions; `at` is wall clock in TIMEZONE. A row that is the same already is not
    written again."""
    with transaction(db):
        put_rows(db, Employees.employee_ext, [employee._asdict() for employee in employees], at)


def confirm_employee(db: Database, ext: str, number: str, id: str, at: datetime) -> None:
    """Write what the page showed of an extension, as `store_employees` does; its name stays as 1C wrote it."""
    with transaction(db):
        names = Employees.select(Employees.employee_name).where(Employees.employee_ext == ext)
        (name,) = next(
            iter(names.order_by(Employees.updated_at.desc(), Employees.id.desc()).tuples().execute(db)), ("",)
        )
        put_rows(db, Employees.employee_ext, [Employee(ext, number, id, name or "")._asdict()], at)


def employees_page(db: Database, exts: Sequence[str], after: int, limit: int) -> list[dict[str, Any]]:
    """Rows of `employees` by id, after that one; with extensions those of them."""
    return rows_page(db, Employees.employee_ext, exts, after, limit)


def delete_employees(db: Database, exts: Sequence[str]) -> int:
    """Delete the rows of these extensions. Returns how many."""
    return delete_rows(db, Employees.employee_ext, exts)


# ------------------------------------------------------------------------------------------- what the call log would say


class Proposal(NamedTuple):
    """What recent calls show of an extension, and what the table says of it (both "" where it has no row). `number`, `id`:
    the newest that was shown, on so many days; `others`: (what was shown too, on how many days), of most days first."""

    ext: str
    number: str
    id: str
    days: int
    others: tuple[tuple[str, int], ...]
    number_now: str = ""
    id_now: str = ""


def proposals(db: Database, limit: int = 50) -> list[Proposal]:
    """Extensions that the newest calls show otherwise than the table has them, at most `limit`. Those of which something
    was shown on most days come first: nobody hides one by claiming many within a day."""
    order = Calls.id if on_mysql(db) else SQL("rowid")  # rowid is in every index of SQLite, id is not (models.Key)
    there = Calls.select().where(Calls.disposition != VOID)  # not what was rejected
    newest = there.order_by(order.desc()).limit(SEARCHED).alias("newest")
    shown = _shown(db, newest, newest.c)
    known = {row[0].strip(): row[1:3] for row in Employees.select(*COLUMNS).tuples().execute(db)}
    found = []
    for one in shown:
        number, id = known.get(one.ext, ("", ""))
        if (one.number and one.number != number) or (one.id and one.id != id):
            found.append(one._replace(number_now=number, id_now=id))
    return sorted(found, key=lambda one: (-max(one.days, *(days for _, days in one.others), 0), one.ext))[:limit]


def take_over(db: Database) -> int:
    """Into an empty table: what the call log shows consistently, one number or id for an extension on at least three days,
    and no other, within the last 30 by the moments at which its notifications were received. In a transaction. Returns how
    many."""
    newest = Calls.select(fn.MAX(Calls.first_event_at)).scalar(db)
    if newest is None or Employees.select().exists(db):
        return 0
    at = newest if isinstance(newest, datetime) else datetime.fromisoformat(newest)
    chosen = Calls.select().where(Calls.first_event_at > at - timedelta(days=DAYS)).alias("recent")
    sure = [
        Employee(one.ext, one.number, one.id)
        for one in _shown(db, chosen, chosen.c)
        if not one.others and one.days >= CONSISTENT_DAYS
    ]
    for start in range(0, len(sure), 500):
        put_rows(db, Employees.employee_ext, [one._asdict() for one in sure[start : start + 500]], at)
    return len(sure)


def _shown(db: Database, calls: Any, c: Any) -> list[Proposal]:
    """What these calls show of each extension; a provider that dials by extension shows neither number nor id. An id that
    stands among several is nobody's."""
    day = fn.DATE(c.first_event_at)
    rows = (
        calls.select_from(c.employee_ext, c.employee_number, c.employee_ids, day, fn.MAX(c.change_no))
        .where(c.employee_ext != "", (c.employee_number != "") | (c.employee_ids != ""))
        .group_by(c.employee_ext, c.employee_number, c.employee_ids, day)
        .order_by(c.employee_ext)
        .tuples()
        .execute(db)
    )
    by_ext: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
    for ext, number, ids, on, change_no in rows:
        by_ext[ext].append((number, ids if ids.isascii() and ids.isdigit() else "", str(on), change_no))
    return [one for ext, told in by_ext.items() if (one := _proposal(ext, told))]


def _proposal(ext: str, told: Iterable[tuple[str, str, str, int]]) -> Proposal | None:
    numbers: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for number, id, on, _ in sorted(told, key=lambda row: row[3]):
        for value, days in ((number, numbers), (id, ids)):
            if value:
                there = days.pop(value, set())  # the newest stands last
                days[value] = there | {on}
    if not numbers and not ids:
        return None
    number, id = next(reversed(numbers), ""), next(reversed(ids), "")
    fewest = min(len(of[value]) for value, of in ((number, numbers), (id, ids)) if value)
    others = [(value, len(days)) for of in (numbers, ids) for value, days in of.items() if value not in (number, id)]
    return Proposal(ext, number, id, fewest, tuple(sorted(others, key=lambda other: -other[1])[:OTHERS]))
