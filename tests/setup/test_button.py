"""The test button of UIS is judged like a real event: what its owner is answered for each thing that he may have wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from calllog import database
from inbox import IGNORED
from schemas.uis import SAMPLE_CALL_ID
from setup import uis
from tests.rig.node import Node

BY_NAME = {one.name: one for one in uis.NOTIFICATIONS}
SAMPLES: dict[str, Any] = {
    "call_session_id": int(SAMPLE_CALL_ID),
    "direction": "in",
    "calling_phone_number": 79260000001,
    "start_time": "2016-04-21 10:30:00",
    "employee_ids": [1, 2],
    "is_lost": False,
    "total_time_duration": 60,
}


def pressed(template: str, notification: str = "", **samples: Any) -> str:
    """The template as the test button renders it: samples for what the event offers, else the placeholder as it stands."""
    offered = BY_NAME[notification or "Завершение звонка"].keys
    values = {**dict.fromkeys(offered, "образец"), "notification_name": notification, "notification_mnemonic": ""}
    values |= {key: value for key, value in SAMPLES.items() if key in offered} | samples

    def value(found: re.Match[str]) -> str:
        return json.dumps(values[found[1]], ensure_ascii=False) if found[1] in values else found[0]

    return re.sub(r"\{\{(\w+)\}\}", value, template)


class Account:
    """The account page of a person who sets notifications up, before a connector."""

    def __init__(self, directory: Path) -> None:
        database.upgrade(f"sqlite:///{directory}/calls.db", lambda line: None)
        self.node = Node(
            directory, f"sqlite:///{directory}/calls.db", operator_password="p", public_url="https://pbx.example.ru"
        )
        self.client = create_app(self.node.settings).test_client()

    def press(self, route: str, body: str) -> str:
        """What the test button shows."""
        answer = self.client.post(f"/hs/UIScom/{route}", data=body.encode(), content_type="application/json")
        assert (answer.status_code, answer.get_json()["status"]) == (200, IGNORED)
        return str(answer.get_json()["reason"])


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_what_is_right_is_called_right(account: Account) -> None:
    for one in uis.NOTIFICATIONS:
        there = f"{len(one.keys)} из {len(one.keys)}"
        sentence = f"Тест UIS получен, «{one.name}»: всё на месте, {there}, адрес верный."
        assert account.press(one.route, pressed(one.template, one.name)) == sentence
        renamed = pressed(one.template, one.name, notification_name="Моё название")
        assert account.press(one.route, renamed) == sentence
    first = account.client.get("/inbox/1", auth=("", "p")).text
    assert "Тест: всё верно" in first
    assert "Сейчас коннектор понимает его иначе" not in first


END = BY_NAME["Завершение звонка"]
WRONG = {
    "another event's address": ("in", ("", ""), {}, "адрес не для этого события, нужен …/hs/UIScom/rec?key=<тот же ключ>"),
    "keys left out": ("rec", ('"finish_reason":{{finish_reason}},\n', ""), {}, "не хватает: finish_reason"),
    "a misspelt placeholder": (
        "rec", ("{{direction}}", "{{direktion}}"), {},
        'такого плейсхолдера у UIS нет, должно быть: "direction":{{direction}}',
    ),
    "another event's placeholder": (
        "rec", ('"is_lost"', '"file_link":{{file_link}},\n"is_lost"'), {},
        'UIS не подставил, строки не для этого события: "file_link"',
    ),
    "quotes": (
        "rec", ("{{direction}}", '"{{direction}}"'), {},
        'лишние кавычки вокруг {{…}}, уберите их в строках: "direction":{{direction}}',
    ),
    "another event type": (
        "rec", ("", ""), {"notification_mnemonic": "lost_call"}, "нужен …/hs/UIScom/in?key=<тот же ключ>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, account: Account) -> None:
    route, edit, samples, named = WRONG[case]
    template = END.template.replace(*edit) if edit[0] else END.template
    answer = account.press(route, pressed(template, END.name, **samples))
    assert "Исправьте: " in answer
    assert named in answer
    assert "Тест: исправьте настройку" in account.client.get("/inbox/1", auth=("", "p")).text
    assert answer in account.client.get("/inbox/1", auth=("", "p")).get_data(as_text=True).replace(
        "&#34;", '"'
    ).replace("&lt;", "<").replace("&gt;", ">")


def test_a_template_of_one_key_is_told_what_it_lacks(account: Account) -> None:
    answer = account.press("rec", '{"call_session_id":187020303}')
    assert "полей 1 из " in answer
    assert "direction" in answer.partition("не хватает: ")[2]


def test_a_test_is_judged_the_same_after_a_replay(account: Account) -> None:
    answer = account.press("in", pressed(END.template, END.name))
    assert account.node.inbox.replay([1]) == 1
    account.node.forward()
    stored = account.node.inbox.delivery(1)
    assert stored is not None
    assert (stored.outcome.reason, stored.outcome.detail) == ("test_wrong", answer)
