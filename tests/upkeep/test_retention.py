"""purge and forget: what is past its term or whose person asks for it is gone, and nothing brings it back."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee
import pytest

import models
from calllog import database
from calllog.contacts import Contact, store_contacts
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Outcome, now
from inbox.judge import DAY
from models import CallEvents, CallLegs, CallRecordings, Calls, Contacts
from schemas.reading import Delivery
from tests.rig.crash import DIED, Crashes
from tests.rig.fixtures import ZONE
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import UIS_KEY, Service, until
from tests.rig.traffic import traffic
from upkeep.forgotten import Forgotten
from upkeep.spellings import numbers_in

PERSON, OTHER = "79201119613", "79035550101"
SPELLED = "8 (920) 111-96-13"
DIGITS = re.compile(rb"9201119613|920[) ]+111-?96-?13")
EMPLOYEE = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}
IN, REC = "/hs/UIScom/in", "/hs/UIScom/rec"


@pytest.fixture
def stopped(tmp_path: Path, database_url: str) -> Service:
    """A service with its tables, that is not started."""
    service = Service(tmp_path / "service", database_url, UIS_KEY="open")
    service.flask("db", "upgrade")
    return service


@pytest.fixture
def running(stopped: Service) -> Iterator[Service]:
    with stopped:
        stopped.environment["UIS_KEY"] = UIS_KEY
        yield stopped.start()


def moment(at: int | None = None) -> str:
    """A body's moment, in UIS's wall clock."""
    return f"{datetime.fromtimestamp((now() if at is None else at) / 1000, ZONE):%Y-%m-%d %H:%M:%S}"


def said(call: str, at: int | None = None, client: str = PERSON, **more: Any) -> dict[str, Any]:
    """«Входящий звонок» of this moment."""
    return ring(call, start_time=moment(at), calling_phone_number=client, **EMPLOYEE, **more)


def ended(call: str, at: int | None = None, client: str = PERSON, **more: Any) -> dict[str, Any]:
    """«Завершение звонка» of an answered call with a recording."""
    link = {"full_record_file_link": f"https://app.uiscom.ru/r/{call}"}
    return {**end(call), **said(call, at, client), "finish_time": moment(at), **link, **more}


def ids(service: Service) -> set[str]:
    return {row["provider_call_id"] for row in service.rows(Calls)}


def whole(service: Service) -> None:
    """No part is left of a call that is gone."""
    parts = [{row["call_id"] for row in service.rows(table)} for table in (CallEvents, CallLegs, CallRecordings)]
    there = {row["id"] for row in service.rows(Calls)}  # after them: calls may be coming
    assert set().union(*parts) <= there


def acts(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.flask("acts", "--json").stdout.splitlines()]


def holds_digits(directory: Path) -> list[str]:
    """Files that hold the person's number in any spelling."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if DIGITS.search(path.read_bytes())]


# --------------------------------------------------------------------------------------------------------------- purge


def aged(service: Service) -> Node:
    """Calls of 100 and of 3 days ago, an open one of 100 days, and a dead letter of 100 days."""
    node = Node(service.data_dir, service.database_url, expire_hours=100_000)
    old, new = now() - 100 * DAY, now() - 3 * DAY
    for number in range(450):
        node.deliver("rec", old, **ended(f"old-{number}", old))
    node.deliver("in", old, **said("open-1", old))
    node.deliver("in", old, **said("between-1", old))
    node.deliver("rec", new, **ended("between-1", new))
    node.deliver("rec", new, **ended("new-1", new))
    node.deliver("rec", old, direction="in")
    node.forward()
    node.forwarder.close()
    return node


def test_a_purge_deletes_what_is_past_its_days_and_tells_of_it(stopped: Service):
    node = aged(stopped)
    counter = rows(stopped.database_url, models.ChangeCounter)[0]["change_no"]
    kept = {
        row["provider_call_id"]: row for row in stopped.rows(Calls) if not row["provider_call_id"].startswith("old")
    }
    done = stopped.flask("purge", CALLS_DAYS="30", INBOX_DAYS="30")
    assert "450 calls deleted" in done.stdout
    assert {row["provider_call_id"]: row for row in stopped.rows(Calls)} == kept
    assert kept.keys() == {"open-1", "between-1", "new-1"}
    whole(stopped)
    assert rows(stopped.database_url, models.ChangeCounter)[0]["change_no"] == counter
    assert [stored.outcome.state for stored in stopped.deliveries()] == [FORWARDED, FORWARDED]
    (act,) = acts(stopped)
    assert (act["kind"], act["whole"]) == ("purge", True)
    assert act["counts"] == {
        "forwarded": 452, "dead": 1, "calls": 450, "call_events": 450, "call_legs": 450, "call_recordings": 450
    }  # fmt: skip
    # nothing to delete: no record; the counter stays, so a new call has a higher number
    stopped.flask("purge", CALLS_DAYS="30", INBOX_DAYS="30")
    assert len(acts(stopped)) == 1
    node.deliver("rec", **ended("next 1"))
    node.forward()
    assert node.rows()[-1]["change_no"] == counter + 1
    node.forwarder.close()


def test_without_calls_days_calls_stay_and_dead_letters_have_a_term_of_their_own(stopped: Service):
    aged(stopped)
    assert "kept for ever" in stopped.flask("purge", DEAD_DAYS="101").stdout
    assert len(ids(stopped)) == 453
    assert [stored.outcome.state for stored in stopped.deliveries()] == [FORWARDED, FORWARDED, DEAD]
    stopped.flask("purge")
    assert [stored.outcome.state for stored in stopped.deliveries()] == [FORWARDED, FORWARDED]
    assert len(ids(stopped)) == 453


def test_an_event_older_than_calls_days_is_ignored_and_says_so(stopped: Service):
    node = Node(stopped.data_dir, stopped.database_url, calls_days=30)
    node.deliver("rec", **ended("told late 1", now() - 31 * DAY))
    node.deliver("rec", now() - 31 * DAY, call_session_id="1, no time of its own")
    node.deliver("rec", **ended("in time 1", now() - 29 * DAY))
    node.forward()
    node.forwarder.close()
    assert ids(stopped) == {"in time 1"}
    assert [(one.outcome.state, one.outcome.reason) for one in stopped.deliveries()][:2] == [(IGNORED, "too_old")] * 2
    assert "CALLS_DAYS (30)" in stopped.deliveries()[0].outcome.detail
    assert stopped.deliveries()[0].delivery.body
    # with a longer term a replay brings it in
    stopped.flask("inbox", "replay", "--status", IGNORED)
    assert "2 forwarded" in stopped.flask("forward", "--once", CALLS_DAYS="0").stdout


def test_a_purge_under_load_and_killed_in_the_middle_ends_whole(stopped: Service):
    aged(stopped)
    stopped.environment.update(UIS_KEY=UIS_KEY, EXPIRE_HOURS="100000")
    days = {"CALLS_DAYS": "30", "INBOX_DAYS": "30"}  # of the purge only: the traffic's bodies are of 2024
    with stopped:
        stopped.start()
        with traffic(stopped) as seen, Crashes(stopped.root, {**stopped.environment, **days}) as crashes:
            for at in (3, 7, 11):
                killed = crashes.run("purge", at=at)
                assert killed.code == DIED, killed.output
                whole(stopped)
            stopped.flask("purge", check=True, **days)
            until(lambda: seen.count > 50, "traffic")
        assert seen.refused == []
        stopped.settled()
        assert ids(stopped) == {"open-1", "between-1", "new-1", *seen.accepted}
        whole(stopped)
        assert "our own fault" not in stopped.log()


# -------------------------------------------------------------------------------------------------------------- forget


def test_a_number_is_found_in_any_spelling():
    for text in (
        "+79201119613", "89201119613", "9201119613", SPELLED, "+7 (920) 111-96-13", "8-920-111-96-13",
        '{"n":79201119613}', "tel:+7.920.111.96.13;", "79201119613...9.2.3.3",
    ):  # fmt: skip
        assert PERSON in numbers_in(text), text
    assert PERSON not in numbers_in("792011196130 179201119613 7920111961 2024-03-01 10:00:00")


def known(service: Service) -> None:
    """Two calls of the person and one of somebody else, with contacts and a dead letter that mentions the person."""
    for call, client in (("1", PERSON), ("2", "+7 920 111-96-13"), ("3", OTHER)):
        service.post(IN, json.dumps(said(call, client=client)))
        service.post(REC, json.dumps(ended(call, client=client)))
        service.call(call, 2)
    service.post(IN, json.dumps({"chat_id": 5, "from": SPELLED}))
    service.post(IN, json.dumps({"direction": "in", "calling_phone_number": SPELLED}))
    service.post(IN, f"not json {SPELLED}")
    db = database.open_database(service.database_url)
    with db.connection_context():
        at = datetime.now(ZONE).replace(tzinfo=None, microsecond=0) - timedelta(hours=1)
        store_contacts(db, [Contact(PERSON, "Пётр", "101"), Contact(OTHER, "Анна", "102")], at)
        spelled = {"client_number": SPELLED, "client_name": "Пётр П.", "updated_at": at}
        Contacts.insert(id=77, **spelled).execute(db)
        if isinstance(db, peewee.SqliteDatabase):
            db.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def test_forget_removes_a_person_everywhere_and_leaves_no_digit_behind(running: Service):
    known(running)
    others = running.rows(Calls, provider_call_id="3")
    before = max(row["change_no"] for row in running.rows(Calls))
    asked = running.flask("forget", SPELLED, check=False)
    assert asked.returncode == 1
    assert "his, to be deleted: 2 calls, 4 call_events" in asked.stdout
    assert "mentions of others: 1 deliveries, 1 counters" in asked.stdout
    assert len(ids(running)) == 3
    done = running.flask("forget", SPELLED, "--yes").stdout
    assert "2 calls, 4 call_events" in done
    assert "2 contacts" in done
    assert "any copy made before now still holds it" in done
    assert running.rows(Calls) == others
    whole(running)
    assert [row["client_number"] for row in running.rows(Contacts)] == [OTHER]
    assert [one.delivery.body for one in running.deliveries(state=DEAD)] == [b"not json ***"]
    assert len(running.deliveries()) == 3
    (act,) = acts(running)
    assert act["counts"]["calls"] == 2
    assert act["counts"]["deliveries"] == 6
    assert re.fullmatch("[0-9a-f]{64}", act["digest"])
    told = running.flask("acts").stdout
    assert "АКТ ОБ УНИЧТОЖЕНИИ ПЕРСОНАЛЬНЫХ ДАННЫХ" in told
    assert "отзыв согласия" in told
    assert act["digest"] in told
    assert holds_digits(running.data_dir) == []
    assert not DIGITS.search(running.log().encode())
    # somebody who has read up to what is gone misses nothing of what comes
    running.post(IN, json.dumps(said("4", client=OTHER)))
    assert running.call("4")["change_no"] > before


def test_a_replay_and_a_late_delivery_do_not_bring_a_person_back_but_a_new_call_is_a_call(running: Service):
    known(running)
    bodies = [(stored.delivery.route, stored.delivery.body) for stored in running.deliveries(state=FORWARDED)]
    earlier = now() - 60_000
    running.flask("forget", PERSON, "--yes")
    for route, body in bodies[:4]:  # the provider sends all again
        running.post(f"/hs/UIScom/{route}", body)
    running.post(
        REC, json.dumps({"call_session_id": "1", "file_link": "https://app.uiscom.ru/r/9", "file_duration": 9})
    )
    running.post(REC, json.dumps(ended("5", earlier)))  # a call that nobody had told of yet
    running.settled()
    assert ids(running) == {"3"}
    late = running.deliveries()[3:]
    assert [(one.outcome.state, one.outcome.reason) for one in late] == [(IGNORED, "forgotten")] * 6
    assert {(one.delivery.body, one.delivery.query, one.outcome.event_key) for one in late} == {(b"", "", "")}
    running.flask("inbox", "replay", "--status", IGNORED)
    running.flask("calls", "rebuild")
    running.settled()
    assert ids(running) == {"3"}
    assert len(running.deliveries(state=IGNORED)) == 6
    assert holds_digits(running.data_dir) == []
    # a new call of the same person
    running.post(IN, json.dumps(said("6", now() + 1000)))
    assert running.call("6")["client_number"] == PERSON
    before = (running.rows(Calls), running.inbox.path.parent.joinpath("forgotten").read_text(), running.deliveries())
    assert "nothing was there" in running.flask("forget", "--again").stdout, before
    assert "6" in ids(running)


def test_what_waits_when_a_person_is_forgotten_is_forgotten_too(stopped: Service):
    node = Node(stopped.data_dir, stopped.database_url)
    node.deliver("in", **said("1"))
    node.forward()
    node.deliver("rec", **ended("1"))
    node.deliver("rec", call_session_id="1", finish_time=moment())
    node.deliver("rec", **ended("2"))
    form = f"call_session_id=3&calling_phone_number={quote('+7 (920) 111-96-13')}"
    stopped.inbox.put(Delivery("uis", "rec", form.encode(), received_at=now()), Outcome())
    assert len(stopped.deliveries(state=RECEIVED)) == 4
    stopped.flask("forget", PERSON, "--yes")
    assert stopped.deliveries() == []
    assert node.forward().total == 0
    assert ids(stopped) == set()
    node.forwarder.close()
    assert holds_digits(stopped.data_dir) == []


def test_forget_under_load_loses_nothing_of_the_others(running: Service):
    with traffic(running) as seen:  # all of PERSON's number
        until(lambda: seen.count > 40, "traffic")
        running.post(REC, json.dumps(ended("kept 1", client=OTHER)))
        running.flask("forget", PERSON, "--yes")
    assert seen.refused == []
    running.settled()
    # its bodies are of 2024: before the moment, whenever they come
    assert ids(running) == {"kept 1"}
    whole(running)


def test_one_of_the_companys_own_numbers_is_not_forgotten_by_mistake(running: Service):
    known(running)
    running.post(REC, json.dumps(ended("7", client="79161234567", employee_phone_number="79169999999")))
    running.call("7")
    refused = running.flask("forget", "89161234567", "--yes", check=False)
    assert refused.returncode == 1
    assert "calls.employee_number" in refused.stderr
    assert len(ids(running)) == 4
    assert "1 calls" in running.flask("forget", "89161234567", "--yes", "--yes-own").stdout
    assert ids(running) == {"1", "2", "3"}
    assert len(running.deliveries(feed="uis")) == 9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((), "name a number"), (("101",), "no phone number"), (("anonymous",), "no phone number"),
     ((PERSON, "--why", f"просил {SPELLED}"), "must not hold the number")],
)  # fmt: skip
def test_forget_says_what_it_cannot_do(tmp_path: Path, arguments: tuple[str, ...], sentence: str):
    service = Service(tmp_path)
    service.flask("db", "upgrade")
    done = service.flask("forget", *arguments, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_a_dump_loaded_again_brings_nobody_back(tmp_path: Path, request: pytest.FixtureRequest):
    server = request.getfixturevalue("mariadb")
    with Service(tmp_path / "service", server.create("test_forgotten")) as service:
        service.start()
        known(service)
        dump = server.dump("test_forgotten")
        service.post(REC, json.dumps(ended("8", client=OTHER)))
        service.call("8")
        service.flask("forget", PERSON, "--yes")
        server.load("test_forgotten", dump)
        service.post(REC, json.dumps(ended("9", client=OTHER)))
        service.call("9")
        service.call("8")
        service.logs("who was forgotten is deleted from it again")
        until(lambda: ids(service) == {"3", "8", "9"}, "the person is gone again")
        until(lambda: len(acts(service)) == 2 and acts(service)[1].get("whole"), "the record is whole")
        assert [act["kind"] for act in acts(service)] == ["forget", "again"]


def test_a_torn_list_of_the_forgotten_is_read_as_far_as_it_is_whole(tmp_path: Path):
    who = Forgotten(tmp_path)
    with who.held():
        who.add(1000, who.digest(PERSON))
    with (tmp_path / "forgotten").open("a") as file:
        file.write("number abc")
    with who.held():
        who.add(2000, who.digest(OTHER))
    again = Forgotten(tmp_path)
    assert (again.when_client(PERSON), again.when_client(OTHER), again.when_client("79990000000")) == (1000, 2000, -1)
    (tmp_path / "b").mkdir()
    other = Forgotten(tmp_path / "b")
    with other.held():
        other.add(3000, other.digest("79990000000"))
    again.merge(tmp_path / "b" / "forgotten")
    again.merge(tmp_path / "b" / "forgotten")
    assert Forgotten(tmp_path).when_client("79990000000") == 3000
    assert again.known() == 3
    assert PERSON not in (tmp_path / "forgotten").read_text()
