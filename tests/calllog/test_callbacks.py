"""Who is to be called back: `/api/callbacks` and the page against a plain recomputation over the same rows, in zones with
summer time and over midnight; and that what a worker keeps of a day is right again whatever happens to that day."""

import random
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

import models
from app import create_app
from calllog import database
from calllog.callbacks import HIDDEN
from models import Calls, ChangeCounter, Contacts
from tests.conftest import DATABASES
from tests.rig import openapi
from tests.rig.node import Node
from tests.rig.provider import provider
from tests.rig.service import ROOT

PASSWORD = "a-long-enough-word"
KEY = "an-api-key-that-is-long"
ASKED = requests.Request("GET", "http://here/api/callbacks").prepare()
LATER = "2026-10-27T00:00:00"
START = datetime(2026, 10, 19)  # a week before Europe puts its clocks back
NUMBERS = [f"7903111{n:04d}" for n in range(40)] + ["", "anonymous", "Anonymous", "vasya"]
LINES = ("74951234567", "78121234567")
Row = dict[str, Any]


class Rig:
    """An application in this process over a call log whose rows are written by hand."""

    def __init__(self, directory: Path, url: str, **settings: Any) -> None:
        self.node = Node(directory, url, api_key=KEY, operator_password=PASSWORD, **settings)
        database.upgrade(url, lambda line: None)
        self.db = database.open_database(url)
        self.last = 0
        self.app = create_app(self.node.settings)
        self.client: FlaskClient = self.app.test_client()

    def write(self, rows: list[Row], table: type[models.Table] = Calls) -> None:
        """Rows as a batch would leave them: each with the next id and change_no."""
        with self.db.connection_context():
            for row in rows:
                self.last += 1
                row["id"] = self.last
                if table is Calls:
                    row |= {"change_no": self.last, "provider": "uis", "provider_call_id": str(self.last)}
                    row.setdefault("first_event_at", row["started_at"])
            whole = [{**dict.fromkeys(models.columns(table)), **table(**row).__data__} for row in rows]
            for start in range(0, len(rows), 100):
                table.insert_many(whole[start : start + 100]).execute(self.db)
            ChangeCounter.update(change_no=self.last, last_id=self.last).execute(self.db)

    def change(self, id: int, **columns: Any) -> None:
        """A row written again, as a batch or a rebuild does."""
        with self.db.connection_context():
            self.last += 1
            Calls.update(change_no=self.last, **columns).where(Calls.id == id).execute(self.db)
            ChangeCounter.update(change_no=self.last).execute(self.db)

    def delete(self, id: int) -> None:
        """A row gone, as after purge or forget: nothing else tells of it."""
        with self.db.connection_context():
            Calls.delete().where(Calls.id == id).execute(self.db)

    def rows(self, table: type[models.Table] = Calls) -> list[Row]:
        with self.db.connection_context():
            return list(table.select().order_by(table.id).dicts().execute(self.db))

    def ask(self, status: int = 200, **query: Any) -> dict[str, Any]:
        """What /api/callbacks answers."""
        answer = self.client.get("/api/callbacks", query_string=query, headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == status, answer.text
        as_sent = requests.Response()
        as_sent.status_code, as_sent._content, as_sent.request = status, answer.data, ASKED
        as_sent.headers.update(answer.headers)
        found: dict[str, Any] = openapi.check(as_sent).json()
        return found

    def page(self, path: str = "/callbacks", **query: Any) -> str:
        answer = self.client.get(path, query_string=query, auth=("", PASSWORD))
        assert answer.status_code == 200
        return answer.get_data(as_text=True)


@pytest.fixture(scope="module", params=DATABASES)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Eight days of a few clients, so that each is missed, called and talked to often, in any order."""
    directory = tmp_path_factory.mktemp("callbacks")
    url = f"sqlite:///{directory}/calllog/calls.db"
    if request.param == "mysql":
        url = request.getfixturevalue("mariadb").create("callbacks")
    rig = Rig(directory, url)
    rig.write(traffic(random.Random(16), 700))
    return rig


def traffic(dice: random.Random, count: int) -> list[Row]:
    """Calls of every kind within eight days, in the order of time, as ids are given."""
    starts = sorted(dice.randrange(8 * 86_400) for _ in range(count))
    return [call(dice, START + timedelta(seconds=at)) for at in starts]


def call(dice: random.Random, at: datetime) -> Row:
    direction = dice.choice(("in", "in", "in", "out", "out", "internal", ""))
    answered = int(dice.random() < 0.4)
    wait = dice.choice((None, 0, 3, 5, 20, 21, 40))
    ended = dice.random() < 0.95
    missed = int(direction == "in" and not answered and ended)
    return {
        "direction": direction,
        "state": "ended" if ended else "ringing",
        "is_answered": answered,
        "is_missed": missed,
        "client_number": dice.choice(NUMBERS),
        "line_number": dice.choice(LINES),
        "call_source": dice.choice(("", "va", "sip")),
        "employee_ext": dice.choice(("", "101", "102")) if answered else "",
        "started_at": at,
        "answered_at": at + timedelta(seconds=wait or 0) if answered and dice.random() < 0.8 else None,
        "wait_seconds": wait,
        "talk_seconds": dice.choice((None, 1, 60, 600)) if answered else None,
        "total_seconds": dice.choice((None, 4, 30)),
    }


# ------------------------------------------------------------------------------------------------------------ the oracle


def talk_of(row: Row) -> datetime:
    at: datetime = row["answered_at"] or row["started_at"]
    return at


def outcome(rows: list[Row], missed: Row) -> tuple[Row | None, list[Row]]:
    """By the words of the page: the first talk after the missed call began, and calls to him in vain."""
    other = [r for r in rows if r["client_number"] == missed["client_number"] and r["direction"] != "internal"]
    talks = [r for r in other if r["is_answered"] and talk_of(r) > missed["started_at"]]
    tried = [r for r in other if r["direction"] == "out" and not r["is_answered"]]
    first = min(talks, key=lambda r: (talk_of(r), r["id"]), default=None)
    return first, [r for r in tried if r["started_at"] > missed["started_at"]]


def expected(rows: list[Row], since: datetime, until: datetime, line: str = "", working: bool | None = None) -> Row:
    """What the API has to answer, client by client."""
    found: Row = {"missed": 0, "hidden": 0, "people": {}}
    by_client: dict[str, list[Row]] = {}
    for row in rows:
        there = 9 <= row["started_at"].hour < 20
        if not row["is_missed"] or not since <= row["started_at"] < until:
            continue
        if (line and row["line_number"] != line) or (working is not None and there is not working):
            continue
        found["missed"] += 1
        if row["client_number"].lower() in HIDDEN:
            found["hidden"] += 1
        else:
            by_client.setdefault(row["client_number"], []).append(row)
    for number, calls in by_client.items():
        calls.sort(key=lambda r: (r["started_at"], r["id"]))
        talk, tried = outcome(rows, calls[-1])
        together = [c for c in calls if outcome(rows, c)[0] == talk]
        waits = [c["total_seconds"] if c["wait_seconds"] is None else c["wait_seconds"] for c in together]
        state = "tried" if tried else "waiting"
        if talk:
            state = "called_back" if talk["direction"] == "out" else "got_through"
        found["people"][number] = {
            "state": state,
            "missed_count": len(together),
            "first_missed_at": together[0]["started_at"].isoformat(),
            "last_missed_at": together[-1]["started_at"].isoformat(),
            "longest_wait_seconds": max((wait for wait in waits if wait is not None), default=None),
            "line_number": together[-1]["line_number"],
            "attempts_count": 0 if talk else len(tried),
            "talked_at": talk_of(talk).isoformat() if talk else None,
        }
    return found


def compare(rig: Rig, since: datetime, until: datetime, **options: Any) -> None:
    query: dict[str, Any] = {"since": since.isoformat(), "until": until.isoformat(), "state": "all"}
    working = options.get("working")
    query |= {"line": options["line"]} if options.get("line") else {}
    query |= {"hours": "working" if working else "off"} if working is not None else {}
    told, right = rig.ask(**query), expected(rig.rows(), since, until, **options)
    assert (told["missed"], told["hidden"]) == (right["missed"], right["hidden"])
    people = {one["client_number"]: one for one in told["people"]}
    assert people.keys() == right["people"].keys()
    for number, wanted in right["people"].items():
        assert {name: people[number][name] for name in wanted} == wanted, number
    firsts = [one["first_missed_at"] for one in told["people"]]
    assert firsts == sorted(firsts)  # who waits the longest first
    for state in ("waiting", "tried", "called_back", "got_through"):
        assert told[state] == sum(one["state"] == state for one in right["people"].values())


END = START + timedelta(days=8)


def test_people_are_those_of_a_plain_recomputation(rig: Rig) -> None:
    dice = random.Random(5)
    for _ in range(6):
        since = START + timedelta(seconds=dice.randrange(6 * 86_400))
        compare(rig, since, since + timedelta(seconds=dice.randrange(1, 3 * 86_400)))
    compare(rig, START, END)
    compare(rig, START, END, line=LINES[0])
    compare(rig, START, END, working=True)
    compare(rig, START, END, working=False)


def test_what_is_kept_of_a_day_is_right_again_after_every_change_of_it(rig: Rig) -> None:
    dice = random.Random(7)
    compare(rig, START, END)
    for number in range(24):
        rows = rig.rows()
        one = dice.choice(rows)
        kind = number % 6
        if kind == 0:
            rig.delete(one["id"])
        elif kind == 1:
            rig.write([call(dice, START + timedelta(seconds=dice.randrange(8 * 86_400))) for _ in range(2)])
        elif kind == 2:  # a rebuild that understands the call otherwise
            other = call(dice, one["started_at"])
            names = ("is_answered", "is_missed", "direction", "answered_at")
            rig.change(one["id"], **{name: other[name] for name in names})
        elif kind == 3:
            rig.change(one["id"], started_at=one["started_at"] + timedelta(days=dice.choice((-1, 1))), answered_at=None)
        elif kind == 4:
            rig.change(one["id"], client_number=dice.choice(NUMBERS))
        else:  # the talk that settled somebody's call is gone
            talks = [row for row in rows if row["is_answered"] and row["direction"] == "out"]
            rig.delete(dice.choice(talks)["id"])
        since = START + timedelta(days=dice.randrange(4))
        compare(rig, since, since + timedelta(days=dice.randrange(1, 4)))
    compare(rig, START, END)


def test_a_restored_call_log_is_another_one(rig: Rig) -> None:
    compare(rig, START, END)
    with rig.db.connection_context():  # rows as they were, under numbers that were given before
        for row in Calls.select().where(Calls.is_answered == 1).limit(40).dicts().execute(rig.db):
            was = Calls.update(is_answered=0, is_missed=int(row["direction"] == "in"))
            was.where(Calls.id == row["id"]).execute(rig.db)
        ChangeCounter.update(incarnation="restored").execute(rig.db)
    compare(rig, START, END)


def test_a_wrong_question_is_named(rig: Rig) -> None:
    for query in ({"since": "yesterday"}, {"until": "2026-13-01"}, {"state": "x"}, {"hours": "night"}, {"from": "-1"},
                  {"since": "2020-01-01", "until": "2026-01-01"}, {"since": "2026-01-01T00:00:00Z"}):  # fmt: skip
        assert rig.ask(422, **query)["error"] == "bad_field"


def test_the_sql_for_1c_finds_who_still_waits(rig: Rig) -> None:
    page = (ROOT / "docs" / "1c.md").read_text(encoding="utf-8")
    sql = (
        page.partition("## 11. ")[2]
        .partition("```sql\n")[2]
        .partition("```")[0]
        .replace("2026-11-18", f"{START:%Y-%m-%d}")
    )
    with rig.db.connection_context():
        found = rig.db.execute_sql(sql).fetchall()
    told = {
        one["client_number"]: one["missed_count"] for one in rig.ask(since=START.isoformat(), until=LATER)["people"]
    }
    assert {number: count for number, count, *_ in found if number.lower() not in HIDDEN} == told
    assert told


# -------------------------------------------------------------------------------------------------------------- the page


def test_the_page_shows_a_night_by_client_and_nobody_twice(tmp_path: Path) -> None:
    rig = Rig(tmp_path, f"sqlite:///{tmp_path}/calllog/calls.db")
    now = datetime.now(rig.node.settings.timezone).replace(tzinfo=None, microsecond=0)
    closed = rig.node.settings.working_hours.last_closed(now)
    assert closed is not None
    night = closed[0] + timedelta(minutes=1)
    one = {"direction": "in", "is_missed": 1, "state": "ended", "line_number": LINES[0], "wait_seconds": 12}
    rig.write(
        [
            {**one, "client_number": "79031112233", "started_at": night, "client_name": "=Иванов"},
            {**one, "client_number": "79031112233", "started_at": night + timedelta(seconds=5)},
            {**one, "client_number": "79031112233", "started_at": night + timedelta(seconds=9)},
            {**one, "client_number": "79034445566", "started_at": night},
            {**one, "client_number": "", "started_at": night},
            {**one, "client_number": "79034445566", "started_at": night + timedelta(seconds=20), "direction": "out",
             "is_missed": 0},
        ]
    )  # fmt: skip
    rig.write([{"client_number": "+7 (903) 444-55-66", "client_name": "Ромашка", "responsible_ext": "105"}], Contacts)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", rig.page().replace("\u00a0", " ")))
    assert f"{closed[0]:%H:%M}" in text.partition("5 пропущенных")[0]
    assert "5 пропущенных, 2 человека, 2 ещё не перезвонили; 1 звонок со скрытого номера." in text
    assert text.count("+7 903 111-22-33") == text.count("+7 903 444-55-66") == 1
    assert "3 раза" in text
    assert "1 попытка" in text
    assert "Ромашка в контактах, ответственный 105" in text
    assert 'href="tel:+79031112233"' in rig.page()
    table = rig.client.get("/callbacks?csv=1", auth=("", PASSWORD))
    assert table.data.startswith("\ufeffКлиент;Имя;".encode())
    lines = table.get_data(as_text=True).splitlines()
    assert lines[1].startswith("79031112233;'=Иванов;;;")  # no formula
    assert len(lines) == 3
    assert 'id="dial-' not in rig.page(ext="101")  # no provider is set up to place a call


def test_the_button_calls_back_as_click_to_call_does(tmp_path: Path) -> None:
    with provider() as stand_in:
        url = f"sqlite:///{tmp_path}/calllog/calls.db"
        rig = Rig(tmp_path, url, xvb_url=stand_in.url, xvb_token="token")
        now = datetime.now(rig.node.settings.timezone).replace(tzinfo=None, microsecond=0)
        missed = {"direction": "in", "is_missed": 1, "state": "ended", "client_number": "79031112233"}
        rig.write([{**missed, "started_at": now - timedelta(seconds=30)}])
        form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', rig.page(ext="101")))
        assert (form["to"], form["ext"], form["provider"]) == ("79031112233", "101", "xvb")
        proof = {"Sec-Fetch-Site": "same-origin"}
        for headers, status in (({}, 403), (proof, 303), (proof, 303)):
            answer = rig.client.post("/callbacks", data=form, headers=headers, auth=("", PASSWORD))
            assert answer.status_code == status
        assert len(stand_in.asked) == 1  # pressed twice, dialled once


def test_a_dead_letter_that_is_a_call_is_named_until_the_log_has_the_call(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calllog/calls.db"
    rig = Rig(tmp_path, url)
    broken = '{"call_session_id": 77"direction": "in", "calling_phone_number": "8 (903) 111-22-33"}'
    rig.client.post("/hs/UIScom/in", data=broken)
    rig.client.post("/hs/UIScom/in", data='{"direction": "in"}')
    assert 'возможно, потерян звонок с <a href="tel:+79031112233">+7\u00a0903\u00a0111-22-33</a>' in rig.page()
    assert rig.page().count("возможно, потерян") == 1
    rig.client.post("/hs/UIScom/in", data='{"call_session_id": 77, "direction": "in"}')
    rig.node.forward()
    assert "возможно, потерян" not in rig.page()
