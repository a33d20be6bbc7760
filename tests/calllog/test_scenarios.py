"""Every fixture call, on both databases: delivered in any order and repeatedly, 1C sees its row."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from peewee import Database

import models
from calllog import database
from inbox import Outcome
from tests.rig.fixtures import FixtureCall, Tables, differences, fixture_calls, name
from tests.rig.node import Node
from tests.rig.service import Service

# Where no event carries a moment the order of posting would be the order of what happened, and an end told by silence
# comes SETTLE_SECONDS later: of these the receipts are fixed and the order of forwarding is permuted
CLOCKED = [call for call in fixture_calls() if call.settled or not call.tells_time]
POSTED = [call for call in fixture_calls() if call not in CLOCKED]
PARTS = {
    "call_legs": models.CallLegs,
    "call_recordings": models.CallRecordings,
    "call_attributes": models.CallAttributes,
}


def numbered_orders(call: FixtureCall) -> dict[str, list[int]]:
    """Numbers of the requests in the order of posting: forward, reverse, and three random orders with repeats."""
    numbers = list(range(len(call.requests)))
    chance = random.Random(call.name)
    orders = {"forward": numbers, "reverse": numbers[::-1]}
    for which in range(3):
        repeated = numbers + chance.choices(numbers, k=min(3, len(numbers)))
        orders[f"random {which}"] = chance.sample(repeated, len(repeated))
    return orders


def seen(db: Database, call_ids: list[str]) -> dict[str, Tables]:
    """The calls as 1C sees them: exactly one row each, its legs, recordings and attributes."""
    rows = _rows(db, models.Calls, models.Calls.provider_call_id.in_(call_ids))
    found: dict[str, Tables] = {row["provider_call_id"]: {"calls": row, **{part: [] for part in PARTS}} for row in rows}
    assert sorted(row["provider_call_id"] for row in rows) == sorted(call_ids)
    owners = {row["id"]: row["provider_call_id"] for row in rows}
    for part, table in PARTS.items():
        for row in _rows(db, table, table.call_id.in_(list(owners))):
            found[owners[row["call_id"]]][part].append(row)
    return found


def _rows(db: Database, table: type[models.Table], where: Any) -> list[dict[str, Any]]:
    """Rows with their moments as text."""
    return [
        {column: str(value) if hasattr(value, "isoformat") else value for column, value in row.items()}
        for row in table.select().where(where).dicts().execute(db)
    ]


def ids(tables: Tables) -> dict[tuple[str, ...], int]:
    """The id of every row, by what the row is about."""
    found: dict[tuple[str, ...], int] = {("call",): tables["calls"]["id"]}
    found |= {("leg", leg["leg_key"]): leg["id"] for leg in tables["call_legs"]}
    found |= {("recording", r["url_hash"]): r["id"] for r in tables["call_recordings"]}
    found |= {("attribute", a["name"]): a["id"] for a in tables["call_attributes"]}
    return found


def receipts(service: Service, call: FixtureCall) -> list[int]:
    """When each request was first received, in the order of the files, by the inbox's clock."""
    inbox = service.inbox
    letters = [inbox.with_event(request.event().event_key) for request in call.requests]
    assert all(stored.outcome.state == "forwarded" for repeats in letters for stored in repeats)
    return [min(stored.delivery.received_at for stored in repeats) for repeats in letters]


@pytest.mark.parametrize("call", POSTED, ids=name)
def test_in_any_order_and_with_repeats_1c_sees_the_same_call(service: Service, call: FixtureCall):
    orders = numbered_orders(call)
    told = {which: call.another(f"{which} {service.port}") for which in orders}
    first_seen: dict[str, dict[tuple[str, ...], int]] = {which: {} for which in orders}
    db = database.open_database(service.database_url)
    with db.connection_context():
        for step in range(max(map(len, orders.values()))):
            posted = [which for which, order in orders.items() if step < len(order)]
            for which in posted:
                answer = told[which].requests[orders[which][step]].send(service)
                assert answer == (200, {"status": "accepted"})
            service.settled()
            found = seen(db, [told[which].call_id for which in posted])
            for which in posted:
                for part, id in ids(found[told[which].call_id]).items():
                    assert first_seen[which].setdefault(part, id) == id, f"{which}: the id of {part} changed"
        found = seen(db, [another.call_id for another in told.values()])
    for which, another in told.items():
        tables = found[another.call_id]
        assert differences(another.expected(receipts(service, another)), tables) == [], which
        # a leg of whom an id alone was told becomes that of his number, once an event ties the two
        gone = first_seen[which].keys() - ids(tables).keys()
        assert ids(tables).items() <= first_seen[which].items()
        assert all(part[0] == "leg" and len(part[1]) <= 6 for part in gone)
        assert tables["calls"]["events_count"] == len(another.requests)


def forwarding_orders(call: FixtureCall) -> dict[str, list[tuple[int, int]]]:
    """(number of the request, receipt later than its own by milliseconds) in the order of forwarding: every order of up
    to three deliveries, and random ones with repeats, which are received later and may be forwarded first."""
    indexes = range(len(call.requests))
    chance = random.Random(call.name)
    found = {
        f"order {order}": [(number, 0) for number in order]
        for order in itertools.islice(itertools.permutations(indexes), 6)
    }
    for which in range(2):
        repeated = [(number, 0) for number in indexes] + [(chance.choice(indexes), 3000 + which) for _ in range(3)]
        found[f"random {which}"] = chance.sample(repeated, len(repeated))
    return found


def test_forwarded_in_any_order_and_with_repeats_1c_sees_the_same_calls(tmp_path: Path, database_url: str):
    """An end by silence comes whenever nothing waits, so also before the other events of the call are forwarded."""
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url, expire_hours=10**6)  # receipts of 2024 expire nothing
    told = {
        (call.name, which): (call.another(which), order)
        for call in CLOCKED
        for which, order in forwarding_orders(call).items()
    }
    for step in range(max(len(order) for _, order in told.values())):
        for call, order in told.values():
            if step < len(order):
                number, later = order[step]
                node.inbox.put(call.requests[number].delivery(call.receipts()[number] + later), Outcome())
        assert node.forward().dead == 0
    db = database.open_database(database_url)
    with db.connection_context():
        found = seen(db, [call.call_id for call, _ in told.values()])
    wrong = {}
    for about, (call, _) in told.items():
        # a repeat is received later and moves no moment
        wrong[about] = differences(call.expected(call.receipts()), found[call.call_id])
        assert found[call.call_id]["calls"]["events_count"] == len(call.requests) + call.settled
    assert {about: lines for about, lines in wrong.items() if lines} == {}
