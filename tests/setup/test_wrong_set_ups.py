"""The ten set-ups that people get wrong: what each is answered, and what «Настройка» says of it."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import schemas
from app import create_app
from calllog import database
from config import FeedSettings, Settings
from inbox import Inbox
from setup import uis
from tests.rig.service import until
from tests.setup.test_doctor import rendered, values

BY_NAME = {one.name: one for one in uis.NOTIFICATIONS}
END = BY_NAME["Завершение звонка"].template
KEY, OTHER = "uis-key-of-this-test", "mtt-key-of-this-test"


class Account:
    """The account page of whoever sets UIS up, and the browser of whoever looks at «Настройка»."""

    def __init__(self, directory: Path) -> None:
        keys = {name: (f"{name}-key-of-this-test",) for name in schemas.feeds()}
        feeds = {name: FeedSettings(name, keys=given) for name, given in keys.items()}
        url = f"sqlite:///{directory}/calls.db"
        database.upgrade(url, lambda line: None)
        settings = Settings(
            data_dir=directory,
            database_url=url,
            feeds=feeds,
            operator_password="p",
            public_url="https://pbx.example.ru",
        )
        app = create_app(settings)
        self.client = app.test_client()
        self.inbox: Inbox = app.extensions["connector"].inbox

    def send(self, template: str, address: str = f"/hs/UIScom/rec?key={KEY}", method: str = "POST") -> tuple[int, str]:
        """(status, text) of the answer to a call's end as UIS renders this template."""
        body = rendered(template, values(notification_name="Завершение звонка")) if template else ""
        answer = self.client.open(address, method=method, data=body.encode(), content_type="application/json")
        return answer.status_code, json.dumps(answer.get_json(), ensure_ascii=False) if answer.is_json else answer.text

    def refused(self, reason: str) -> None:
        """Wait until a refusal that is only counted is counted."""
        until(lambda: any(row[2] == reason for row in self.inbox.counters()), f"{reason} is counted")

    def page(self) -> str:
        """What «Настройка» says."""
        return html.unescape(self.client.get("/setup?feed=uis", auth=("", "p")).get_data(as_text=True))


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


class Wrong(NamedTuple):
    """A set-up: what is sent, what is answered (status, a part of it), what the page says; reason of a counted refusal."""

    send: Callable[[Account], tuple[int, str]]
    status: int
    answer: str
    page: tuple[str, ...]
    counted: str = ""


def posted(template: str = END, **more: Any) -> Callable[[Account], tuple[int, str]]:
    return lambda account: account.send(template, **more)


WRONG = {
    "a template that is not filled in": Wrong(
        lambda account: (
            (answer := account.client.post(f"/hs/UIScom/rec?key={KEY}", data=END.encode())).status_code, answer.text
        ),
        422, "call_session_id", ("Шаблон не подставлен", END),
    ),
    "a wrong URL": Wrong(
        posted(address=f"/buh/hs/UIScom/recc?key={KEY}"), 404, "Ближайший — …/hs/UIScom/rec",
        ("похожий, но не наш адрес", "/buh/hs/UIScom/recc", "Ближайший — …/hs/UIScom/rec"), "unknown_path",
    ),
    "a misspelt placeholder": Wrong(
        posted(END.replace("{{direction}}", '"{{ direktion }}"')), 200, "accepted",
        ("Плейсхолдер, которого нет", '"direction":{{direction}}', END),
    ),
    "a template of one key": Wrong(
        posted('{"call_session_id":187020303}'), 200, "не хватает: ", ("Тест кнопкой — ", "Завершение звонка"),
    ),
    "another event's address": Wrong(
        posted(address=f"/hs/UIScom/in?key={KEY}"), 200, "accepted", ("Чужой адрес", f"https://pbx.example.ru/hs/UIScom/rec?key={KEY}"),
    ),
    "GET with the key alone": Wrong(
        posted("", method="GET"), 200, "Ключ верный", ("GET без полей звонка", "выберите POST"), "get_alone",
    ),
    "another feed's key": Wrong(
        posted(address=f"/hs/UIScom/rec?key={OTHER}"), 401, "Ключ в адресе — от потока mtt, а адрес — потока uis",
        ("ключ другого потока",), "other_feeds_key",
    ),
    "blanks round the key": Wrong(
        posted(address=f"/hs/UIScom/rec?key=%20{KEY}%20"), 401, "Вокруг ключа в адресе пробелы: уберите их",
        ("пробелы вокруг ключа",), "blanks_in_key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_set_up_is_named_in_the_answer_and_on_the_page(case: str, account: Account) -> None:
    wrong = WRONG[case]
    status, answer = wrong.send(account)
    assert status == wrong.status
    assert wrong.answer in answer
    if wrong.counted:
        account.refused(wrong.counted)
    page = account.page()
    for text in wrong.page:
        assert text in page


@pytest.mark.parametrize(
    "address", ["/hs/UIScom/rec/", "/hs/uiscom/REC", "/buh//hs/UIScom/rec", "/Buh/HS/uiscom/Rec/", "/hs/UIScom/rec//"]
)
def test_a_slash_at_the_end_and_another_case_are_taken(address: str, account: Account) -> None:
    status, answer = account.send(END, f"{address}?key={KEY}")
    assert (status, json.loads(answer)) == (200, {"status": "accepted"})
    (stored,) = account.inbox.deliveries()
    assert (stored.delivery.feed, stored.delivery.route) == ("uis", "rec")
    assert "Чужой адрес" not in account.page()
    assert account.send(END, f"{address}?key=wrong")[0] == 401


@pytest.mark.parametrize("path", ["/", "/wp-login.php", "/.env", "/api", "/hs", "/hook", "/" + "x" * 5000, "/a/b/c/d"])
def test_what_is_like_no_address_is_not_counted(path: str, account: Account) -> None:
    near = account.client.application.extensions["near"]
    assert near.nearest(path) is None
    assert near.route(path, "POST") is None


def test_a_browser_that_looks_at_the_address_is_no_wrong_set_up(account: Account) -> None:
    answer = account.client.get(f"/hs/UIScom/rec?key={KEY}", headers={"Accept": "text/html,*/*"})
    assert "Ключ верный" in answer.text
    account.send("", method="GET")
    account.refused("get_alone")
    assert [row[3] for row in account.inbox.counters() if row[2] == "get_alone"] == [1]


@pytest.mark.parametrize("feed", schemas.feeds())
def test_the_page_has_all_that_feeds_show_prints(feed: str, account: Account) -> None:
    page = html.unescape(account.client.get(f"/setup?feed={feed}", auth=("", "p")).get_data(as_text=True))
    key = f"{feed}-key-of-this-test"
    assert f"https://pbx.example.ru{schemas.feeds()[feed].address.format('in')}?key={key}" in page
    if feed == "uis":
        for one in uis.NOTIFICATIONS:
            assert one.template in page
    assert "ещё не приходило" in page or feed == "mgerm"
    assert account.client.get("/setup?feed=none", auth=("", "p")).status_code == 404
    assert account.client.get("/setup").status_code == 401


def test_an_event_type_that_comes_has_its_lamp(account: Account) -> None:
    for _ in range(3):
        account.send(END)
    page = account.page()
    assert "приходит</span> <b>Завершение звонка</b>" in page
    assert "ещё не приходило</span> <b>Входящий звонок</b>" in page
    assert "за сутки 3" in page
