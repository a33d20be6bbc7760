"""deploy/1c runs: its modules over HTTP and ODBC against the service, with its faults and those of the base."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import models
from calllog import database
from tests.bsl.client import FOLDER, Workplace
from tests.bsl.stand import API_KEY, Stand, application
from tests.conftest import DATABASES
from tests.rig import node, odbc
from tests.rig.fixtures import fixture_calls
from tests.rig.mariadb import MariaDB
from tests.rig.service import ROOT, Service, until

CALLS = {call.name: call for call in fixture_calls()}
HISTORY, TASK, FAULTS = "РегистрСведений.АТС_ИсторияЗвонков", "Задача.АТС_Перезвонить", "РегистрСведений.АТС_Ошибки"
STAFF, FORM = "РегистрСведений.АТС_Сотрудники", "ОбщаяФорма.АТС_РабочееМесто"


@pytest.fixture(scope="module", params=DATABASES)
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One service a database, up all the time."""
    directory = tmp_path_factory.mktemp("stand")
    url = f"sqlite:///{directory}/calls.db"
    if request.param == "mysql":
        url = request.getfixturevalue("mariadb").create("stand_1c")
    made = Stand(directory, url)
    with made.up():
        yield made


@pytest.fixture(scope="module")
def sqlite_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    directory = tmp_path_factory.mktemp("stand-any")
    made = Stand(directory, f"sqlite:///{directory}/calls.db")
    with made.up():
        yield made


@pytest.fixture
def away(sqlite_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Stand:
    """A service that nobody has started yet."""
    directory = tmp_path_factory.mktemp("stand-away")
    return Stand(directory, f"sqlite:///{directory}/calls.db")


# ------------------------------------------------------------------------------------- the card while the phone rings

NOBODY = "000"
# After each notification: c a card is open, t a notice is shown and no card, - neither
CARDS = [
    ("uis/queue-parallel", {"101": "t c c - -", "102": "t - c c c", NOBODY: "t - - - -"}),
    ("uis/incoming-answered", {"102": "t c c", NOBODY: "t - -"}),
    ("uis/incoming-lost", {NOBODY: "t - -"}),
    ("uis/outgoing-answered", {"102": "c -", NOBODY: "- -"}),
    ("mgerm/beside-rec", {"102": "t - -", NOBODY: "t - -"}),
    ("hooktype/incoming-answered", {"101, 80052002651": "t c c c", NOBODY: "t - - -"}),
    ("hooktype/incoming-serial-legs", {"70052002642": "t c - - - -", "70052002651": "t - - c c c"}),
    ("mtt/parallel-legs", {"79684881033": "c c - - -", "79684881044": "- c c c c", NOBODY: "- - - - -"}),
    ("xvb/incoming-answered", {"100": "t c c", NOBODY: "t - -"}),
    ("xvb/queue-second-agent-answered", {"101": "t - - -", "102": "t t c c", NOBODY: "t t - -"}),
]


@pytest.mark.parametrize(("which", "expected"), CARDS, ids=[which for which, _ in CARDS])
def test_a_card_opens_where_it_rings_and_closes_when_another_answers(
    sqlite_stand: Stand, which: str, expected: dict[str, str]
):
    call = CALLS[which].another("1c")
    places = {ext: workplace(sqlite_stand, ext) for ext in expected}
    seen: dict[str, list[str]] = {ext: [] for ext in expected}
    for request in call.requests:
        sqlite_stand.send(request)
        for ext, place in places.items():
            place.tick()
            noticed = place.forms[0].module.variables["оповещенные"].Количество()
            seen[ext].append("c" if place.cards() else "t" if noticed else "-")
    assert {ext: " ".join(marks) for ext, marks in seen.items()} == expected


def workplace(stand: Stand, ext: str, **edits: tuple[str, str]) -> Workplace:
    """A workplace of a base of its own that has asked where the log is."""
    place = Workplace(stand.application(**edits))
    place.open(FORM, Добавочные=ext)
    assert place.tick() == [1]
    return place


def test_a_call_that_turns_shows_whose_it_is_and_a_card_that_was_closed_stays_closed(sqlite_stand: Stand):
    call = CALLS["uis/queue-parallel"].another("turns")
    place = workplace(sqlite_stand, "102")
    for number, request in enumerate(call.requests):
        sqlite_stand.send(request)
        place.tick()
        card = next((form for form in place.forms if form.name == "АТС_КарточкаЗвонка"), None)
        if number == 2:
            assert card is not None
            assert card.get("Состояние") == "Входящий звонок"
        if number == 3:
            assert card is not None
            assert card.get("Состояние") == "Разговор"
            card.Закрыть()
    assert place.cards() == []


def test_an_employee_whom_the_provider_names_by_number_is_known_after_the_upload(sqlite_stand: Stand):
    place = workplace(sqlite_stand, "204")
    application = place.application
    application.base.sql(f'INSERT INTO "{STAFF}" VALUES (?, ?, ?, ?)', ["204", "8 968 488-10-33", "", "Петров"])
    application.call("АТС_Выгрузка", "Выгрузить")
    for request in CALLS["mtt/incoming-answered"].another("by number").requests[:1]:
        sqlite_stand.send(request)
    place.tick()
    assert len(place.cards()) == 1


def test_a_notice_opens_the_card_when_it_is_pressed(sqlite_stand: Stand):
    place = workplace(sqlite_stand, "102")
    sqlite_stand.send(CALLS["uis/still-ringing"].another("pressed").requests[0])
    place.tick()
    ((_, _, action),) = place.toasts
    place.forms[0].run(action.get("Метод"), action.get("Параметр"))
    assert len(place.cards()) == 1


def test_polling_survives_the_service_its_answers_and_its_own_faults(away: Stand):
    """Away, a wrong key, no settings, a fault in the module itself: the handler is always attached again."""
    place = Workplace(away.application())
    form = place.open(FORM, Добавочные="102")
    place.tick()
    assert "не отвечает" in form.get("Предупреждение")
    base = place.application.base
    with away.up():
        assert place.tick() == [60]
        assert form.get("Предупреждение") == ""
        for constant, value, words in (("АТС_КлючAPI", "wrong", "Ключ API"), ("АТС_АдресСлужбы", "", "Не заданы")):
            kept, base.constants[constant] = base.constants[constant], value
            place.tick()
            assert words in form.get("Предупреждение")
            base.constants[constant] = kept
        base.constants["АТС_АдресСлужбы"] = "http://127.0.0.1:port"
        place.tick()
        assert form.get("Предупреждение") != ""
        base.constants["АТС_АдресСлужбы"] = away.url
        away.connector.desk._places.acquire()
        away.connector.desk._places.acquire()  # the call log does not answer: 503
        place.tick()
        away.connector.desk._places.release()
        away.connector.desk._places.release()
        place.tick()
        away.tell("in", **node.ring("77", extension_phone_number="102"))
        away.forward()
        assert place.tick() != []
    assert place.cards() == ["79201119613"]
    assert len(place.waits) == 1


def test_a_fault_of_the_server_or_of_the_client_ends_no_polling(sqlite_stand: Stand):
    broken = ("Результат.Перезвонить = ЗадачРабочегоМеста(Добавочные);", 'ВызватьИсключение "server";')
    place = workplace(sqlite_stand, "102", АТС_ВызовСервера=broken)
    assert "не удалось" in place.forms[0].get("Предупреждение")
    assert place.tick() == [60]
    assert len(place.waits) == 1
    raising = ("Позиция = Новости.Позиция;", 'ВызватьИсключение "client";')
    place = workplace(sqlite_stand, "102", АТС_РабочееМесто=raising)
    assert (place.forms[0].get("Предупреждение"), place.tick(), len(place.waits)) == ("client", [60], 1)


# ------------------------------------------------------------------------------------------------------------- tasks

Told = tuple[str, dict[str, Any]]
NOW = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None, microsecond=0)


def uis(client: int, hour: float, *, answered: bool = False, direction: str = "in", **more: Any) -> Told:
    """(route, «Завершение звонка») of a call so many hours ago."""
    started = NOW - timedelta(hours=hour)
    lengths = {"total_time_duration": 30, "talk_time_duration": 20 if answered else 0, "wait_time_duration": 10}
    fields = {
        "call_session_id": str(client * 1000 + int(hour * 10)),
        "direction": direction,
        "start_time": str(started),
        "finish_time": str(started + timedelta(seconds=30)),
        "contact_phone_number": f"7920111{client:04}",
        "virtual_phone_number": "74951234567",
        "is_lost": not answered,
        "finish_reason": "normal" if answered else "no_answer",
        **lengths,
        **more,
    }
    return "rec", fields


EXT: dict[str, Any] = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}
HIDDEN: dict[str, Any] = {"contact_phone_number": "anonymous", "calling_phone_number": "anonymous"}
DAY = [
    uis(1, 5, **EXT), uis(1, 4, **EXT), uis(1, 3, extension_phone_number="103"),
    uis(2, 5), uis(2, 4, answered=True, **EXT),
    uis(3, 5), uis(3, 4, answered=True, direction="out", **EXT),
    uis(4, 5, **EXT), uis(4, 4, direction="out", **EXT),
    uis(5, 5, answered=True, **EXT), uis(5, 4),
    uis(6, 5), uis(6, 4, answered=True, **EXT), uis(6, 3, **EXT), uis(6, 2, **EXT),
    uis(7, 5, **HIDDEN), uis(7, 4, **HIDDEN), uis(7, 3, **HIDDEN),
    uis(8, 100),
    uis(9, 5), uis(9, 5, answered=True, notification_name="late"),
    uis(10, 5, answered=True, **EXT),
]  # fmt: skip
# client -> (missed calls, who calls back) of the task that is open; every other client has none
OPEN = {1: (3, "103"), 4: (1, "102"), 5: (1, ""), 6: (2, "102")}


@pytest.mark.parametrize("portions", [1, 7, len(DAY)])
def test_a_day_of_ten_clients_leaves_just_these_tasks(stand: Stand, portions: int):
    """Whether it is read at its end or as it comes, and read again."""
    application = stand.application()
    base, before = application.base, max([row["change_no"] for row in stand_rows(stand)], default=0)
    base.constants["АТС_Позиция"] = before
    for number, (route, fields) in enumerate(DAY):
        stand.tell(route, **{**fields, "call_session_id": f"{portions}{fields['call_session_id']}"})
        stand.forward()
        if number % (len(DAY) // portions + 1) == 0:
            application.call("АТС_Чтение", "ПрочитатьИзменения")
    for _ in range(2):
        application.call("АТС_Чтение", "ПрочитатьИзменения")
        found = {
            int(task["НомерКлиента"][-4:]): (task["Пропущено"], task["Адресат"])
            for task in base.rows(TASK)
            if not task["Выполнена"] and not task["ПометкаУдаления"]
        }
        assert found == OPEN
        assert len(base.rows(HISTORY)) == 22 - 1  # the late one is of a call that is there
    assert base.rows(FAULTS) == []
    closed = [task for task in base.rows(TASK) if task["Выполнена"]]
    assert all(task["ЗакрытаЗвонком"] for task in closed)
    assert [task["Наименование"] for task in base.rows(TASK) if "anonymous" in task["Наименование"]] == []


def stand_rows(stand: Stand) -> list[dict[str, Any]]:
    return node.rows(stand.database_url, models.Calls)


def test_what_a_person_has_done_stays_done_until_the_next_missed_call(sqlite_stand: Stand):
    application, call = sqlite_stand.application(), uis(31, 5, **EXT)
    base = application.base
    base.constants["АТС_Позиция"] = max([row["change_no"] for row in stand_rows(sqlite_stand)], default=0)
    read = lambda: application.call("АТС_Чтение", "ПрочитатьИзменения")  # noqa: E731
    sqlite_stand.tell(*call[:1], **call[1])
    sqlite_stand.forward()
    read()
    base.sql(f'UPDATE "{TASK}" SET Выполнена = 1', [])
    sqlite_stand.tell("rec", **{**call[1], "notification_name": "again", "tags": "vip"})
    sqlite_stand.forward()
    read()
    assert [task["Выполнена"] for task in base.rows(TASK)] == [True]
    sqlite_stand.tell("rec", **uis(31, 1, **EXT)[1])
    sqlite_stand.forward()
    read()
    assert [(task["Выполнена"], task["Пропущено"]) for task in base.rows(TASK)] == [(True, 1), (False, 2)]
    place = Workplace(application)
    form = place.open(FORM, Добавочные="102")
    place.tick()
    assert form.get("Перезвонить") == 1
    place.press(form, "ОткрытьЗадачи")
    assert place.opened == [("Задача.АТС_Перезвонить.ФормаСписка", None)]


def test_a_call_that_turns_out_to_be_another_client_s_takes_its_task_along(sqlite_stand: Stand):
    application = sqlite_stand.application()
    base = application.base
    base.constants["АТС_Позиция"] = max([row["change_no"] for row in stand_rows(sqlite_stand)], default=0)
    first = {**uis(35, 2, **EXT)[1], "contact_phone_number": "", "calling_phone_number": "79201110035"}
    for fields in (first, {**first, "contact_phone_number": "79201110036", "notification_name": "again"}):
        sqlite_stand.tell("rec", **fields)
        sqlite_stand.forward()
        application.call("АТС_Чтение", "ПрочитатьИзменения")
    found = [(task["НомерКлиента"][-2:], task["Выполнена"]) for task in base.rows(TASK)]
    assert found == [("35", True), ("36", False)]


def test_a_call_that_never_was_leaves_the_history_and_its_task(sqlite_stand: Stand):
    made = sqlite_stand.application()
    last = max([row["change_no"] for row in stand_rows(sqlite_stand)], default=0)
    made.base.constants["АТС_Позиция"] = last
    sqlite_stand.tell("rec", **uis(37, 2, **EXT)[1])
    sqlite_stand.forward()
    made.call("АТС_Чтение", "ПрочитатьИзменения")
    assert [task["Выполнена"] for task in made.base.rows(TASK)] == [False]
    empty = dict.fromkeys(("client_number", "employee_ext", "employee_number", "direction"), "")
    db = database.open_database(sqlite_stand.database_url)
    with db.connection_context():  # as calllog/withdrawal.py leaves a call without any event
        told = {**empty, "disposition": "void", "is_missed": 0, "change_no": last + 2}
        models.Calls.update(**told).where(models.Calls.change_no == last + 1).execute(db)
        models.ChangeCounter.update(change_no=last + 2).execute(db)
    made.call("АТС_Чтение", "ПрочитатьИзменения")
    assert made.base.rows(HISTORY) == []
    assert [task["Выполнена"] for task in made.base.rows(TASK)] == [True]


def test_a_call_that_cannot_be_written_waits_and_keeps_no_other_out(sqlite_stand: Stand):
    application = sqlite_stand.application()
    base = application.base
    base.constants["АТС_Позиция"] = max([row["change_no"] for row in stand_rows(sqlite_stand)], default=0)
    for client in (41, 42, 43):
        sqlite_stand.tell("rec", **uis(client, 2)[1])
    sqlite_stand.forward()
    base.refuse = lambda table, row: "не вышло" if row.get("НомерКлиента") == "79201110042" else ""
    for _ in range(2):
        application.call("АТС_Чтение", "ПрочитатьИзменения")
    assert {row["НомерКлиента"][-2:] for row in base.rows(HISTORY)} == {"41", "43"}
    (fault,) = base.rows(FAULTS)
    assert (fault["Пояснение"], fault["Повторов"]) == ("не вышло", 2)
    base.refuse = lambda table, row: ""
    application.call("АТС_Чтение", "ПрочитатьИзменения")
    assert {row["НомерКлиента"][-2:] for row in base.rows(HISTORY)} == {"41", "42", "43"}
    assert base.rows(FAULTS) == []
    assert not base.in_transaction


def test_reading_survives_a_service_that_is_away(away: Stand):
    application = away.application()
    base = application.base
    away.tell("rec", **uis(51, 2)[1])
    away.forward()
    application.call("АТС_Чтение", "ПрочитатьИзменения")
    assert [fault["Место"] for fault in base.rows(FAULTS)] == ["Связь со службой звонков"]
    with away.up():
        base.constants["АТС_КлючAPI"] = "wrong"
        application.call("АТС_Чтение", "ПрочитатьИзменения")
        assert "Ключ API" in base.rows(FAULTS)[0]["Пояснение"]
        base.constants["АТС_КлючAPI"] = API_KEY
        application.call("АТС_Чтение", "ПрочитатьИзменения")
    assert base.rows(FAULTS) == []
    assert [row["НомерКлиента"] for row in base.rows(HISTORY)] == ["79201110051"]
    assert not any(API_KEY in text for _, _, text in base.log)


def test_kills_of_the_service_and_of_its_database_cost_no_call_and_no_workplace(tmp_path: Path):
    with (
        MariaDB(tmp_path / "mariadb") as server,
        Service(tmp_path / "service", server.create("calls"), API_KEY=API_KEY, WORKERS="1") as service,
    ):
        service.start()
        base = (made := application(service.url, service.database_url)).base
        place = Workplace(made)
        place.open(FORM, Добавочные="102")
        place.tick()
        starts: list[Callable[[], object]] = [lambda: service.start(upgrade=False), server.start]
        for number, (kill, start) in enumerate(zip((service.kill, server.kill), starts, strict=True)):
            body = node.ring(f"99{number}", contact_phone_number=f"7920111009{number}", extension_phone_number="102")
            assert service.post("/hs/UIScom/in", json.dumps(body)).ok
            kill()
            made.call("АТС_Чтение", "ПрочитатьИзменения")
            place.tick()
            assert [fault["Место"] for fault in base.rows(FAULTS)] == ["Связь со службой звонков"]
            start()

            def read(number: int = number) -> bool:
                made.call("АТС_Чтение", "ПрочитатьИзменения")
                return len(base.rows(HISTORY)) == number + 1

            def shown(number: int = number) -> bool:
                place.tick()
                return len(place.cards()) == number + 1

            until(read, "the call is read")
            until(shown, "the card is open")
        assert base.rows(FAULTS) == []


# ------------------------------------------------------------------------------------- clients, employees, the card


def fill(base: Any, names: list[tuple[str, str]], table: str = "") -> None:
    for id, (name, phone) in enumerate(names, 1):
        base.sql('INSERT INTO "Справочник.Контрагенты" VALUES (?, ?, 0, ?)', [id, name, "" if table else phone])
        if table:
            base.sql(f'INSERT INTO "Справочник.Контрагенты.{table}" VALUES (?, ?)', [id, phone])


def test_an_upload_writes_what_is_good_and_names_what_is_not(sqlite_stand: Stand):
    application = sqlite_stand.application()
    base = application.base
    fill(base, [(f"Клиент {n}", "+ " if n in (5, 1500) else f"+7 (930) 111-{n:04}") for n in range(2500)])
    for ext, id in (("102", "77"), ("103", "нет")):
        base.sql(f'INSERT INTO "{STAFF}" VALUES (?, ?, ?, ?)', [ext, "79160000102", id, "Имя"])
    application.call("АТС_Выгрузка", "Выгрузить")
    contacts = [row["client_number"] for row in node.rows(sqlite_stand.database_url, models.Contacts)]
    assert len([number for number in contacts if number.startswith("7930111")]) == 2498
    staff = {row["employee_ext"] for row in node.rows(sqlite_stand.database_url, models.Employees)}
    assert staff & {"102", "103"} == {"102"}
    faults = {fault["Место"]: fault["Пояснение"] for fault in base.rows(FAULTS)}
    assert faults["Выгрузка клиентов"].startswith("Контакт 6: поле client_number")
    assert faults["Выгрузка клиентов"].count("\n") == 1
    assert "provider_employee_id" in faults["Выгрузка сотрудников"]
    base.sql(f'DELETE FROM "{STAFF}" WHERE Добавочный = ?', ["103"])
    base.sql("UPDATE \"Справочник.Контрагенты\" SET Телефон = '' WHERE Телефон = '+ '", [])
    application.call("АТС_Выгрузка", "Выгрузить")
    assert base.rows(FAULTS) == []


@pytest.mark.parametrize("table", ["", "КонтактнаяИнформация"])
def test_a_card_knows_the_client_his_calls_and_his_recordings(sqlite_stand: Stand, table: str):
    application = sqlite_stand.application()
    base = application.base
    fill(base, [("Иванов", "8 (920) 111-00-61")], table)
    base.constants["АТС_РеквизитТелефона"] = f"{table}.НомерТелефона" if table else "Телефон"
    record = {"full_record_file_link": "https://app.uiscom.ru/media/61", "call_session_id": f"61{len(table)}"}
    sqlite_stand.tell("rec", **{**uis(61, 3, answered=True, **EXT)[1], **record})
    sqlite_stand.forward()
    application.call("АТС_Чтение", "ПрочитатьИзменения")
    place = Workplace(application)
    given = application.platform.new("Структура", "НаСервере")
    assert given is not None
    card = place.open("ОбщаяФорма.АТС_КарточкаЗвонка", given("НомерКлиента, Добавочный", "79201110061", "102"), "1")
    assert (card.get("ИмяКлиента"), card.get("Известен")) == ("Иванов", True)
    assert card.get("История").items[0].get("Итог") == "answered"
    place.press(card, "ОткрытьЗапись")
    assert place.warnings != []
    card.get("Элементы").get("История").set("ТекущиеДанные", card.get("История").items[0])
    place.press(card, "ОткрытьЗапись")
    assert place.links == ["https://app.uiscom.ru/media/61"]
    place.press(card, "ОткрытьКлиента")
    assert place.shown[0].id == 1
    place.press(card, "Позвонить")  # no provider is set up at this service
    assert len(place.warnings) == 2
    stranger = place.open("ОбщаяФорма.АТС_КарточкаЗвонка", given("НомерКлиента", "79209999999"), "2")
    assert not stranger.get("Известен")
    place.press(stranger, "СоздатьКлиента")
    assert place.opened[0][0] == "Справочник.Контрагенты.ФормаОбъекта"
    hidden = place.open("ОбщаяФорма.АТС_КарточкаЗвонка", given("НомерКлиента", "anonymous"), "3")
    assert not hidden.get("Элементы").get("Позвонить").get("Доступность")
    base.constants["АТС_СправочникКлиентов"] = "Опечатка"
    place.open("ОбщаяФорма.АТС_КарточкаЗвонка", given("НомерКлиента", "79201110061"), "4")
    assert [fault["Место"] for fault in base.rows(FAULTS)] == ["Поиск клиента по номеру"]


def test_the_settings_are_written_and_checked_in_words(sqlite_stand: Stand):
    place = Workplace(sqlite_stand.application())
    base = place.application.base
    form = place.open("ОбщаяФорма.АТС_Настройки")
    assert form.get("КлючAPI") == ""
    place.press(form, "ПроверитьСвязь")
    said = form.get("Проверка")
    assert said.startswith("Адрес и ключ верны")
    assert "Europe/Moscow" in said
    assert "ВНИМАНИЕ" not in said
    form.set("КлючAPI", "wrong")
    place.press(form, "ПроверитьСвязь")
    assert "Ключ API" in form.get("Проверка")
    assert (base.constants["АТС_КлючAPI"], form.get("КлючAPI")) == ("wrong", "")


# --------------------------------------------------------------------------------------------- the old service's register


def test_the_comparison_explains_what_only_one_of_the_two_saw(away: Stand):
    application = away.application()
    module = application.add("ЗвонкиСравнение", FOLDER / "compare.bsl")
    sessions = {n: {"call_session_id": n} for n in ("910", "911", "912", "9131415161718")}
    for session, fields in sessions.items():
        away.tell("rec", **{**uis(91, 1, direction="out" if session == "912" else "in")[1], **fields})
    away.forward()
    seen = NOW + timedelta(minutes=1)
    for number, incoming in ((910, 1), (912, 1), (187020303, 1), (914, 0)):
        for _ in range(3):  # a row a notification
            application.base.sql(
                'INSERT INTO "РегистрСведений.ИсторияЗвонков" VALUES (?, ?, ?)', [seen, number, incoming]
            )
    with away.up():
        lines = module.call("Сравнить", NOW - timedelta(hours=1), NOW + timedelta(hours=1)).items
    assert lines[0] == "Сессий в старом регистре: 4, в новом журнале: 4, в обоих: 2."
    assert {line.split(":")[0]: line.split(": ")[1][:12] for line in lines[1:]} == {
        "912": "направление ",
        "187020303": "тестовая кно",
        "914": "нет в новом ",
        "911": "нет в старом",
        "9131415161718": "сессия длинн",
    }


# -------------------------------------------------------------------------------------------------------------- ODBC


def test_the_page_s_query_of_whom_to_call_back_answers(stand: Stand):
    odbc.require()
    (query,) = re.findall(r"```sql\n(SELECT missed.*?)```", (ROOT / "docs" / "1c.md").read_text(encoding="utf-8"), re.S)
    for client, hour, answered in ((81, 5, False), (81, 4, False), (82, 5, False), (82, 4, True)):
        stand.tell("rec", **uis(client, hour, answered=answered)[1])
    stand.forward()
    connection = odbc.connect(stand.database_url)
    found = odbc.rows(connection, query.replace("2026-11-18", str((NOW - timedelta(days=3)).date())))
    times = {row["client_number"]: row["missed_count"] for row in found}
    assert (times["79201110081"], "79201110082" in times) == (2, False)


def test_the_odbc_module_reads_every_change_and_goes_on_after_a_lost_connection(stand: Stand):
    odbc.require()
    application = stand.application()
    module = application.add("ЗвонкиЖурнал", FOLDER / "odbc.bsl")
    for client in range(3):
        stand.tell("rec", **uis(70 + client, 1, answered=client == 0)[1])
    stand.forward()
    seen: dict[int, str] = {}
    position = 0
    while True:
        answer = module.call("Изменения", position)
        for row in answer.get("Звонки").items:
            seen[row.get("ИдЗвонка")] = row.get("Итог")
        position = answer.get("Позиция")
        if not answer.get("ЕстьЕще"):
            break
        application.base.outside().close()
        with pytest.raises(Exception, match="Ошибка выполнения запроса"):
            module.call("Изменения", position)
    assert seen == {row["id"]: row["disposition"] for row in stand_rows(stand)}
    assert position == max(row["change_no"] for row in stand_rows(stand))
    assert module.call("Изменения", position).get("Звонки").Количество() == 0
    application.base.outside().close()
    with pytest.raises(Exception, match="Ошибка выполнения запроса"):
        module.call("Изменения", position)
    assert module.call("Изменения", position).get("Позиция") == position
    assert module.call("СлужбаПишет") is True
