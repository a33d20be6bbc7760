"""Search: a call is found by whatever a person remembers of it, on both databases, and no look that is cut short says that
there is none."""

from datetime import UTC, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any

import pytest

import models
from calllog import database, search
from calllog.asking import Desk
from calllog.employees import Employee, store_employees
from calllog.search import MISSED, OPEN, Page, Wanted
from models import Calls
from tests.rig.node import Node, end, ring

KNOWN = datetime(2024, 3, 31, 0, 0)
ALL = [f"{number:04}" for number in range(30, 0, -1)]


@pytest.fixture(scope="module", params=["sqlite", "mysql"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Calls 0001 to 0030, one a day of March at 10:00, from 79201110001 and on; the seventh, the eighth and the ninth are
    not like the others (the eighth began at 23:30)."""
    directory = tmp_path_factory.mktemp("search")
    url = f"sqlite:///{directory}/calls.db"
    if request.param == "mysql":
        url = request.getfixturevalue("mariadb").create("searched")
    database.upgrade(url, lambda line: None)
    node = Node(directory, url)
    for number in range(1, 31):
        told = ring(f"{number:04}", start_time=f"2024-03-{number:02} {'23:30' if number == 8 else '10:00'}:00")
        node.deliver(**{**told, "calling_phone_number": f"7920111{number:04}"})
    talked = end("0007", extension_phone_number="102", contact_full_name="Ёлкина Анна", call_source="va",
                 scenario_name="Основной", employee_full_name="Петров Пётр", talk_time_duration=50,
                 full_record_file_link="https://media6.uiscom.ru/a/b")  # fmt: skip
    lost = {**end("0008", calling_phone_number="84951234567"), "is_lost": True, "lost_reason": "не дождался"}
    lost |= {
        "finish_reason": "no_success_subscriber_call",
        "start_time": "2024-03-08 23:30:00",
        "utm_campaign": "Весна",
    }
    node.deliver("rec", **{**talked, "start_time": "2024-03-07 10:00:00", "calling_phone_number": "79201110007"})
    node.deliver("rec", **{**lost, "virtual_phone_number": "78005553535"})
    node.deliver("in", **ring("0009", start_time="2024-03-09 10:00:00", employee_phone_number="79995550101"))
    node.forward()
    node.forwarder.close()
    db = database.open_database(url)
    with db.connection_context():
        store_employees(db, [Employee("301", "+7 999 555-01-01", "", "Смирнова Ольга")], KNOWN)
        row = {"id": 1, "client_number": "8 (920) 111-00-11", "client_name": "ООО «Ромашка»", "updated_at": KNOWN}
        models.Contacts.insert(**row).execute(db)
    return node


def ask(node: Node, limit: int = 50, **wanted: Any) -> Page:
    return Desk(node.settings.database_url).ask(search.search, Wanted(**wanted), limit)


def found(node: Node, limit: int = 50, **wanted: Any) -> list[str]:
    """Ids of the calls that are found, from all pages."""
    asked, wanted_now, ids = Desk(node.settings.database_url), Wanted(**wanted), []
    for _ in range(100):
        page = asked.ask(search.search, wanted_now, limit)
        ids += [row["provider_call_id"] for row in page.calls]
        if page.on is None:
            return ids
        wanted_now = wanted_now._replace(before=page.on)
    raise AssertionError("pages without end")


# What a person remembers -> the calls that are found by it.
REMEMBERED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the number in any spelling": ({"sought": "8 (920) 111-00-05"}, ["0005"]),
    "the number without its country": ({"sought": "9201110005"}, ["0005"]),
    "four last digits": ({"sought": "0005"}, ["0005"]),
    "five last digits": ({"sought": "10005"}, ["0005"]),
    "three last digits": ({"sought": "…007"}, ["0007"]),
    "last digits with a dash": ({"sought": "00-05"}, ["0005"]),
    "the beginning": ({"sought": "8495*"}, ["0008"]),
    "the beginning with its plus": ({"sought": "+7495"}, ["0008"]),
    "the beginning without its country": ({"sought": "920111001"}, ALL[11:21]),
    "the end alone": ({"sought": "*920111"}, []),
    "the provider's id": ({"sought": "0012"}, ["0012"]),
    "a name at the provider": ({"sought": "ёлкин"}, ["0007"]),
    "a name without its dots": ({"sought": "ЕЛКИНА АН"}, ["0007"]),
    "a name in contacts": ({"sought": "ромашка"}, ["0011"]),
    "signs of a pattern": ({"sought": "[а-я]*?%_"}, []),
    "the extension": ({"employee": "102"}, ["0007"]),
    "the employee's name": ({"employee": "петров"}, ["0007"]),
    "the extension of whom the provider calls by number": ({"employee": "301"}, ["0009"]),
    "the name of whom the provider calls by number": ({"employee": "смирнова"}, ["0009"]),
    "the employee's number": ({"employee": "8 999 555 01 01"}, ["0009"]),
    "somebody else's extension": ({"employee": "999"}, []),
    "two things that do not go together": ({"sought": "0005", "employee": "102"}, []),
    "two things that do": ({"sought": "0007", "employee": "102"}, ["0007"]),
    "the line": ({"line": "8 800 555-35-35"}, ["0008"]),
    "the line's end": ({"line": "3535"}, ["0008"]),
    "missed": ({"result": MISSED}, ["0008"]),
    "answered": ({"result": "answered"}, ["0007"]),
    "not ended": ({"result": OPEN, "since": datetime(2024, 3, 6), "until": datetime(2024, 3, 9, 12)}, ["0009", "0006"]),
    "the source": ({"source": "VA"}, ["0007"]),
    "the scenario": ({"source": "основн"}, ["0007"]),
    "the campaign": ({"source": "весна"}, ["0008"]),
    "a recording": ({"recorded": True}, ["0007"]),
    "at night": ({"clock_from": clock(23), "clock_to": clock(6)}, ["0008"]),
    "in the evening": ({"clock_from": clock(23, 30), "clock_to": clock(23, 59)}, ["0008"]),
    "a long talk": ({"talk_from": 50}, ["0007"]),
    "no longer": ({"talk_from": 51}, []),
    "a short one": ({"talk_to": 50, "result": "answered"}, ["0007"]),
    "direction": ({"direction": "out"}, []),
    "days": ({"since": datetime(2024, 3, 3), "until": datetime(2024, 3, 4, 23, 59, 59)}, ["0004", "0003"]),
}


def test_calls_are_found_by_what_a_person_remembers(log: Node):
    assert found(log) == ALL
    for case, (wanted, calls) in REMEMBERED.items():
        page = ask(log, **wanted)
        assert [row["provider_call_id"] for row in page.calls] == calls, case
        assert (page.found, page.looked_to, page.on) == (len(calls), None, None), case


@pytest.mark.parametrize("window", [1, 4, 1000])
def test_pages_hold_every_call_once_whatever_the_window(window: int, log: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "WINDOW", window)
    for limit in (1, 7, 30):
        assert found(log, limit) == ALL
        assert found(log, limit, direction="in") == ALL
    page = ask(log, 7, direction="in")
    assert (len(page.calls), page.found, page.full) == (7, 30, True)


def test_a_look_that_is_cut_short_says_so_and_goes_on(log: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "WINDOW", 10)
    monkeypatch.setattr(search, "SECONDS", 0)
    first = ask(log, employee="102")
    assert (first.calls, first.found, first.looked_to) == ([], 0, datetime(2024, 3, 21, 10))
    assert found(log, employee="102") == ["0007"]
    assert ask(log, sought="0007").found == 1  # an index has it
    some = ask(log, 3, direction="in")
    assert (some.found, some.full, some.looked_to) == (10, True, datetime(2024, 3, 21, 10))
    day = ask(log, since=datetime(2024, 3, 25), employee="102")
    assert (day.looked_to, day.on) == (None, None)  # the whole of the days was looked at


def test_a_number_of_many_calls_is_found_without_its_index(log: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "FEW", 3)
    assert found(log, 4, sought="7920111*") == [call for call in ALL if call != "0008"]
    assert found(log, sought="0005") == ["0005"]


def test_a_call_dated_2099_hides_no_other_and_stands_where_it_was_received(database_url: str, tmp_path: Path):
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path, database_url)
    for number in range(1, 31):
        node.deliver(**ring(f"{number:04}", start_time=f"2024-03-{number:02} 10:00:00"))
    received = int(datetime(2024, 3, 2, 6, 0, tzinfo=UTC).timestamp() * 1000)
    for number in range(60):  # more than a page
        node.deliver("in", received, **ring(f"9{number:03}", start_time="2099-03-01 10:00:00"))
    node.forward()
    node.forwarder.close()
    assert found(node)[:60] == [f"9{number:03}" for number in range(59, -1, -1)]  # by their own word
    place = found(node, latest=KNOWN)
    assert [call for call in place if not call.startswith("9")] == ALL
    assert place[:29] == ALL[:29]
    assert len(place) == len(set(place)) == 90
    assert found(node, 7, latest=KNOWN) == place
    assert found(node, result=MISSED, latest=KNOWN) == []
    assert found(node, sought="9003", latest=KNOWN) == ["9003"]
    assert "9003" not in found(node, since=datetime(2024, 3, 5), latest=KNOWN)
    assert "9003" in found(node, until=datetime(2024, 3, 5), latest=KNOWN)


def test_a_number_and_its_last_digits_are_looked_up_in_an_index(log: Node):
    db = database.open_database(log.settings.database_url)
    with db.connection_context():
        for index, match in (
            ("calls_client_number", Calls.client_number == "x"),
            ("calls_client_last_digits", search._last_digits(db, "0005")),
        ):
            sql, values = db.get_sql_context().sql(Calls.select(Calls.id).where(match).limit(5)).query()
            explain = "EXPLAIN " if database.on_mysql(db) else "EXPLAIN QUERY PLAN "
            assert index in str(list(db.execute_sql(explain + sql, values))), sql


@pytest.mark.parametrize(
    ("text", "length"),
    [("90", 90), ("1:30", 90), ("1:02:03", 3723), ("", None), ("час", None), ("1:2:3:4", None), ("-1", None)],
)
def test_a_length_is_read_as_a_person_writes_it(text: str, length: int | None):
    assert search.seconds(text) == length
