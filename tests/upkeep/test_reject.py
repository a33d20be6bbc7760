"""pbx-connector inbox reject: what a liar sent by a leaked key is gone, as if the provider alone had posted."""

import html
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests

from calllog import batch, bounds, database
from inbox import DEAD, FORWARDED, LATE_CHANGE, RECEIVED, REJECTED, TROUBLE, Outcome, Stored, Suspects, now
from inbox.judge import DAY, recognised
from models import CallEvents, Calls, Table
from schemas.event import SETTLED, SILENCES
from schemas.reading import Delivery
from tests.rig.fixtures import FixtureCall, Request, fixture_calls
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import Service, until
from upkeep import reject
from upkeep.acts import records
from upkeep.rebuild import rebuild

PROVIDER, LIAR, PASSWORD = "the-providers:key", "the-leaked:key", "operator-password"
ANOTHER = "a-second-leaked:key"
FEEDS = ("uis", "mtt")
WHOLE_PERIOD = ("--since", "2020-01-01", "--until", "2090-01-01")
OWN = {"id", "call_id", "change_no", "updated_at", "node"}  # what may differ
SETTLES = 60  # seconds


def hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:8]


def told(url: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The call log but for void calls, ids, change_no and silences that were broken: a call's rows by table and call."""
    calls = {row["id"]: row for row in rows(url, Calls)}
    ids = {id: (row["provider"], row["provider_call_id"]) for id, row in calls.items() if row["disposition"] != "void"}
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    tables: list[type[Table]] = [Calls, *batch.PARTS, CallEvents]
    for table in tables:
        for row in rows(url, table):
            id = row["id"] if table is Calls else row["call_id"]
            kept = {name: value for name, value in row.items() if name not in OWN}
            broken = row.get("kind") in SILENCES and row["received_at"] < calls[id]["last_event_at"]
            if (id in ids or table is not Calls) and not broken:  # a part of a void call is an error
                found.setdefault((table.__name__, *ids.get(id, ("void", id))), []).append(kept)
    return {key: sorted(parts, key=repr) for key, parts in found.items()}


def void(url: str) -> list[dict[str, Any]]:
    return [row for row in rows(url, Calls) if row["disposition"] == "void"]


def node_at(directory: Path, url: str = "") -> Node:
    url = url or f"sqlite:///{directory}/calls.db"
    directory.mkdir(parents=True, exist_ok=True)
    database.upgrade(url, lambda line: None)
    return Node(directory, url, settle_seconds=SETTLES)


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Iterator[Node]:
    node = node_at(tmp_path / "data", database_url)
    yield node
    node.forwarder.close()


def take_out(node: Node, feed: str = "uis", key: str = LIAR) -> Counter[str]:
    """What the command does."""
    suspects, gone = Suspects(feed, 0, now(), key_hash=hashed(key)), Counter[str]()
    db = database.open_database(node.settings.database_url)
    with db.connection_context(), reject.record(node.settings, node.inbox, suspects, reject.WHY) as record:
        for counts in reject.reject(db, node.inbox, node.settings, suspects, record):
            gone.update(counts)
    return gone


def deliver(node: Node, key: str, route: str, received_at: int | None = None, **said: Any) -> Delivery:
    at = now() if received_at is None else received_at
    delivery = Delivery("uis", route, json.dumps(said).encode(), received_at=at, key_hash=hashed(key))
    node.inbox.put(delivery, Outcome())
    return delivery


def told_by_provider(directory: Path, node: Node) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The call log of a node to which only the provider's deliveries came, at the same moments."""
    other = node_at(directory)
    for stored in node.inbox.deliveries(limit=-1)[::-1]:
        if stored.delivery.key_hash == hashed(PROVIDER):
            other.inbox.put(replace(stored.delivery, id=0), recognised(stored.delivery)[0])
    other.forward()
    other.forwarder.close()
    return told(other.settings.database_url)


def lies(calls: list[FixtureCall], chance: random.Random) -> list[Request]:
    """Of calls that there are the very bytes, and what other calls were told of; calls that there never were."""
    found = []
    for call in calls:
        found += [chance.choice(call.requests) for _ in range(2)]
        found += call.another("never").requests
        for request in chance.choice(calls).requests:
            with suppress(AssertionError):  # an id that does not fit where the other stands
                found.append(
                    request.with_call_id(next(c for c in calls if request in c.requests).call_id, call.call_id)
                )
    return found


def test_after_a_reject_the_call_log_is_what_the_provider_alone_has_told(node: Node, tmp_path: Path):
    chance, posts = random.Random(13), list[tuple[Request, str]]()
    for feed in FEEDS:
        calls = [call for call in fixture_calls() if {request.feed for request in call.requests} == {feed}][:25]
        posts += [(request, PROVIDER) for call in calls for request in call.requests]
        posts += [(request, LIAR) for request in lies(calls, chance)]
    chance.shuffle(posts)
    began, url = now() - len(posts) * 10_000, node.settings.database_url
    for number, (request, key) in enumerate(posts):
        delivery = replace(request.delivery(began + number * 10_000), key_hash=hashed(key))
        node.inbox.put(delivery, recognised(delivery)[0])
        if number % 100 == 0:
            node.forward()
    node.forward()
    honest = told_by_provider(tmp_path / "alone", node)
    assert told(url) != honest
    before, ids = max(row["change_no"] for row in node.rows()), {row["id"] for row in node.rows()}
    for feed in FEEDS:
        take_out(node, feed)
    node.forward()
    assert told(url) == honest
    assert {row["id"] for row in node.rows()} == ids
    assert void(url)
    for row in void(url):
        assert (row["state"], row["is_missed"], row["is_answered"], row["client_number"]) == ("ended", 0, 0, "")
        assert row["change_no"] > before
    node.inbox.replay([stored.delivery.id for stored in node.inbox.deliveries(limit=-1)])
    node.forward()
    db = database.open_database(url)
    with db.connection_context():
        assert list(rebuild(db, node.inbox, node.settings, since=None, feed=None, dry_run=False))
    assert told(url) == honest
    assert {stored.delivery.key_hash for stored in node.inbox.stream("mtt", 0)} == {hashed(PROVIDER)}  # for the doctor
    again = take_out(node)
    assert not any(again.values()), again


def test_what_was_too_many_for_its_call_comes_in_when_the_flood_is_rejected(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bounds, "MOST_EVENTS", 20)
    deliver(node, LIAR, "in", **ring("7"))
    for number in range(19):
        deliver(node, LIAR, "in", **ring("7", scenario_name=f"lie {number}"))
    deliver(node, PROVIDER, "in", **ring("7"))
    deliver(node, PROVIDER, "rec", **end("7"))
    assert node.forward().dead == 1
    take_out(node)
    node.forward()
    assert told(node.settings.database_url) == told_by_provider(tmp_path / "alone", node)


def test_what_is_too_much_for_one_transaction_leaves_in_several(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for number in range(12):
        deliver(node, PROVIDER, "in", **ring(f"{number}"))
        deliver(node, LIAR, "rec", **end(f"{number}", scenario_name="lie" * 1000))
    node.forward()
    monkeypatch.setattr(batch, "MOST_TEXT", 10_000)
    monkeypatch.setattr(batch, "UNMEASURED", 0)
    take_out(node)
    assert told(node.settings.database_url) == told_by_provider(tmp_path / "alone", node)


def test_an_event_that_was_written_but_not_marked_forwarded_goes_too(node: Node):
    deliver(node, LIAR, "in", **ring("7"))
    node.forward()
    with node.inbox.file.writing() as db:  # as a crash between the two leaves it
        db.execute("UPDATE deliveries SET state = ?, event_key = ''", (RECEIVED,))
    take_out(node)
    assert [row["disposition"] for row in node.rows()] == ["void"]


def test_an_event_that_another_node_has_brought_stays_and_one_that_it_brought_too_comes_back(
    node: Node, tmp_path: Path
):
    beside = node_at(tmp_path / "beside", node.settings.database_url)
    deliver(beside, PROVIDER, "in", **ring("7"))
    beside.forward()
    deliver(node, LIAR, "in", **ring("7"))
    deliver(node, LIAR, "rec", **end("7"))
    deliver(node, LIAR, "in", **ring("8"))
    node.forward()
    deliver(beside, PROVIDER, "in", **ring("8"))
    beside.forward()
    take_out(node)
    assert [(row["state"], row["events_count"]) for row in node.rows()] == [("ringing", 1), ("ended", 0)]
    take_out(beside)
    beside.forward()
    assert [(row["state"], row["events_count"]) for row in node.rows()] == [("ringing", 1), ("ringing", 1)]
    beside.forwarder.close()


def test_a_restored_call_log_is_rid_of_what_was_rejected_by_the_forwarder_itself(tmp_path: Path):
    node = node_at(tmp_path / "data")
    url, calls = node.settings.database_url, tmp_path / "data" / "calls.db"
    deliver(node, PROVIDER, "in", **ring("7"))
    deliver(node, LIAR, "rec", **end("7"))
    deliver(node, LIAR, "rec", **end("8"))
    node.forward()
    node.forwarder.close()
    shutil.copy(calls, tmp_path / "kept.db")
    take_out(node)
    after = told(url)
    reader = max(row["change_no"] for row in node.rows())
    shutil.copy(tmp_path / "kept.db", calls)
    node.forward()
    node.forwarder.close()
    assert told(url) == after
    assert [row["provider_call_id"] for row in void(url)] == ["8"]
    assert min(row["change_no"] for row in node.rows()) > reader


def test_a_restored_inbox_is_rejected_again_but_for_what_came_back_or_came_later(tmp_path: Path):
    service = Service(tmp_path / "service", UIS_KEY=f"{PROVIDER},{LIAR}")
    service.flask("db", "upgrade")

    def come(call: str, route: str, fields: dict[str, Any], key: str) -> None:
        body = json.dumps(fields).encode()
        service.inbox.put(Delivery("uis", route, body, received_at=now(), key_hash=hashed(key)), Outcome())

    for call in ("71", "72", "73"):
        come(call, "in", ring(call), LIAR)
        come(call, "rec", end(call), PROVIDER)
    service.flask("forward", "--once")
    service.flask("inbox", "reject", "--feed", "uis", *WHOLE_PERIOD, "--key", hashed(LIAR), "--yes")
    come("74", "in", ring("74"), LIAR)  # the provider has that key, too, and goes on to use it
    service.flask("forward", "--once")
    service.flask("backup", str(tmp_path / "backups"))
    (backup,) = (tmp_path / "backups").iterdir()
    third = service.deliveries()[4].delivery.id
    service.flask("inbox", "replay", str(third))
    service.flask("forward", "--once")
    before = told(service.database_url)
    after = Service(tmp_path / "after", UIS_KEY=f"{PROVIDER},{LIAR}")  # this process has the first one's files open
    shutil.copytree(service.data_dir, after.data_dir, ignore=shutil.ignore_patterns("wake"))
    done = after.flask("restore", str(backup), "--inbox", "--calls", "--yes").stdout
    after.flask("forward", "--once")
    assert told(after.database_url) == before, done
    states = [(one.outcome.state, one.outcome.reason) for one in after.deliveries()]
    good, bad = (FORWARDED, ""), (DEAD, REJECTED)
    assert states == [bad, good, bad, good, good, good, good]


def test_an_end_by_silence_that_a_lie_brought_about_goes_with_it(node: Node, tmp_path: Path):
    call = next(call for call in fixture_calls() if call.settled and call.name.startswith("mtt/"))
    at = now() - 10 * SETTLES * 1000
    honest, *rest = (request.delivery(at + 1000 * number) for number, request in enumerate(call.requests))
    node.inbox.put(replace(honest, key_hash=hashed(PROVIDER)), Outcome())
    for lie in rest:
        node.inbox.put(replace(lie, key_hash=hashed(LIAR)), Outcome())
    node.forward()
    assert SETTLED in {row["kind"] for row in node.rows(CallEvents)}
    take_out(node, "mtt")
    assert told(node.settings.database_url) == told_by_provider(tmp_path / "alone", node)
    assert len(node.rows(CallEvents)) == 1


def test_only_the_named_sender_feed_and_time_are_rejected(tmp_path: Path):
    node, at = node_at(tmp_path), now() - DAY
    wanted = Delivery("uis", "in", b"{}", received_at=at, client_address="192.0.2.7", key_hash="0123abcd")
    others = [
        replace(wanted, feed="mtt"), replace(wanted, client_address="192.0.2.8"), replace(wanted, key_hash="0123abce"),
        replace(wanted, received_at=at - 1), replace(wanted, received_at=at + 1000),
    ]  # fmt: skip
    for delivery in (wanted, *others):
        node.inbox.put(delivery, Outcome())
    suspects = Suspects("uis", at, at + 1000, "192.0.2.7", "0123abcd")
    assert node.inbox.suspects(suspects, 0, 100) == [1]
    assert [tuple(sender) for sender in node.inbox.senders(suspects)] == [("192.0.2.7", "0123abcd", RECEIVED, "", 1)]


# ------------------------------------------------------------------------------------- what people see of it, on a service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with Service(directory, UIS_KEY=f"{PROVIDER},{LIAR},{ANOTHER}", OPERATOR_PASSWORD=PASSWORD) as service:
        yield service.start()


def page(service: Service, path: str = "/", **form: str) -> requests.Response:
    """A page, or with fields what a button of it posts."""
    how: dict[str, Any] = {"auth": ("", PASSWORD), "timeout": 10, "allow_redirects": False}
    if not form:
        return requests.get(f"{service.url}{path}", **how)
    return requests.post(f"{service.url}{path}", form, headers={"Sec-Fetch-Site": "same-origin"}, **how)


def sent_by(service: Service, key: str) -> list[Stored]:
    return [one for one in service.deliveries() if one.delivery.key_hash == hashed(key)]


def rejected_ones(service: Service) -> int:
    return service.inbox.rejected_by_feed().get("uis", 0)


def test_what_was_rejected_is_nobodys_task_and_comes_back_one_by_one(service: Service):
    service.post("/hs/UIScom/in", json.dumps(ring("71")), LIAR)
    service.post("/hs/UIScom/rec", json.dumps(end("71")), LIAR)
    service.call("71", 2)
    service.settled()
    whole, there = told(service.database_url), rejected_ones(service)
    command = ("inbox", "reject", "--feed", "uis", *WHOLE_PERIOD, "--key", hashed(LIAR))
    asked = service.flask(*command).stdout
    assert hashed(LIAR) in asked
    assert "2 deliveries would be rejected, nothing is yet" in asked
    assert not [one for one in sent_by(service, LIAR) if one.outcome.reason == REJECTED]
    done = service.flask(*command, "--yes").stdout
    assert "2 deliveries rejected; 2 events left the call log, 0 calls were folded anew, 1 are void" in done
    assert "0 deliveries rejected; 0 events" in service.flask(*command, "--yes").stdout
    (row,) = service.rows(Calls, provider_call_id="71")
    assert service.flask("calls", "show", str(row["id"])).stdout
    assert "звонка не было" in page(service, f"/calls/{row['id']}").text
    service.flask("calls", "rebuild")
    service.flask("inbox", "replay", "--status", DEAD)
    metrics = requests.get(f"{service.url}/metrics", timeout=10).text
    assert 'reason="rejected"' not in metrics
    assert 'connector_deliveries_total{feed="uis",outcome="dead"} 0.0' in metrics
    assert f'connector_rejected_deliveries{{feed="uis"}} {there + 2.0}' in metrics
    acts = service.flask("acts").stdout
    assert "отклонение ложных уведомлений" in acts
    assert LIAR not in acts
    first, second = (str(one.delivery.id) for one in sent_by(service, LIAR))
    service.flask("inbox", "replay", first)
    assert page(service, "/replay", id=second, all="1").headers["Location"].endswith("replayed=0")  # they are no group
    assert page(service, "/replay", id=second).headers["Location"].endswith("replayed=1")
    until(lambda: told(service.database_url) == whole, "the call is whole again")


def test_a_button_of_the_page_rejects_what_the_page_has_shown_first(service: Service):
    service.post("/hs/UIScom/in", json.dumps(ring("91")), PROVIDER)
    service.post("/hs/UIScom/rec", json.dumps(end("91")), ANOTHER)
    service.post("/hs/UIScom/rec", json.dumps(end("92")), ANOTHER)
    service.call("91", 2)
    service.call("92")
    lie = service.deliveries()[-1].delivery.id
    (link,) = re.findall(r'href="(/reject\?[^"]+)"', page(service, f"/inbox/{lie}").text)
    shown = page(service, html.unescape(link)).text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown))
    assert fields["key"] == hashed(ANOTHER)
    assert not [one for one in sent_by(service, ANOTHER) if one.outcome.reason == REJECTED]
    foreign = requests.post(f"{service.url}/reject", fields, auth=("", PASSWORD), timeout=10)
    assert (foreign.status_code, service.inbox.asked_to_reject()) == (403, None)
    assert page(service, "/reject", **{**fields, "since": ""}).status_code == 400
    assert page(service, "/reject", **fields).status_code == 303
    done = until(service.inbox.last_rejection, "it is carried out")
    assert (done.rejected, done.call_events, done.changed, done.void) == (2, 2, 1, 1)
    assert service.call("91")["state"] == "ringing"
    assert service.call("92", 0)["disposition"] == "void"
    assert "уведомлений — 2" in page(service, html.unescape(link)).text
    assert "верните уведомление" in page(service, f"/inbox/{lie}").text
    *_, act = (act for act in records(service.data_dir / "acts") if act["kind"] == reject.REJECT)
    assert act["whole"]


def test_a_key_is_never_taken_for_its_hash_nor_a_slip_for_a_feed(service: Service):
    for options, sentence in (
        (("--feed", "uis", "--key", LIAR), "not the key itself"),
        (("--feed", "uis", "--key", "0123abc"), "not the key itself"),
        (("--feed", "uiss"), "there is no feed uiss"),
    ):
        done = service.flask("inbox", "reject", *options, *WHOLE_PERIOD, check=False)
        assert done.returncode == 1
        assert sentence in done.stderr


def test_a_change_of_a_call_that_ended_long_ago_is_told_as_such(service: Service):
    body = json.dumps(end("81", employee_phone_number="79161234567"))
    service.inbox.put(Delivery("uis", "rec", body.encode(), received_at=now() - 2 * DAY), Outcome())
    service.inbox.wake()
    service.call("81")
    metrics = requests.get(f"{service.url}/metrics", timeout=10).text
    assert "connector_late_changes_total 0.0" in metrics
    service.post("/hs/UIScom/rec", json.dumps(end("81", employee_phone_number="79990000000")), PROVIDER)
    row = service.call("81", 2)
    late = until(
        lambda: [found for found in service.inbox.counters() if found[1:3] == (TROUBLE, LATE_CHANGE)], "it is counted"
    )
    assert [(found[3], found[5]) for found in late] == [(1, str(row["id"]))]
    assert "connector_late_changes_total 1.0" in requests.get(f"{service.url}/metrics", timeout=10).text
    assert "Изменён давно завершённый звонок" in page(service, "/service").text
