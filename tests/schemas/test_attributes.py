"""Attributes: what a delivery says and no column has reaches call_attributes, under one name, bounded; no secret does."""

import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

import schemas
from calllog import database
from calllog.fold import fold
from models import CallAttributes, CallEvents, Calls
from schemas.attributes import MOST_BYTES, snake
from schemas.event import MOST_ATTRIBUTES, CallEvent
from schemas.reading import Delivery
from tests.rig.node import Node, end, ring, rows

ZONE = ZoneInfo("Europe/Moscow")


def event(feed: str, route: str, fields: dict[str, Any], received_at: int = 0, form: bool = False) -> CallEvent:
    body = urlencode(fields) if form else json.dumps(fields, ensure_ascii=False)
    return schemas.understand(Delivery(feed, route, body.encode(), received_at=received_at), ZONE)


def of_uis(**fields: Any) -> dict[str, str]:
    """The attributes of a UIS notification with these keys beside the usual ones."""
    return dict(event("uis", "in", {**ring("1"), **fields}).attributes)


# The document of the Mgerm module (seed 000) names twenty-seven keys; these had no column.
WITHOUT_A_COLUMN = {
    "attributes": (["первичный", "опт"], "первичный,опт"),
    "communication_id": (301245690, "301245690"),
    "communication_type": ("call", "call"),
    "contact_group_ids": ([12, 15], "12,15"),
    "cpn_region_id": (1, "1"),
    "cpn_region_name": ("Москва и Московская область", "Москва и Московская область"),
    "notification_mnemonic": ("call_session_finished", "call_session_finished"),
    "scenario_id": (90321, "90321"),
    "tp_project": ("Летняя акция", "Летняя акция"),
    "visitor_country": ("Россия", "Россия"),
}


@pytest.mark.parametrize("underscores", [True, False])
def test_every_key_of_the_mgerm_document_reaches_a_table(underscores: bool) -> None:
    sent = {name: value for name, (value, _) in WITHOUT_A_COLUMN.items()} | {"call_session_id": 1, "app_id": 4471}
    if not underscores:
        sent = {name.replace("_", ""): value for name, value in sent.items()}
    told = event("mgerm", "ended", sent)
    assert dict(told.attributes) == {name: content for name, (_, content) in WITHOUT_A_COLUMN.items()}
    assert told.account == "4471"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("visitorCountry", "visitor_country"),
        ("Visitor Country", "visitor_country"),
        ("visitor-country", "visitor_country"),
        ("VISITOR_COUNTRY", "visitor_country"),
        ("UTMSource", "utm_source"),
        ("Регион клиента", "регион_клиента"),
        ("регионКлиента", "регион_клиента"),
        ("__x__", "x"),
        ("k" * 200, "k" * 64),
    ],
)
def test_a_name_is_the_providers_own_in_snake_case(key: str, name: str) -> None:
    assert snake(key) == name


def test_a_nested_key_has_its_parents_name_and_lists_are_joined() -> None:
    assert of_uis(
        tags=[{"tag_name": "vip"}, {"tag_name": "опт"}], visitor={"id": 7, "utm": {"source": "ya"}}, ids=[1, [2, 3]]
    ) == {"ids": "1,2,3", "tags_tag_name": "vip,опт", "visitor_id": "7", "visitor_utm_source": "ya"}


def test_what_has_a_column_and_what_says_nothing_is_no_attribute() -> None:
    said = of_uis(contact={"id": 5}, tags=[], region="", city=None, country="{{visitor_country}}", zone="  ")
    assert said == {}
    assert event("uis", "rec", end("1", employee_ids=[1, 2], wav_call_records=["a" * 32])).attributes == ()


def test_an_inner_value_that_the_outer_one_hides_is_kept() -> None:
    assert of_uis(first={"direction": "out"}, same={"direction": "in"}) == {"first_direction": "out"}


@pytest.mark.parametrize(
    "key", ["key", "token", "crm_token", "apiKey", "Access-Key", "password", "client_secret", "Authorization"]
)
def test_no_secret_is_an_attribute(key: str) -> None:
    assert of_uis(**{key: "opens the door", "nested": {key: "opens the door"}}) == {}


def test_xvb_keeps_its_relatives_keys_and_not_their_token() -> None:
    fields = {
        "cmd": "event",
        "event": "INCOMING",
        "callid": "x1",
        "type": "in",
        "phone": "79201119613",
        "access_code": "1",
    }
    told = event("xvb", "crm-api", fields | {"crm_token": "no", "groupRealName": "Продажи"}, form=True)
    assert told.attributes == (("group_real_name", "Продажи"),)


def test_mtt_and_hooktype_lose_nothing_either() -> None:
    data = "event=o_79684881033_2019-05-23-15-15-19"
    mtt = event("mtt", "events", {"h323_conf_id": "BC5F2320", "data": data, "client_id": "1235", "extension": "0004"})
    assert mtt.attributes == (("client_id", "1235"), ("extension", "0004"))
    sent = {"HookType": "CreateIncCall", "SessionID": "1", "Redirecting": "84950665310", "City": "Тула"}
    hook = event("hooktype", "hooktype", sent)
    assert (hook.redirected_from, hook.attributes) == ("74950665310", (("city", "Тула"),))


# ------------------------------------------------------------------------------------------------------------ the bounds


def test_an_event_has_a_bounded_number_of_them_the_first_by_name() -> None:
    said = of_uis(**{f"k{number:03d}": number for number in reversed(range(300))})
    assert list(said) == [f"k{number:03d}" for number in range(MOST_ATTRIBUTES)]


def test_contents_are_cut_and_a_list_ends_with_a_whole_item() -> None:
    said = of_uis(long="я" * 5000, many=[f"item {number}" for number in range(500)])
    assert said["long"] == "я" * 1024
    assert len(said["many"]) <= 1024
    assert said["many"].split(",")[-1].startswith("item ")
    assert said["many"].endswith(str(len(said["many"].split(",")) - 1))


def test_the_worst_delivery_fits_its_row_on_both_databases(database_url: str, tmp_path: Path) -> None:
    """A payload is a TEXT of 65,535 bytes; beside the attributes it may have thirty links."""
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url)
    links = [f"https://app.uiscom.ru/{number:02d}/" + "r" * 990 for number in range(40)]
    node.deliver(
        "rec", None, **end("1", **{f"{n:02d}" + "ж" * 70: '😀"' * 2000 for n in range(99)}, wav_call_records=links)
    )
    assert node.forward().forwarded == 1
    kept = rows(database_url, CallAttributes)
    assert 0 < sum(len(row["content"].encode()) for row in kept) <= MOST_BYTES
    (stored,) = rows(database_url, CallEvents)
    assert len(stored["payload"].encode()) < 65_535


def test_whatever_the_order_a_call_has_the_same_sixty_four() -> None:
    """Three notifications with forty names each of ninety; the last content that says anything wins."""
    told = [
        event("uis", "in", ring("1", **{f"a{n:02d}": f"ring {n}" for n in range(40)}), 1),
        event(
            "uis", "in", ring("1", employee_phone_number="79161112233", **{f"a{n:02d}": n for n in range(30, 70)}), 2
        ),
        event("uis", "rec", end("1", **{f"a{n:02d}": f"end {n}" for n in range(50, 90)}), 3),
    ]
    found = [fold(order).attributes for order in itertools.permutations(told)]
    assert all(one == found[0] for one in found)
    assert list(found[0]) == [f"a{n:02d}" for n in range(MOST_ATTRIBUTES)]
    assert [found[0][name]["content"] for name in ("a00", "a35", "a55")] == ["ring 0", "35", "end 55"]


# ------------------------------------------------------------------------------------------------------------- the table


def test_rows_are_written_in_place_and_move_change_no(database_url: str, tmp_path: Path) -> None:
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url)
    node.deliver("in", **ring("1"), region="Тула", Region2="x", empty="")
    node.forward()
    before = {row["name"]: row["id"] for row in rows(database_url, CallAttributes)}
    assert before.keys() == {"region", "region2"}
    node.deliver("rec", **end("1"), region="Тула 🎄", campaign="Лето")
    node.forward()
    after = {row["name"]: (row["id"], row["content"]) for row in rows(database_url, CallAttributes)}
    assert {name: content for name, (_, content) in after.items()} == {
        "campaign": "Лето", "region": "Тула 🎄", "region2": "x"
    }  # fmt: skip
    assert {name: id for name, (id, _) in after.items() if name in before} == before


def test_a_change_of_the_parts_alone_moves_change_no(tmp_path: Path) -> None:
    """A rebuild that gives old calls their attributes is seen by whoever follows change_no."""
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    node.deliver("in", **ring("1"), region="Тула")
    node.forward()
    db = database.open_database(url)
    with db.connection_context():
        CallAttributes.delete().execute(db)
    node.deliver("in", **ring("1"), region="Тула")  # a repeat: the row is as it was
    node.forward()
    assert [row["content"] for row in rows(url, CallAttributes)] == ["Тула"]
    assert [row["change_no"] for row in rows(url, Calls)] == [2]
