"""What recent calls show of extensions: proposed to a person, who sees enough to tell a lie from a move."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from peewee import Database

from calllog import database, employees
from calllog.employees import Employee, confirm_employee, employee, proposals, store_employees
from inbox import now
from inbox.judge import DAY
from models import Calls, Employees
from tests.rig.node import Node, end

AT = datetime(2026, 1, 31, 12)


@pytest.fixture
def db(database_url: str) -> Database:
    database.upgrade(database_url, lambda line: None)
    return database.open_database(database_url)


def talked(node: Node, call: str, days_ago: int, ext: str, number: str, **more: Any) -> None:
    fields = end(call, extension_phone_number=ext, employee_phone_number=number, **more)
    node.deliver("rec", now() - days_ago * DAY, **fields)


def test_a_flood_of_claims_hides_no_proposal_and_what_else_was_shown_is_named(
    db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    node = Node(tmp_path / "data", database_url)
    for day in range(3):
        talked(node, f"1{day}", 3 - day, "901", "79161230101")
    for number in range(5):
        talked(node, f"2{number}", 0, f"10{number}", "79990000000")
    talked(node, "30", 0, "901", "79990000000")
    node.forward()
    node.forwarder.close()
    with db.connection_context():
        first = proposals(db, limit=5)
        assert ("901", "79990000000", (("79161230101", 3),)) in [(one.ext, one.number, one.others) for one in first]
        Calls.update(disposition="void", employee_ext="", employee_number="").where(
            Calls.employee_number == "79990000000"
        ).execute(db)
        monkeypatch.setattr(employees, "SEARCHED", 3)
        assert [(one.ext, one.number, one.days, one.others) for one in proposals(db)] == [("901", "79161230101", 3, ())]


def test_who_confirms_a_number_leaves_the_name_that_1c_wrote(db: Database):
    with db.connection_context():
        store_employees(db, [Employee("101", "79161230101", "", "Анна")], AT)
        confirm_employee(db, "101", "79161230102", "5", AT)
        confirm_employee(db, "102", "79161230103", "", AT)
        assert employee(db, "101") == ("5", "79161230102")
        names = Employees.select(Employees.employee_name).order_by(Employees.employee_ext).tuples().execute(db)
        assert [name for (name,) in names] == ["Анна", ""]
