"""pbx-connector feeds doctor: every wrong setting is named with where to change it, and a right one never."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import schemas
from config import FeedSettings
from inbox import Stored, now
from inbox.judge import recognised
from schemas.uis import SAMPLE_CALL_ID
from setup import doctor, uis
from tests.rig.fixtures import ZONE, FixtureCall, fixture_calls, name
from tests.rig.service import KEYS, MGERM_KEY, ROOT, UIS_KEY, Service

NUMBERS = count(5_000_000)
BY_NAME = {notification.name: notification for notification in uis.NOTIFICATIONS}
CLIENT = "79201119613"
# what a person can mend in a template; the other codes are about what is missing
TEMPLATE_KINDS = {"get", "wrong_url", "quotes", "unknown_placeholder", "foreign_placeholder", "form", "double"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("doctor")) as service:
        yield service.start()


@pytest.fixture
def service(running: Service) -> Service:
    """A service that has received nothing yet."""
    running.settled()
    running.inbox.purge(before=now() + 60_000, dead=True)
    with running.inbox.file.writing() as db:
        db.execute("DELETE FROM counters")
    return running


def values(**more: Any) -> dict[str, Any]:
    """What UIS would put in place of the placeholders, for a call that ends now."""
    here = datetime.now(ZONE)
    return {
        "notification_time": f"{here:%Y-%m-%d %H:%M:%S}",
        "app_id": 4471,
        "call_session_id": next(NUMBERS),
        "communication_id": 301245679,
        "direction": "in",
        "is_internal": False,
        "start_time": f"{here - timedelta(minutes=1):%Y-%m-%d %H:%M:%S}",
        "virtual_phone_number": "74951234567",
        "calling_phone_number": CLIENT,
        "called_phone_number": "74951234567",
        "contact_phone_number": CLIENT,
        "call_source": "va",
        "scenario_name": "Основной сценарий",
        "employee_phone_number": "79161234567",
        "extension_phone_number": "102",
        "employee_ids": [482911],
        "finish_time": f"{here:%Y-%m-%d %H:%M:%S}",
        "total_time_duration": 60,
        "wait_time_duration": 10,
        "talk_time_duration": 50,
        "finish_reason": "subscriber_disconnects",
        "is_lost": False,
        "file_link": "https://app.uiscom.ru/r/1",
        "file_duration": 50,
        "wav_call_records": ["5d41402abc4b2a76b9719d911017c592"],
        **more,
    }


def rendered(template: str, said: dict[str, Any]) -> str:
    """The template as UIS renders it: JSON in place of the placeholders, null for what there is none of."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: json.dumps(said.get(found[1]), ensure_ascii=False), template)


def post(service: Service, notification: str, edit: tuple[str, str] = ("", ""), route: str = "", **said: Any) -> None:
    """A notification of our own printed templates, edited as its owner might."""
    of = BY_NAME[notification]
    template = of.template.replace(*edit) if edit[0] else of.template
    assert template != of.template or not edit[0]
    body = rendered(template, values(notification_name=notification, **said))
    service.post(f"/buh/hs/UIScom/{route or of.route}", body, headers={"Content-Type": "application/json"})


def call(service: Service, leave_out: tuple[str, ...] = (), **said: Any) -> None:
    """All notifications of an answered call, but these."""
    said.setdefault("call_session_id", next(NUMBERS))
    out = said.get("direction") == "out"
    for notification in (
        "Исходящий звонок" if out else "Входящий звонок", "Начало разговора", "Завершение звонка", "Записанный разговор",
    ):  # fmt: skip
        if notification not in leave_out:
            post(service, notification, **said)


def findings(service: Service, feed: str = "uis", status: int = 1) -> dict[str, dict[str, Any]]:
    """Code -> the last finding with it; neither the text nor the JSON shows a body, a key or a whole number."""
    service.settled()
    done = service.flask("feeds", "doctor", feed, "--json", check=False)
    told = service.flask("feeds", "doctor", feed, check=False)
    assert (done.returncode, told.returncode) == (status, status), told.stdout + told.stderr
    for text in (done.stdout, told.stdout):
        assert CLIENT not in text
        assert not any(key in text for key in KEYS.values())
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for one in found:
        for said in ("title", "wrong", "where", *(() if one["closed"] else ("paste",))):
            assert all(line in told.stdout for line in one[said].splitlines())
        if one["delivery"]:
            assert f"pbx-connector inbox show {one['delivery']}" in told.stdout
            assert service.inbox.delivery(one["delivery"]) is not None
    return {one["code"]: one for one in found}


# ---------------------------------------------------------------------------------------------------------------- right


def test_a_right_setting_is_told_in_one_sentence(service: Service) -> None:
    for direction in ("in", "out") * 6:
        call(service, direction=direction)
    for _ in range(2):
        lost = next(NUMBERS)
        post(service, "Входящий звонок", call_session_id=lost)
        post(service, "Потерянный звонок", call_session_id=lost, lost_reason="Не дождался", talk_time_duration=0)
    post(service, "Завершение звонка", call_session_id=int(SAMPLE_CALL_ID), start_time="2016-01-01 10:00:00")
    assert findings(service, status=0) == {}
    (sentence,) = service.flask("feeds", "doctor", "uis").stdout.splitlines()
    assert re.fullmatch(
        r"Всё настроено верно: уведомлений потока uis с [\d :-]+ — 53, последнее [\d :-]+; тест кнопкой — [\d :-]+\.",
        sentence,
    )


def test_a_repeat_of_the_same_body_is_no_second_notification(service: Service) -> None:
    said = values(notification_name="Завершение звонка")
    for _ in range(3):
        service.post(
            "/hs/UIScom/rec",
            rendered(BY_NAME["Завершение звонка"].template, said),
            headers={"Content-Type": "text/json"},
        )
    assert findings(service, status=0) == {}


def letters(calls: list[FixtureCall], feed: str) -> Iterator[Stored]:
    """The fixture's deliveries of a feed, as the inbox would have them."""
    for one in calls:
        for number, (request, at) in enumerate(zip(one.requests, one.receipts(), strict=True), 1):
            if request.feed == feed:
                delivery = replace(request.delivery(at), id=number)
                yield Stored(delivery, recognised(delivery)[0], None)


# fixtures that were made of a wrong setting; every other one is right
WRONG = {
    "uis/get-method": {"get"},
    "uis/form-body": {"form"},
    "uis/one-address-mnemonics-tell": {"wrong_url"},
    "uis/no-direction-one-address": {"wrong_url"},
    "uis/quotes-doubled": {"quotes"},
    "uis/placeholders-quoted": {"quotes"},
    "uis/types-swapped": {"quotes"},
    "uis/placeholders-unrendered": {"foreign_placeholder"},
}


@pytest.mark.parametrize("fixture", fixture_calls(), ids=name)
def test_no_fixture_is_blamed_for_what_it_is_not(fixture: FixtureCall) -> None:
    for feed in {request.feed for request in fixture.requests}:
        report = doctor.examine(FeedSettings(feed, keys=("k",)), letters([fixture], feed), [], 0)
        assert {one.code for one in report.findings} & TEMPLATE_KINDS == WRONG.get(fixture.name, set())


@pytest.mark.parametrize("feed", schemas.feeds())
def test_all_right_fixtures_of_a_feed_together_are_healthy(feed: str) -> None:
    left_out = {"uis/renamed-and-keys-left-out", "uis/voice-mail-of-missed-call"}  # keys, lost_reason among them
    right = [one for one in fixture_calls() if one.name not in {*WRONG, *left_out}]
    report = doctor.examine(FeedSettings(feed, keys=("k",)), letters(right, feed), [], 0)
    assert report.total > 0
    assert [finding for finding in report.findings if not finding.note] == []


def seed_templates() -> list[tuple[str, str]]:
    """(route, template) of the public 1C configuration that the first five fixtures render, as they stand there."""
    common = ["Start_time", "notification_name", "direction", "call_session_id", "virtual_phone_number"]
    common += ["called_phone_number", "calling_phone_number", "call_source", "scenario_name"]
    employee = ["extension_phone_number", "employee_phone_number"]
    end = ["total_time_duration", "wait_time_duration", "finish_time", "finish_reason", "lost_reason", "external_id"]
    record = ["full_record_file_link", "wav_call_records"]
    keys = [
        ("in", common), ("in", common + employee), ("in", common + end), ("out", [*common, *employee, "employee_ids"]),
        ("rec", [*common, *employee, "contact_id", "employee_ids", *end, "is_lost", *record]),
    ]  # fmt: skip
    return [(r, "{\n" + ",\n".join(f'"{k}": {{{{{k.lower()}}}}}' for k in names) + "\n}") for r, names in keys]


def test_the_documents_own_templates_are_not_blamed(service: Service) -> None:
    templates = seed_templates()
    for direction, numbers in [("in", (0, 1, 2, 4)), ("out", (3, 4))] * 4:
        said = values(direction=direction, notification_name="Звонок")
        for route, template in (templates[number] for number in numbers):
            body = rendered(template, said)
            service.post(f"/hs/UIScom/{route}", body, headers={"Content-Type": "application/json"})
    assert set(findings(service)) & (TEMPLATE_KINDS | {"no_lost_reason"}) == set()


# ------------------------------------------------------------------------------------------------------- wrong templates


@pytest.mark.parametrize("key", ["direction", "employee_ids", "is_lost", "total_time_duration", "contact_id"])
def test_quotes_round_a_placeholder(key: str, service: Service) -> None:
    post(service, "Завершение звонка", (f"{{{{{key}}}}}", f'"{{{{{key}}}}}"'))
    post(service, "Завершение звонка")
    found = findings(service)["quotes"]
    assert (found["seen"], found["of"]) == (1, 2)
    assert f'"{key}":{{{{{key}}}}}' in found["where"]
    assert found["paste"] == BY_NAME["Завершение звонка"].template
    assert found["notification"] == "«Завершение звонка» (тип события «Завершение звонка», адрес …/rec)"
    assert "поле «JSON для тела запроса»: уберите кавычки" in found["where"]
    assert "вокруг {{…}}" in found["wrong"]


def test_a_placeholder_that_uis_does_not_know(service: Service) -> None:
    post(service, "Входящий звонок", ('"direction":{{direction}}', '"direction":"{{ direktion }}"'))
    post(service, "Входящий звонок", ('"scenario_name":{{scenario_name}}', '"branch":"{{ moscow }}"'))
    found = findings(service)["unknown_placeholder"]
    assert (found["seen"], found["of"]) == (2, 2)
    assert '"direction":{{direction}}, "branch"' in found["where"]
    assert found["paste"] == BY_NAME["Входящий звонок"].template


@pytest.mark.parametrize("left", ['"{{finish_reason}}"', "{{finish_reason}}", ""])
def test_a_placeholder_that_this_event_type_does_not_have(left: str, service: Service) -> None:
    post(service, "Входящий звонок", ('"call_source":{{call_source}}', f'"finish_reason":{"<left>"}'))
    body = rendered(BY_NAME["Входящий звонок"].template, values(notification_name="Новый звонок"))
    service.post("/hs/UIScom/in", body.replace('"call_source":"va"', f'"finish_reason":{left}'))
    found = findings(service)["foreign_placeholder"]
    assert (found["seen"], found["of"]) == (1, 1)
    assert "«Новый звонок»" in found["notification"]
    assert 'удалите из шаблона этого уведомления строки "finish_reason"' in found["where"]


@pytest.mark.parametrize(
    ("notification", "route", "right", "said"),
    [
        ("Входящий звонок", "rec", "in", {}),
        ("Входящий звонок", "out", "in", {}),
        (
            "Исходящий звонок",
            "in",
            "out",
            {"direction": "out", "employee_phone_number": None, "extension_phone_number": None, "employee_ids": None},
        ),
        ("Исходящий звонок", "in", "out", {"direction": "out", "start_time": None}),
        ("Исходящий звонок", "rec", "out", {"direction": "out"}),
        ("Завершение звонка", "in", "rec", {}),
        ("Записанный разговор", "out", "rec", {}),
        ("Потерянный звонок", "out", "in", {"talk_time_duration": None, "direction": "out"}),
        ("Начало разговора", "rec", "in", {"notification_mnemonic": "call_connected"}),
        ("Завершение звонка", "out", "rec", {"notification_mnemonic": "call_session_finished"}),
        ("Потерянный звонок", "rec", "in", {"notification_mnemonic": "lost_call"}),
    ],
)
def test_a_wrong_address(notification: str, route: str, right: str, said: dict[str, Any], service: Service) -> None:
    if said.get("start_time", "") is None:  # the call begins now
        said = {**said, "start_time": f"{datetime.now(ZONE):%Y-%m-%d %H:%M:%S}"}
    post(service, notification, route=route, **said)
    found = findings(service)
    assert found["wrong_url"]["paste"] == f"…/hs/UIScom/{right}?key=<тот же ключ>"
    assert f"«{notification}» (" in found["wrong_url"]["notification"]
    assert "поле «URL»" in found["wrong_url"]["where"]
    assert set(found) & TEMPLATE_KINDS == {"wrong_url"}


def test_no_lost_reason(service: Service) -> None:
    edit = ('"finish_reason":{{finish_reason}},\n"lost_reason":{{lost_reason}},\n', "")
    post(service, "Завершение звонка", edit, is_lost=True, talk_time_duration=0, wav_call_records=None)
    post(service, "Потерянный звонок", is_lost=True)
    found = findings(service)["no_lost_reason"]
    assert (found["seen"], found["of"]) == (1, 1)
    assert '"lost_reason":{{lost_reason}}' in found["where"]
    assert found["paste"] == BY_NAME["Завершение звонка"].template


def test_is_lost_and_finish_reason_tell_as_much_as_lost_reason(service: Service) -> None:
    edit = ('"lost_reason":{{lost_reason}},\n', "")
    post(service, "Завершение звонка", edit, is_lost=True, talk_time_duration=0, wav_call_records=None)
    post(service, "Потерянный звонок", edit)
    assert findings(service, status=0) == {}


def test_no_recording_link(service: Service) -> None:
    for _ in range(2):
        post(service, "Завершение звонка", ('"communication_id":{{communication_id}},\n', ""))
    found = findings(service)["no_recording_link"]
    assert (found["seen"], found["of"]) == (2, 2)
    assert found["paste"] == '"communication_id":{{communication_id}}'
    assert "«Записанный разговор»" in found["where"]


def test_get_instead_of_post(service: Service) -> None:
    query = "&".join(
        f"{k}={quote(str(v))}" for k, v in values(notification_name="По-старому").items() if isinstance(v, str)
    )
    service.get(f"/hs/UIScom/in?key={UIS_KEY}&call_session_id={next(NUMBERS)}&{query}")
    service.get(f"/hs/UIScom/in?key={UIS_KEY}&notification_name=x")
    found = findings(service)
    assert "метод" not in found["get"]["title"]
    assert "поле «Метод»: выберите POST" in found["get"]["where"]
    assert found["dead.no_call_id"]["seen"] == 1


def test_a_body_that_is_no_json_and_a_header_that_says_it_is_none(service: Service) -> None:
    body = rendered(BY_NAME["Входящий звонок"].template, values(notification_name="Звонок"))
    service.post("/hs/UIScom/in", body, headers={"Content-Type": "text/plain"})
    note = findings(service, status=0)["content_type"]
    assert (note["note"], "text/plain" in note["wrong"]) == (True, True)
    assert "Ошибок пока не видно" in service.flask("feeds", "doctor", "uis").stdout
    service.post("/hs/UIScom/in", f"call_session_id={next(NUMBERS)}&direction=in&notification_name=%D0%90")
    form = findings(service)["form"]
    assert "«А»" in form["notification"]
    assert "вставьте шаблон" in form["where"]


# --------------------------------------------------------------------------------------------------- what does not come


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("Завершение звонка", {}),
        ("Входящий звонок", {}),
        ("Исходящий звонок", {"direction": "out"}),
        ("Начало разговора", {}),
    ],
)
def test_an_event_type_never_seen(missing: str, said: dict[str, Any], service: Service) -> None:
    for _ in range(5):
        call(service, (missing,), **said)
    found = findings(service)
    assert set(found) == {"never_seen"}
    assert found["never_seen"]["wrong"].startswith(f"«{missing}» не пришло ни разу")
    assert BY_NAME[missing].template in found["never_seen"]["paste"]
    assert f"«Тип события»: {BY_NAME[missing].event_type}" in found["never_seen"]["paste"]


def test_lost_calls_and_recordings_that_are_never_told(service: Service) -> None:
    for _ in range(3):
        lost = next(NUMBERS)
        post(service, "Входящий звонок", call_session_id=lost)
        post(service, "Завершение звонка", call_session_id=lost, is_lost=True, lost_reason="x", talk_time_duration=0,
             wav_call_records=None)  # fmt: skip
    found = findings(service)
    assert set(found) == {"never_seen"}
    assert found["never_seen"]["wrong"].startswith("«Потерянный звонок»")


def test_recordings_that_no_template_asks_for(service: Service) -> None:
    keys = ('"full_record_file_link":{{full_record_file_link}},\n"wav_call_records":{{wav_call_records}}', '"x":1')
    for _ in range(3):
        said: dict[str, Any] = {"call_session_id": next(NUMBERS)}
        post(service, "Входящий звонок", **said)
        post(service, "Начало разговора", **said)
        post(service, "Завершение звонка", keys, **said)
    found = findings(service)
    assert set(found) == {"never_seen"}
    assert found["never_seen"]["wrong"].startswith("«Записанный разговор»")


def test_two_notifications_for_one_event(service: Service) -> None:
    said: dict[str, Any] = {"call_session_id": next(NUMBERS)}
    post(service, "Завершение звонка", **said)
    old = rendered('{"notification_name":{{notification_name}},"call_session_id":{{call_session_id}},"is_lost":{{is_lost}},'
                   '"total_time_duration":{{total_time_duration}},"wait_time_duration":{{wait_time_duration}},'
                   '"lost_reason":{{lost_reason}},"direction":{{direction}}}',
                   values(notification_name="Старое", **said))  # fmt: skip
    service.post("/hs/UIScom/rec", old, headers={"Content-Type": "application/json"})
    found = findings(service)["double"]
    assert "«Активно»: выключите одно из них" in found["where"]
    assert "«Старое» (тип события «Завершение звонка», адрес …/rec)" in found["paste"]
    assert "«Завершение звонка» (тип события «Завершение звонка», адрес …/rec)" in found["paste"]


def test_a_template_that_nobody_filled_in_is_one_finding(service: Service) -> None:
    """Not a missing key, not a list of lines to delete, and no event type that does not come."""
    for _ in range(5):
        call(service, ("Завершение звонка",))
        for template in (
            BY_NAME["Завершение звонка"].template,
            BY_NAME["Завершение звонка"].template.replace("{{", '"{{').replace("}}", '}}"'),
        ):
            service.post("/hs/UIScom/rec", template, headers={"Content-Type": "application/json"})
    found = findings(service)
    assert set(found) == {"unsubstituted"}
    assert found["unsubstituted"]["title"] == "Шаблон не подставлен"
    assert found["unsubstituted"]["paste"] == BY_NAME["Завершение звонка"].template


def test_letters_at_a_wrong_address_are_no_second_notification(service: Service) -> None:
    """«Входящий звонок» pointed at /rec looks like an end; «Завершение звонка» is not to be switched off for it."""
    for _ in range(4):
        said: dict[str, Any] = {"call_session_id": next(NUMBERS)}
        post(service, "Входящий звонок", route="rec", **said)
        post(service, "Завершение звонка", route="in", **said)
        post(service, "Завершение звонка", **said)
    found = findings(service)
    assert "double" not in found
    assert next(iter(found)) == "wrong_url"


def test_what_is_repaired_is_closed(service: Service) -> None:
    post(service, "Завершение звонка", ("{{direction}}", '"{{direction}}"'))
    post(service, "Завершение звонка", route="in")
    service.post("/hs/UIScom/rec", '{"notification_name":"Завершение звонка","direction":"in"}')
    open_now = findings(service)
    assert {code: one["closed"] for code, one in open_now.items()} == dict.fromkeys(open_now, False)
    for _ in range(12):
        call(service)
    found = findings(service, status=0)
    assert {code: (one["closed"], one["right"]) for code, one in found.items()} == {
        "wrong_url": (True, 12), "quotes": (True, 13), "dead.no_call_id": (True, 12), "content_type": (True, 12),
    }  # fmt: skip
    post(service, "Завершение звонка", ("{{direction}}", '"{{direction}}"'))
    assert findings(service)["quotes"]["closed"] is False


def test_a_transfer_is_no_second_notification(service: Service) -> None:
    said: dict[str, Any] = {"call_session_id": next(NUMBERS)}
    call(service, **said)
    post(service, "Начало разговора", extension_phone_number="103", **said)
    assert findings(service, status=0) == {}


@pytest.mark.parametrize(
    ("hours", "zone", "word"), [(2, "Asia/Yekaterinburg", "впереди"), (-1, "Europe/Kaliningrad", "отстаёт")]
)
def test_times_of_another_zone(hours: int, zone: str, word: str, service: Service) -> None:
    told = datetime.now(ZONE) + timedelta(hours=hours)
    for _ in range(4):
        call(service, notification_time=f"{told:%Y-%m-%d %H:%M:%S}")
    found = findings(service)["zone"]
    assert found["paste"] == f"UIS_TIMEZONE={zone}"
    assert word in found["wrong"]
    assert "UIS_TIMEZONE на сервере" in found["where"]
    assert "TIMEZONE)" in found["where"]
    assert "zone" not in service.flask("feeds", "doctor", "uis", "--json", check=False, UIS_TIMEZONE=zone).stdout


def test_refusals_are_told_by_their_sentence_without_the_body(service: Service) -> None:
    bad = f'{{"notification_name":"Сломанное","call_session_id":1,"calling_phone_number":"{CLIENT}" "direction":"in"}}'
    for _ in range(3):
        service.post("/hs/UIScom/in", bad)
    service.post("/hs/UIScom/in", '{"notification_name":"Сломанное","direction":"in"}')
    service.post("/hs/UIScom/in", f"просто текст {CLIENT}")
    found = findings(service)
    assert (found["dead.bad_json"]["seen"], found["dead.bad_json"]["of"]) == (3, 4)
    assert "перед этим полем не хватает запятой" in found["dead.bad_json"]["wrong"]
    assert "у текста «…»" in found["dead.bad_json"]["wrong"]
    assert "calling" not in found["dead.bad_json"]["wrong"]
    assert "«Сломанное»" in found["dead.bad_json"]["notification"]
    assert "call_session_id" in found["dead.no_call_id"]["wrong"]
    assert found["dead.no_call_id"]["title"] == "Отвергнуты: нет номера звонка"
    assert "начинается с «…»" in found["dead.not_json"]["wrong"]


def test_who_was_not_let_in_is_told(service: Service) -> None:
    service.post("/hs/UIScom/in", "{}", key="wrong")
    service.post("/hs/UIScom/in", "{}", key=None)

    def counted() -> bool:
        return sum(row[3] for row in service.inbox.counters() if row[1] == "refused") >= 2

    from tests.rig.service import until

    until(counted, "refusals are counted")
    found = findings(service)
    assert "Ключ в адресе неверный" in found["refused.wrong_key"]["wrong"]
    assert "pbx-connector feeds show uis" in found["refused.wrong_key"]["where"]
    assert "В адресе нет ключа" in found["refused.no_key"]["wrong"]


def test_nothing_came_and_a_closed_feed(service: Service) -> None:
    assert "«Активно», «Способы уведомлений» → HTTP" in findings(service)["nothing"]["where"]
    closed = service.flask("feeds", "doctor", "uis", check=False, UIS_KEY="")
    assert closed.returncode == 1
    assert "Ключ UIS_KEY не задан" in closed.stdout
    unknown = service.flask("feeds", "doctor", "asterisk", check=False)
    assert (unknown.returncode, "there are: hooktype" in unknown.stderr) == (1, True)


def test_what_came_before_the_days_asked_for_does_not_count(service: Service) -> None:
    post(service, "Завершение звонка", ("{{direction}}", '"{{direction}}"'))
    assert "quotes" in findings(service)
    later = f"{datetime.now(ZONE) + timedelta(seconds=5):%Y-%m-%d %H:%M:%S}"
    assert "Кавычки" not in service.flask("feeds", "doctor", "uis", "--since", later, check=False).stdout


def test_the_self_test_is_not_the_test_button(service: Service) -> None:
    service.flask("check", "--send")
    assert "nothing" in findings(service)
    assert "тестового уведомления не было" in service.flask("feeds", "doctor", "uis", check=False).stdout


# ------------------------------------------------------------------------------------------------------ the other feeds


@pytest.mark.parametrize(
    ("feed", "path", "bodies", "wrong"),
    [
        ("hooktype", "/hooktype", [{"HookType": "CreateIncCall"}] * 5, "«EndIncCall» не пришло ни разу"),
        ("hooktype", "/hooktype", [{"HookType": "EndOutCall", "ResultCode": "200"}] * 3, "«CreateOutCall» не пришло"),
        (
            "mtt",
            "/mtt/events",
            [{"event": {"type": "s"}, "redirect_number": "79000000001"}] * 3,
            "«h (Hungup)» не пришло",
        ),
        (
            "xvb",
            "/crm-api",
            [{"event": "COMPLETED", "status": "Success"}] * 3,
            "«INCOMING («Отправить оповещение о начале",
        ),
        ("xvb", "/crm-api", [{"event": "INCOMING"}] * 5, "«COMPLETED («Отправить оповещение об окончании"),
    ],
)
def test_silent_event_types_of_the_other_feeds(
    feed: str, path: str, bodies: list[dict[str, Any]], wrong: str, service: Service
) -> None:
    for number, body in enumerate(bodies):
        ids = {
            "SessionID": f"d{next(NUMBERS)}",
            "h323_conf_id": f"{next(NUMBERS)} 1 1 {number}",
            "callid": f"c{number}",
        }
        said = {**ids, "access_code": "10000", "cmd": "event", "type": "in", **body}
        assert service.post(path, json.dumps(said), key=KEYS[feed]).ok
    assert any(
        one.startswith(wrong) for one in [found["wrong"] for found in [findings(service, feed)["never_seen"]]]
    ) or (wrong in service.flask("feeds", "doctor", feed, check=False).stdout)


@pytest.mark.parametrize("feed", schemas.feeds())
def test_refusals_and_silence_of_every_feed(feed: str, service: Service) -> None:
    assert "nothing" in findings(service, feed)
    path = schemas.feeds()[feed].address.format("in")
    service.post(path, "[", key=KEYS[feed])
    found = findings(service, feed)["dead.bad_json"]
    assert (found["seen"], found["of"]) == (1, 1)
    form = schemas.feeds()[feed].form
    assert (form.body if form.template else form.url) in found["where"]


@pytest.mark.parametrize("sent", ["24/11/2026 10:20:30", "утром", "10:20:30"])
def test_a_time_that_is_not_understood_is_told(sent: str, service: Service) -> None:
    service.post("/hs/UIScom/in", json.dumps({"call_session_id": next(NUMBERS), "direction": "in", "start_time": sent}))
    found = findings(service, "uis")["unread_time"]
    assert f"start_time = «{sent}»" in found["wrong"]
    assert "«JSON для тела запроса»" in found["where"]
    hook = {"SessionID": f"d{next(NUMBERS)}", "HookType": "CreateIncCall", "StartTime": sent}
    service.post("/hooktype", json.dumps(hook), key=KEYS["hooktype"])
    assert "«Url»" in findings(service, "hooktype")["unread_time"]["where"]


@pytest.mark.parametrize("sent", ["2099-01-01 00:00:00", "01.01.2099 00:00:00", 4070908800])
def test_a_time_from_the_future_is_told(sent: str | int, service: Service) -> None:
    service.post("/hs/UIScom/in", json.dumps({"call_session_id": next(NUMBERS), "direction": "in", "start_time": sent}))
    assert "ahead" in findings(service, "uis")


def test_mgerms_template_is_looked_at_as_well(service: Service) -> None:
    template = '{"callsessionid":"{{call_session_id}}","notificationname":{{notification_name}},"externalid":<left>}'
    body = rendered(template, values(notification_name="Завершение")).replace("<left>", '"{{externalid}}"')
    service.post("/uis/call/ended", body, key=MGERM_KEY)
    found = findings(service, "mgerm")
    assert '"callsessionid":{{call_session_id}}' in found["quotes"]["where"]
    assert found["unknown_placeholder"]["paste"] == '"externalid":{{external_id}}'


def test_zones_of_hooktype(service: Service) -> None:
    told = datetime.now(ZONE) + timedelta(hours=4)
    for _ in range(4):
        said = {"HookType": "CreateIncCall", "SessionID": f"z{next(NUMBERS)}", "StartTime": f"{told:%Y-%m-%d %H:%M:%S}"}
        service.post("/hooktype", json.dumps(said), key=KEYS["hooktype"])
    assert findings(service, "hooktype")["zone"]["paste"] == "HOOKTYPE_TIMEZONE=Asia/Novosibirsk"


def test_memory_does_not_grow_with_the_letters(tmp_path: Path) -> None:
    """Names, calls and clocks of ever new kinds: what is kept stays bounded."""
    examination = doctor._Seen(FeedSettings("uis", keys=("k",)))
    fixture = next(one for one in fixture_calls() if one.name == "uis/incoming-answered")
    for number in range(3_000):
        for stored in letters([fixture], "uis"):
            body = stored.delivery.body.replace(b"2846103901", str(number).encode())
            body = body.replace("Завершение звонкак".encode(), f"Имя {number}".encode())
            examination.add(replace(stored, delivery=replace(stored.delivery, body=body)))
    assert len(examination.labels) <= doctor.MOST_LABELS + 1
    assert len(examination.calls) <= doctor.MOST_CALLS
    assert len(examination.minutes) <= 2 * doctor.FARTHEST + 1
    assert examination.report.total == 9_000


def test_the_uis_page_tells_of_the_doctor() -> None:
    assert "pbx-connector feeds doctor uis" in (ROOT / "docs" / "feeds" / "uis.md").read_text(encoding="utf-8")
