"""Property: whatever bytes come, the answer is a sentence, never our own fault; and the forwarder agrees with it."""

import json
import os
import re
import string
import time
from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from calllog import database
from calllog.fold import fold
from config import FeedSettings
from inbox.judge import recognised, understood
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.fixtures import fixture_calls
from tests.rig.node import Node

ZONE = ZoneInfo("Europe/Moscow")
SEEDS = [request.delivery() for call in fixture_calls() for request in call.requests]
BODIES = int(os.environ.get("HOSTILE_BODIES", "1400"))  # `make torture` tries a million
BATCHES = range(
    max(1, BODIES // 50_000)
)  # hypothesis remembers what it tried: a batch has its own memory, and its seed
FEEDS = {name: FeedSettings(name, timezone=ZONE) for name in schemas.feeds()}
ROUTES = sorted({(seed.feed, seed.route) for seed in SEEDS})

hostile_text = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["null", "None", "0", "{{x}}", '"', '""', "\ud83d", "\x00", "9" * 5000, "1e400", "NaN", "-1", "26.5"]
    ),
    st.sampled_from(
        [
            "²",
            "١٢٣",
            "１",
            "Ⅷ",
            "①",
            "9e9",
            "7.9E10",
            "1.0",
            "\u00a0",
            "\u200b1",
            "+",
            "<",
            "sip:",
            "%",
            "24.11.2026 10:20:30",
        ]
    ),
    st.sampled_from(
        ["0000-00-00 00:00:00", "9999-12-31 23:59:59", "2024-03-01 10:00:00.999", "=1+1", "'; DROP TABLE calls"]
    ),
)
hostile_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), hostile_text),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(hostile_text, inner, max_size=5)),
    max_leaves=12,
)


SNIPPETS = [
    b'"', b'""', b"{", b"}", b"[", b"]", b",", b":", b"{{", b"}}", b"\\", b"\x00", b"\xff", b"%", b"&",
    "²".encode(), "\u00a0".encode(), b'"{', b"--", b"json=",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Delivery:
    """A real delivery with some of its bytes cut, doubled, replaced or moved to another feed."""
    seed = draw(st.sampled_from(SEEDS))
    body = bytearray(seed.body or seed.query.encode())
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(body)))
        length = draw(st.integers(0, 20))
        what = draw(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from(SNIPPETS),
                hostile_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
            )
        )
        body[at : at + length] = what
    feed, route = draw(st.one_of(st.just((seed.feed, seed.route)), st.sampled_from(ROUTES)))
    return Delivery(feed, route, bytes(body), received_at=1_700_000_000_000)


def hold(delivery: Delivery) -> None:
    """What must be true of every delivery."""
    outcome, _ = recognised(delivery)
    again, event = understood(delivery, FEEDS)
    assert "our_fault" not in (outcome.reason, again.reason), outcome.detail or again.detail
    assert (outcome.state, outcome.reason, outcome.detail) == (again.state, again.reason, again.detail)
    if event is not None:
        payload = event.to_payload()
        assert CallEvent.from_payload(payload) == event
        assert len(payload.encode()) < 65_536  # a TEXT
        call = fold([event])
        assert call.columns["state"] in ("ringing", "talking", "ended")


@pytest.mark.parametrize("batch", BATCHES)
@settings(max_examples=BODIES // 2 // len(BATCHES), deadline=None)
@given(delivery=mutated())
def test_a_mutated_delivery_is_never_our_own_fault(batch: int, delivery: Delivery) -> None:
    hold(delivery)


@pytest.mark.parametrize("batch", BATCHES)
@settings(max_examples=BODIES // 4 // len(BATCHES), deadline=None)
@given(route=st.sampled_from(ROUTES), body=st.binary(max_size=300))
def test_any_bytes_are_never_our_own_fault(batch: int, route: tuple[str, str], body: bytes) -> None:
    hold(Delivery(*route, body, received_at=1_700_000_000_000))


@pytest.mark.parametrize("batch", BATCHES)
@settings(max_examples=BODIES // 4 // len(BATCHES), deadline=None)
@given(data=st.data())
def test_known_keys_with_any_values_are_never_our_own_fault(batch: int, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from([s for s in SEEDS if s.body[:1] == b"{"]))
    try:
        said = json.loads(seed.body)
    except ValueError:
        said = {}
    for key in data.draw(st.lists(st.sampled_from(sorted(said) or ["x"]), max_size=6)):
        said[key] = data.draw(hostile_value)
    body = json.dumps(said).encode("utf-8", "surrogatepass")
    hold(Delivery(seed.feed, seed.route, body, received_at=1_700_000_000_000))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """One node for all of them: what came before may be of the same calls."""
    directory = tmp_path_factory.mktemp("hostile")
    url = f"sqlite:///{directory}/calls.db"
    database.upgrade(url, lambda line: None)
    return Node(directory, url)


@settings(max_examples=BODIES // 100, deadline=None)
@given(deliveries=st.lists(mutated(), min_size=1, max_size=12))
def test_what_is_understood_can_be_written_and_the_rest_is_told_from_it(node: Node, deliveries: list[Delivery]) -> None:
    for delivery in deliveries:
        outcome, _ = recognised(delivery)
        node.inbox.put(delivery, outcome)
    node.forward()
    reasons = {stored.outcome.reason for stored in node.inbox.deliveries(limit=len(deliveries))}
    assert not reasons & {"our_fault", "indigestible"}


# digits to str.isdigit() or str.isdecimal(); int() takes some of them and refuses the others
DIGITS = ["²", "١٢", "１", "①", "𝟙𝟚", "1²"]


def with_other_digits() -> Iterator[tuple[bytes, Delivery]]:
    """(the letters before it, a real delivery in which one number has digits of another script)."""
    for seed in SEEDS:
        body = seed.body or seed.query.encode()
        for found in re.finditer(rb"[0-9]+", body):
            for digits in DIGITS:
                changed = body[: found.start()] + digits.encode() + body[found.end() :]
                key = re.sub(rb"[^A-Za-z_]+", b"", body[: found.start()])[-10:]
                delivery = Delivery(seed.feed, seed.route, changed, received_at=1_700_000_000_000)
                yield seed.feed.encode() + key + digits.encode(), delivery


def test_a_number_with_digits_of_another_script_is_never_our_own_fault(node: Node) -> None:
    where = dict(with_other_digits())  # once for each place
    assert len(where) > 500
    node.inbox.probe()
    for delivery in where.values():
        hold(delivery)
    for delivery in list(where.values())[:: len(DIGITS) + 1]:  # every place, with one of them
        outcome, _ = recognised(delivery)
        node.inbox.begin(delivery, outcome)
    node.inbox.probe()
    node.forward()
    dead = Counter(stored.outcome.reason for stored in node.inbox.deliveries(limit=-1))
    assert not dead.keys() & {"our_fault", "indigestible"}


LIMIT = 262_144
BOMBS = {
    "brackets": b"[" * LIMIT,
    "braces": b'{"a":' * (LIMIT // 5),
    "quotes": b'{"a":' + b'""' * (LIMIT // 2 - 10) + b"}",
    "doubled quotes that never end": b'{"a":' + b':""a' * (LIMIT // 4 - 10),
    "commas and blanks": b'{"a":1,' + b", " * (LIMIT // 2 - 10),
    "blanks after a comma": b'{"a":1,' + b" " * (LIMIT - 20) + b"x",
    "placeholders": b'{"a":' + b"{{x}}" * (LIMIT // 5 - 10),
    "open placeholders": b'{"a":' + b",{{x" * (LIMIT // 4 - 10),
    "open arrays in quotes": b'{"a":' + b',"[' * (LIMIT // 3 - 10),
    "backslashes": b'{"a":""' + b"\\" * (LIMIT - 20),
    "ampersands": b"a=1" + b"&" * (LIMIT - 10),
    "percents": b"a=" + b"%" * (LIMIT - 10),
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}",
    "one long key": b'{"' + b"k" * (LIMIT - 20) + b'":1}',
    "a long list": b'{"employee_ids":[' + b"1," * (LIMIT // 2 - 20) + b"1]}",
    "nested lists": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    "blanks that are none": b'{"a":' + "\u00a0".encode() * (LIMIT // 2 - 10),
    "escaped quotes after such a blank": "{\u00a0".encode() + b'"' + b'\\"' * (LIMIT // 2 - 10),
    "open strings of JSON": b'{"a":"' + b'{\\"a\\":' * (LIMIT // 8 - 10) + b'"}',
    "envelopes": b"{" + b",".join(b'"k%d":"{1"' % n for n in range(15_000)) + b"}",
    "form envelopes": b"&".join(b"k%d={1" % n for n in range(15_000)),
    "a raw envelope": b"json={" + b"a" * (LIMIT - 20) + b"}",
    "parts": b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 5_000,
    "headers of a part": b"--b\r\n" + b"a:b\n" * (LIMIT // 4 - 10),
    "tags": b"<" * (LIMIT - 10) + b">",
    "a long id": b'{"call_session_id":"' + b"1" * (LIMIT - 40) + b'E9"}',
    "digits and dots": b'{"call_session_id":1,"calling_phone_number":"' + b"1." * (LIMIT // 2 - 40) + b'"}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: "/".join(route))
def test_no_body_within_the_limit_costs_more_than_its_length(bomb: str, route: tuple[str, str]) -> None:
    """Linear work on 256 KiB takes tens of milliseconds here; quadratic work would take minutes."""
    assert len(BOMBS[bomb]) <= LIMIT
    began = time.process_time()
    hold(Delivery(*route, BOMBS[bomb], received_at=1_700_000_000_000))
    assert time.process_time() - began < 5


def test_the_bombs_are_tried_on_every_feed() -> None:
    assert {feed for feed, _ in ROUTES} == set(schemas.feeds())
    assert all(set(name) <= set(string.printable) for name in BOMBS)
