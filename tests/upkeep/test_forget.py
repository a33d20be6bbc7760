"""pbx-connector forget: his and mentions are two things, ids are no numbers, and clocks decide nothing of what is there."""

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.cli import ScriptInfo

import cli
from app import create_app
from calllog import database
from inbox import DEAD, FORWARDED, Outcome, now
from models import CallAttributes, CallEvents, CallRecordings, Calls, Contacts, Employees, ForgottenList, Table
from schemas.reading import Delivery
from tests.rig.fixtures import ZONE
from tests.rig.node import Node, end, ring
from upkeep import backup, bites, search, traces
from upkeep.blanking import blank_body, blank_delivery, blank_text, is_id
from upkeep.spellings import blank

PERSON, OTHER = "79201119613", "79035550101"
SPELLINGS = (
    "79201119613", "+79201119613", "89201119613", "9201119613", "8 (920) 111-96-13", "+7 (920) 111-96-13",
    "8-920-111-96-13",
    "+7.920.111.96.13", "8/920/111/96/13", "8\u00a0(920)\u00a0111\u00a096\u00a013", "8\u2011920\u2011111\u201196\u201113",
    "8 – 920 – 111 – 96 – 13", "7_920_111_96_13", "0079201119613", "00 7 920 111 96 13", "81079201119613",
    "8 10 7 920 1119613",
)  # fmt: skip


def he(number: str) -> bool:
    """Whether a number is PERSON."""
    return number == PERSON


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Node:
    """A node with its tables."""
    database.upgrade(database_url, lambda line: None)
    return Node(tmp_path / "node", database_url)


def flask(node: Node, *arguments: str, code: int = 0, **options: Any) -> Result:
    """A command of this node, in this process."""
    info = ScriptInfo(create_app=lambda: create_app(node.settings), set_debug_flag=False)
    done = CliRunner().invoke(cli.program(), arguments, obj=info, **options)
    assert done.exit_code == code, (done.output, done.exception)
    return done


def put(node: Node, feed: str, route: str, body: dict[str, Any] | bytes, query: str = "") -> None:
    """Store a delivery of any feed; what is refused is a dead letter at once, as in a handler."""
    from inbox.judge import recognised

    sent = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    delivery = Delivery(feed, route, sent, query, declared_length=len(sent), received_at=now())
    node.inbox.put(delivery, recognised(delivery)[0])


def rows(node: Node, table: type[Table]) -> list[dict[str, Any]]:
    return node.rows(table)


def write(node: Node, table: type[Table], **columns: Any) -> None:
    """A row that 1C writes."""
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        table.insert(**columns).execute(db)


# ----------------------------------------------------------------------------------------------------------- spellings


@pytest.mark.parametrize("number", SPELLINGS)
@pytest.mark.parametrize(
    "text", ["{}", "25.11.2026 {} 12", "{} 79035550101", "79035550101 {}", "Анна (муж {}), 10:00:00"]
)
def test_a_number_is_found_in_any_spelling_beside_other_digits(number: str, text: str) -> None:
    plain = text.format("***")
    assert blank(text.format(number), he) == plain
    assert blank(text.format(number), he, in_value=False) == plain


@pytest.mark.parametrize(
    "text", ["792011196130", "179201119613", "7920111961", "9201119613000", "92-01-11 19:61:30 2024"]
)
def test_digits_of_another_number_are_another_number(text: str) -> None:
    assert blank(text, he) == text


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-le", "cp1251"])
def test_a_body_that_is_no_json_is_searched_in_its_coding(coding: str) -> None:
    body = "Анна 8 (920) 111-96-13, муж".encode(coding)
    assert blank_body(body, he).decode(coding) == "Анна ***, муж"
    broken = '{"comment": "муж 8\\u00a0920\\u00a01119613", "visitor_id": 9201119613,'
    assert blank_text(broken, he) == '{"comment": "муж ***", "visitor_id": 9201119613,'


def test_a_body_is_understood_as_before_but_for_the_number() -> None:
    """Of JSON, of JSON in a string, of a form: what is an id or a link stays, a bare number becomes a text."""
    body = {
        "visitor_id": 9201119613, "employee_ids": [9201119613, 2], "contact": {"id": "9201119613"}, "n": 79201119613,
        "list": ["x", SPELLINGS[5]], "file_link": "https://a/79201119613", "json": json.dumps({"note": SPELLINGS[4]}),
        "caller_id": SPELLINGS[1],
    }  # fmt: skip
    blanked = json.loads(blank_text(json.dumps(body), he))
    assert {key for key in body if blanked[key] != body[key]} == {"n", "list", "json", "caller_id"}
    assert (blanked["n"], blanked["list"], json.loads(blanked["json"])) == ("***", ["x", "***"], {"note": "***"})
    form = "callid=9201119613&phone=%2B7+%28920%29+111-96-13&text=%D0%B0+79201119613&x=1"
    delivery = Delivery("xvb", "crm", form.encode(), declared_length=len(form) + 5)
    clean = blank_delivery(delivery, he)
    assert clean.body == b"callid=9201119613&phone=***&text=%D0%B0+***&x=1"
    assert clean.declared_length == len(clean.body) + 5  # cut short before, cut short after
    assert [is_id(key) for key in ("app_id", "VisitorID", "access_code", "callerId", "comment")] == [True] * 3 + [
        False
    ] * 2


# -------------------------------------------------------------------------------------------------- his, and mentions


def test_his_calls_go_and_others_keep_all_but_the_number(node: Node) -> None:
    put(node, "uis", "in", ring("1", calling_phone_number=PERSON))
    put(node, "uis", "rec", {**end("1"), "full_record_file_link": "https://app.uiscom.ru/r/1"})
    put(node, "uis", "in", ring("2", calling_phone_number=OTHER, contact_full_name=f"Анна (муж {SPELLINGS[4]})"))
    put(node, "uis", "rec", end("2", calling_phone_number=OTHER, comment=f"звонить {PERSON}", visitor_id=9201119613))
    put(node, "hooktype", "hooktype",
        {"HookType": "CreateIncCall", "SessionID": "9201119613", "Caller": OTHER, "Called": "74951234567",
         "Redirecting": SPELLINGS[8]})  # fmt: skip
    put(
        node,
        "xvb",
        "crm",
        b"",
        f"cmd=event&callid=9201119613&event=INCOMING&type=in&phone={OTHER}&access_code=9201119613",
    )
    put(node, "uis", "in", f"no json {SPELLINGS[9]}".encode("utf-16"))
    node.forward()
    others = (row for row in rows(node, Calls) if row["client_number"] == OTHER)
    before = {(row["provider"], row["provider_call_id"]): row for row in others}
    sent = {stored.delivery.id: stored for stored in node.inbox.deliveries(limit=-1)}

    looked = flask(node, "forget", PERSON, code=1).output
    assert "his, to be deleted: 1 calls, 2 call_events, 1 call_recordings, 2 deliveries" in looked
    assert "mentions of others: 4 deliveries, 2 calls" in looked, looked
    assert "(муж 8 (920) 111-96-13)" in looked  # an example
    assert sent == {stored.delivery.id: stored for stored in node.inbox.deliveries(limit=-1)}
    done = flask(node, "forget", PERSON, "--yes").output
    assert "deleted: 1 calls, 2 call_events, 1 call_recordings, 2 deliveries" in done
    assert "blanked: 4 deliveries, 2 calls" in done

    after = {(row["provider"], row["provider_call_id"]): row for row in rows(node, Calls)}
    assert after.keys() == before.keys()
    moved = {"change_no", "updated_at"}
    changed = {
        call: {name: row[name] for name in row if row[name] != before[call][name] and name not in moved}
        for call, row in after.items()
    }
    assert changed == {
        ("uis", "2"): {"client_name": "Анна (муж ***)"},
        ("hooktype", "9201119613"): {"redirected_from": "***"},
        ("xvb", "9201119613"): {},
    }
    assert after["xvb", "9201119613"] == before["xvb", "9201119613"]
    assert {row["content"] for row in rows(node, CallAttributes)} >= {"звонить ***", "9201119613"}
    kept = {stored.delivery.id: stored for stored in node.inbox.deliveries(limit=-1)}
    assert kept.keys() == sent.keys() - {1, 2}
    assert {id for id in kept if kept[id].delivery.body != sent[id].delivery.body} == {3, 4, 5, 7}
    assert [stored.outcome.state for stored in kept.values()].count(DEAD) == 1
    folded_again_is_the_same(node)


def folded_again_is_the_same(node: Node) -> None:
    """A replay and a rebuild of what is left double no event and change no row."""
    there = [rows(node, table) for table in (Calls, CallEvents, CallAttributes)]
    flask(node, "inbox", "replay", "--status", FORWARDED)
    node.forward()
    flask(node, "calls", "rebuild")
    assert [rows(node, table) for table in (Calls, CallEvents, CallAttributes)] == there


def test_a_call_is_whose_row_it_is(node: Node) -> None:
    """One of its events names him as the client, the row another: it is not his."""
    put(node, "uis", "in", ring("2", calling_phone_number=PERSON))
    put(node, "uis", "rec", end("2", contact_phone_number=OTHER, calling_phone_number=PERSON))
    node.forward()
    assert [row["client_number"] for row in rows(node, Calls)] == [OTHER]
    assert "mentions of others, blanked: 2 deliveries, 1 calls" in flask(node, "forget", PERSON, "--yes").output
    (row,) = rows(node, Calls)
    assert (row["client_number"], row["caller_raw"], row["events_count"]) == (OTHER, "***", 2)
    folded_again_is_the_same(node)


def test_what_waits_and_mentions_him_is_one_event_whoever_sends_it_again(node: Node) -> None:
    said = ring("2", calling_phone_number=OTHER, contact_full_name=f"Анна (муж {PERSON})")
    put(node, "uis", "in", said)
    flask(node, "forget", PERSON, "--yes")
    node.forward()
    put(node, "uis", "in", said)
    node.forward()
    (row,) = rows(node, Calls)
    assert (row["client_name"], row["events_count"]) == ("Анна (муж ***)", 1)


def test_ids_are_no_numbers_and_a_short_number_is_asked_for_twice(node: Node) -> None:
    for call in range(1, 6):
        put(node, "uis", "in", ring(f"{call}", calling_phone_number=OTHER, app_id="381234", visitor_id=3412345678))
    node.forward()
    assert "no whole number" in flask(node, "forget", "381234", "--yes", code=1).output
    assert "nothing was there" in flask(node, "forget", "381234", "--yes", "--yes-short").output
    assert "nothing was there" in flask(node, "forget", "+7 (341) 234-56-78", "--yes").output
    assert len(rows(node, Calls)) == 5
    put(node, "uis", "in", ring("77", calling_phone_number="381235"))
    node.forward()
    assert "deleted: 1 calls" in flask(node, "forget", "381235", "--yes", "--yes-short").output


def test_the_first_sweep_compares_no_times(node: Node) -> None:
    """Of contacts by a clock of 1C's seven hours ahead, and a call by a provider's a few seconds ahead."""
    ahead = datetime.now(ZONE).replace(tzinfo=None, microsecond=0) + timedelta(hours=7)
    write(node, Contacts, id=5, client_number="8 10 7 920 111-96-13", client_name="Пётр", updated_at=ahead)
    write(node, Contacts, id=6, client_number=OTHER, client_name=f"Анна, муж {PERSON}", updated_at=ahead)
    write(node, Employees, id=7, employee_ext="101", employee_name=f"Иван (не звонить {PERSON})", updated_at=ahead)
    soon = f"{datetime.now(ZONE) + timedelta(seconds=30):%Y-%m-%d %H:%M:%S}"
    put(node, "uis", "in", ring("1", start_time=soon, notification_time=soon))
    put(node, "uis", "in", ring("2", calling_phone_number="0079201119613"))
    node.forward()
    put(node, "uis", "in", ring("3", start_time=soon, notification_time=soon))  # it waits
    done = flask(node, "forget", PERSON, "--yes").output
    assert "deleted: 2 calls, 2 call_events, 3 deliveries, 1 contacts" in done
    assert "blanked: 1 contacts, 1 employees" in done
    assert [row["client_name"] for row in rows(node, Contacts)] == ["Анна, муж ***"]
    assert [row["employee_name"] for row in rows(node, Employees)] == ["Иван (не звонить ***)"]
    node.forward()
    assert rows(node, Calls) == []
    put(node, "uis", "in", ring("4", start_time=soon, notification_time=soon))  # later: a new call
    node.forward()
    assert [row["provider_call_id"] for row in rows(node, Calls)] == ["4"]


def test_what_the_inbox_keeps_beside_deliveries_is_searched_too(node: Node) -> None:
    from inbox.orders import Attempt, Limits

    for number, request_id in ((PERSON, "a-1"), (OTHER, f"call-{PERSON}-17"), (OTHER, "a-2")):
        node.inbox.claim(Attempt("uis", "101", number, request_id, "10.0.0.1"), Limits((9, 9), (9, 9)))
    node.inbox.put(
        Delivery("uis", "in", b"{", received_at=now()),
        Outcome(DEAD, "bad_json", f"у текста «{SPELLINGS[4]}», 8\\u00a0920\\u00a01119613"),
    )
    done = flask(node, "forget", PERSON, "--yes").output
    assert "deleted: 1 placements, 1 attempts" in done
    assert "blanked: 1 deliveries, 1 attempts, 1 counters" in done
    assert [tried.attempt.request_id for tried in node.inbox.attempts()] == ["a-2", "call-***-17"]
    assert [message for *_, message in node.inbox.counters() if message] == ["у текста «***», ***"]
    assert node.inbox.deliveries()[0].outcome.detail == "у текста «***», ***"


def test_a_forwards_target_of_once_is_forgotten_as_a_client(node: Node) -> None:
    put(node, "uis", "in", ring("1", calling_phone_number=OTHER, employee_phone_number=PERSON))
    put(node, "uis", "in", ring("2", calling_phone_number=PERSON))
    write(node, Contacts, id=5, client_number=SPELLINGS[5], client_name="Пётр", updated_at=None)
    node.forward()
    assert "1 in calls.employee_number" in flask(node, "forget", PERSON, "--yes", code=1).output
    assert (
        "deleted: 1 calls, 1 call_events, 1 deliveries, 1 contacts"
        in flask(node, "forget", PERSON, "--yes", "--yes-own").output
    )
    (row,) = rows(node, Calls)
    assert (row["client_number"], row["employee_number"]) == (OTHER, PERSON)
    assert rows(node, CallRecordings) == rows(node, Contacts) == []


# ------------------------------------------------------------------------------------------------------------- the act


def acts(node: Node) -> list[dict[str, Any]]:
    return [json.loads(line) for line in flask(node, "acts", "--json").output.splitlines()]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("bite", [0, 1, 2, 3, 4, 5])
def test_a_killed_act_is_finished_with_whole_counts(
    node: Node, monkeypatch: pytest.MonkeyPatch, bite: int, after: bool
) -> None:
    """Cut off at a bite, before it or after its commit, before the count is noted."""
    for call in ("1", "2"):
        put(node, "uis", "rec", end(call))
    put(node, "uis", "in", ring("3", calling_phone_number=OTHER, comment=f"муж {PERSON}"))
    write(node, Contacts, id=5, client_number=PERSON, client_name="Пётр", updated_at=None)
    write(node, Contacts, id=6, client_number=OTHER, client_name=f"Анна, муж {PERSON}", updated_at=None)
    node.forward()
    real, left = bites.in_room, [bite]

    def cut_off(rows: Any, act: Any, *more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and after:
            act(rows)
        if left[0] < 0:
            raise Killed
        return real(rows, act, *more)

    monkeypatch.setattr(search, "in_room", cut_off)
    with pytest.raises(Killed):
        flask(node, "forget", PERSON, "--yes", "--why", "заявление 17", catch_exceptions=False)
    monkeypatch.undo()
    assert "не завершено" in flask(node, "acts").output
    if bite % 2:
        node.forward()  # what the service does when it starts
    else:
        assert "what was broken off is finished" in flask(node, "forget", "--again").output
    (act,) = acts(node)
    assert (act["kind"], act["why"], act["whole"]) == ("forget", "заявление 17", True)
    assert act["counts"] == {
        "calls": 2, "call_events": 2, "deliveries": 2, "contacts": 1,
        "blanked_deliveries": 1, "blanked_calls": 1, "blanked_contacts": 1,
    }  # fmt: skip
    assert [row["provider_call_id"] for row in rows(node, Calls)] == ["3"]
    assert list((node.settings.data_dir / "acts").iterdir()) == [node.settings.data_dir / "acts" / "acts.jsonl"]


def test_forgetting_again_says_of_whom(node: Node) -> None:
    put(node, "uis", "rec", end("1"))
    node.forward()
    kept = rows(node, Calls)
    flask(node, "forget", PERSON, "--yes")
    write(node, Calls, **kept[0])  # as from a dump
    flask(node, "forget", "--again", "--why", "загружен дамп 3")
    first, again = acts(node)
    assert (again["kind"], again["why"], again["digests"]) == ("again", "загружен дамп 3", [first["digest"]])
    assert flask(node, "acts").output.count(f"отпечаток номера в системе: {first['digest']}") == 2
    flask(node, "forget", "--again")
    assert len(acts(node)) == 2


# --------------------------------------------------------------------------------------------- nothing brings him back


LINK = "https://app.uiscom.ru/r/1"
RECORDED = {"call_session_id": "1", "file_link": LINK, "file_duration": 9, "contact_full_name": "Пётр"}


@pytest.fixture
def beside(node: Node, tmp_path: Path) -> Node:
    """A second node on the same call log."""
    return Node(tmp_path / "beside", node.settings.database_url)


def test_what_one_node_forgets_the_others_forget_at_their_next_batch(node: Node, beside: Node) -> None:
    """Ring at one, recording at the other, which also has what is not in the log."""
    put(node, "uis", "in", ring("1"))
    node.forward()
    put(beside, "uis", "rec", RECORDED)
    beside.forward()
    put(beside, "uis", "in", ring("2", calling_phone_number=OTHER, comment=f"муж {PERSON}"))
    beside.forward()
    put(beside, "uis", "in", {"direction": "in", "calling_phone_number": SPELLINGS[4]})
    put(beside, "uis", "in", ring("3"))  # it waits
    assert "deleted: 1 calls" in flask(node, "forget", PERSON, "--yes").output
    put(beside, "uis", "rec", {**RECORDED, "file_link": "https://app.uiscom.ru/r/late"})
    beside.forward()
    assert [row["provider_call_id"] for row in rows(node, Calls)] == ["2"]
    left = beside.inbox.deliveries(limit=-1)
    assert PERSON.encode() not in b"".join(stored.delivery.body for stored in left)
    assert {stored.outcome.reason for stored in left if not stored.delivery.body} <= {"forgotten"}
    assert "***" in next(s for s in left if s.outcome.state == FORWARDED).delivery.body.decode()
    first, other = acts(node)[0], acts(beside)[0]
    assert (other["kind"], other["digests"]) == ("again", [first["digest"]])
    for one in (node, beside):
        flask(one, "inbox", "replay", "--status", FORWARDED)
        flask(one, "inbox", "replay", "--status", "ignored")
        one.forward()
        flask(one, "calls", "rebuild")
    assert [row["provider_call_id"] for row in rows(node, Calls)] == ["2"]


def test_a_call_of_his_is_known_by_its_id_wherever_an_event_of_it_is_ignored(node: Node, beside: Node) -> None:
    flask(node, "forget", PERSON, "--yes")
    put(node, "uis", "rec", RECORDED)  # of a call that nobody has told of: it may be anybody's
    node.forward()
    assert [row["recording_url"] for row in rows(node, Calls)] == [LINK]
    put(node, "uis", "in", ring("1"))  # of a time before: it is his
    node.forward()
    assert rows(node, Calls) == []
    put(beside, "uis", "rec", {**RECORDED, "file_duration": 10})
    beside.forward()
    put(node, "uis", "rec", {**RECORDED, "file_duration": 11})
    node.forward()
    assert rows(node, Calls) == []
    assert [stored.delivery.body for one in (node, beside) for stored in one.inbox.deliveries()] == [b""] * 3
    assert [(act["kind"], act["counts"]["calls"]) for act in acts(node)[1:]] == [("again", 1)]


def test_a_late_event_of_anothers_call_only_mentions_him(node: Node) -> None:
    """He was rung by it, or is spoken of: the call is not his, and the number is blanked."""
    put(node, "uis", "in", ring("2", calling_phone_number=OTHER))
    node.forward()
    flask(node, "forget", PERSON, "--yes")
    put(node, "uis", "in", ring("2", calling_phone_number=OTHER, comment=f"муж {SPELLINGS[4]}"))
    put(
        node,
        "uis",
        "rec",
        {"call_session_id": "2", "called_phone_number": PERSON, "finish_time": "2024-03-01 10:00:00"},
    )
    node.forward()
    (row,) = rows(node, Calls)
    assert (row["client_number"], row["events_count"]) == (OTHER, 3)
    assert [attribute["content"] for attribute in rows(node, CallAttributes)] == ["муж ***"]
    assert not any(PERSON in event["payload"] for event in rows(node, CallEvents))
    assert not any(PERSON.encode() in stored.delivery.body for stored in node.inbox.deliveries())


def test_a_call_log_that_was_restored_or_copied_meanwhile_is_swept_by_itself(node: Node) -> None:
    """The forwarder notices that the log lacks facts of the list: rows and contacts of a dump go again, by any clock."""
    ahead = datetime.now(ZONE).replace(tzinfo=None, microsecond=0) + timedelta(hours=7)
    put(node, "uis", "rec", end("1"))
    write(node, Contacts, id=5, client_number=PERSON, client_name="Пётр", updated_at=ahead)
    node.forward()
    kept = {table: rows(node, table) for table in (Calls, CallEvents, Contacts)}
    flask(node, "forget", PERSON, "--yes")
    facts = rows(node, ForgottenList)
    assert {fact["kind"] for fact in facts} == {"number", "call", "contact", "done"}
    db = database.open_database(node.settings.database_url)
    for gone in (len(facts), 1):  # all of the list, or only that its sweep was over
        with db.connection_context():
            for table, there in kept.items():
                table.insert_many(there).execute(db)
            ForgottenList.delete().where(ForgottenList.id > len(facts) - gone).execute(db)
        node.forward()
        assert [rows(node, table) for table in kept] == [[], [], []]
        assert {fact["kind"] for fact in rows(node, ForgottenList)} == {"number", "call", "contact", "done"}
    assert [act["kind"] for act in acts(node)] == ["forget", "again", "again"]


def test_an_older_release_goes_by_the_list_of_each_node(node: Node, beside: Node) -> None:
    """Of a node that was down while another forgot somebody, too: the way back takes the list over."""
    put(node, "uis", "in", ring("1"))
    node.forward()
    flask(node, "forget", PERSON, "--yes")
    flask(beside, "db", "downgrade", "0.1.0")
    assert beside.forwarder.forgotten.when_client(PERSON) == node.forwarder.forgotten.when_client(PERSON) > 0
    assert beside.forwarder.forgotten.when_call("uis", "1") > 0
    flask(beside, "db", "upgrade")
    assert {fact["kind"] for fact in rows(node, ForgottenList)} == {"number", "call", "done"}


def test_lists_are_beside_the_backups_at_once_and_what_was_killed_is_swept(node: Node, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    put(node, "uis", "in", ring("1"))
    node.forward()
    flask(node, "backup", str(copies))
    (older,) = copies.iterdir()
    (copies / ".20260101T000000Z.part").mkdir()
    (node.settings.inbox_dir / "restoring").mkdir()
    told = flask(node, "forget", PERSON, "--yes").output
    assert "left of a backup that was killed: it is deleted" in told
    assert "restoring, left by a restore that was killed, is deleted" in told
    assert "1 backups in" in told
    assert sorted(path.name for path in copies.iterdir()) == [older.name, "forgotten.list"]
    assert not (node.settings.inbox_dir / "restoring").exists()
    new = Node(tmp_path / "new", f"sqlite:///{tmp_path}/new.db")  # the disk is lost
    backup.restore(new.settings, new.inbox, backup.verified(older), with_inbox=True, with_calls="calls.db" in
                   backup.verified(older).manifest["files"], position=0)  # fmt: skip
    assert new.inbox.deliveries() == []
    assert [act["kind"] for act in acts(new)] == ["forget", "again"]


def test_the_number_can_be_given_where_nobody_sees_it(node: Node) -> None:
    put(node, "uis", "in", ring("1"))
    node.forward()
    assert "name a number" in flask(node, "forget", code=1).output
    assert "deleted: 1 calls" in flask(node, "forget", "-", "--yes", input=f"{SPELLINGS[4]}\n").output


# --------------------------------------------------------------------------------------------------------------- bytes


def stale(path: Path, table: str) -> None:
    """Rows deleted as by a program that overwrites nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute(f"DELETE FROM {table}")


def files(node: Node) -> list[Path]:
    return [
        path for path in (node.inbox.path, traces.log_file(database.open_database(node.settings.database_url))) if path
    ]


def test_bytes_that_deleted_rows_have_left_are_written_over(node: Node) -> None:
    for call in range(1, 30):
        put(node, "uis", "in", ring(f"{call}", comment=SPELLINGS[call % len(SPELLINGS)]))
    put(node, "uis", "in", ring("100", calling_phone_number=OTHER))
    node.forward()
    stale(node.inbox.path, "deliveries WHERE id < 30")
    if len(files(node)) > 1:
        stale(files(node)[1], "call_events WHERE call_id < 30")
    node.inbox.truncate_log()
    assert all(traces.count(path, PERSON) for path in files(node))
    done = flask(node, "forget", PERSON, "--yes").output
    assert "our own files: байтов номера нет" in done
    assert [traces.count(path, PERSON) for path in files(node)] == [0] * len(files(node))
    assert "Файлы коннектора: байтов номера нет" in flask(node, "acts").output
    assert [row["provider_call_id"] for row in rows(node, Calls)] == ["100"]
    put(node, "uis", "in", ring("101", calling_phone_number=OTHER))  # the file is still the file
    node.forward()
    assert len(rows(node, Calls)) == 2


def test_a_reader_in_the_way_is_told_and_an_id_of_the_same_digits_too(node: Node) -> None:
    put(node, "uis", "in", ring("1"))
    put(node, "uis", "in", ring("2", calling_phone_number=OTHER, visitor_id=9201119613))
    node.forward()
    with closing(sqlite3.connect(node.inbox.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM deliveries").fetchone()
        done = flask(node, "forget", PERSON, "--yes").output
        assert "не очищены: a reader holds inbox.db" in done
    assert "в идентификаторах или ссылках: inbox.db — 1" in flask(node, "forget", PERSON, "--yes").output


def test_the_service_leaves_bytes_to_the_daily_purge(node: Node, tmp_path: Path) -> None:
    put(node, "uis", "in", ring("2", calling_phone_number=OTHER))
    node.forward()
    flask(node, "forget", PERSON, "--yes")
    for call in range(10, 40):
        put(node, "uis", "in", ring(f"{call}"))
    node.forward()
    assert node.inbox.fact(traces.DUE) == "1"
    flask(node, "purge")
    assert node.inbox.fact(traces.DUE) == ""
    assert [traces.count(path, PERSON) for path in files(node)] == [0] * len(files(node))


def test_a_number_is_counted_where_it_lies_across_two_reads(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for gap in (b"", b"\xc2\xa0(", b"\0", rb"\u00a0"):
        spelled = gap.join(PERSON[at : at + 1].encode() for at in range(11))
        path.write_bytes(b"x" * (traces.CHUNK - 7) + spelled + b"." + b"1" + PERSON.encode() + b"x" * 10)
        assert traces.count(path, PERSON) == 1
