"""Click to call: what the providers are asked, what 1C is answered, and that no call is ever placed twice."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from calllog import database
from models import Calls, Employees
from tests.rig.mariadb import MariaDB
from tests.rig.node import end, ring
from tests.rig.provider import Answer, Provider, breaks_off, echoes, provider, says
from tests.rig.service import Service, free_port, until
from tests.rig.traffic import traffic

API_KEY = "test-api-key"
XVB_TOKEN = "xvb-token-5f1c"
UIS_TOKEN = "uis-token-9a7e"
LINE = "74951234567"
PLACED = {"jsonrpc": "2.0", "id": 1, "result": {"data": {"call_session_id": 237859081}}}
TEN_SECONDS = 10.5  # ten are promised, half a one is the test's own
numbers = itertools.count(1)


def new_request_id() -> str:
    """A request_id that no other test uses."""
    return f"заказ-{next(numbers)}"


def settings(there: Provider, **more: str) -> dict[str, str]:
    """The settings of click to call, pointing at the stand-in."""
    return {
        "API_KEY": API_KEY,
        "XVB_URL": f"{there.url}/commoncrm/10019",
        "XVB_TOKEN": XVB_TOKEN,
        "UIS_CALL_API_URL": f"{there.url}/v4.0",
        "UIS_API_TOKEN": UIS_TOKEN,
        "UIS_VIRTUAL_NUMBER": LINE,
        "MAKE_CALL_TO": "ru, 49, short",
        "MAKE_CALL_EXT_LIMIT": "10000, 10000",
        "MAKE_CALL_TOTAL_LIMIT": "10000, 10000",
        "LOG_LEVEL": "debug",
        **more,
    }


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    with provider() as there:
        yield there


@pytest.fixture
def there(_provider: Provider) -> Provider:
    """The stand-in, asked nothing yet, answering as UIS does (for XVB any 2xx will do)."""
    _provider.asked.clear()
    _provider.let_go.clear()
    _provider.answer = says(200, PLACED)
    return _provider


@pytest.fixture(scope="module")
def _service(_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("make-call"), **settings(_provider)) as service:
        yield service.start()


@pytest.fixture
def service(_service: Service, there: Provider) -> Iterator[Service]:
    """A service of two workers that calls through the stand-in; whatever a test makes of it, no token is in its log."""
    yield _service
    assert XVB_TOKEN not in _service.log()
    assert UIS_TOKEN not in _service.log()


def order(service: Service, key: str | None = API_KEY, **said: Any) -> requests.Response:
    """As 1C asks; `ext` is "from"."""
    body = {"provider": "xvb", "from": "100", "to": "79201119613", **said}
    if "ext" in body:
        body["from"] = body.pop("ext")
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return requests.post(
        f"{service.url}/api/make-call",
        data=json.dumps({name: value for name, value in body.items() if value != "absent"}),
        headers=headers,
        timeout=30,
    )


def uis(service: Service, **said: Any) -> requests.Response:
    """A call through UIS by an employee whose id is told."""
    return order(service, **{"provider": "uis", "employee_id": "482911", **said})


ORDERS = {"xvb": order, "uis": uis}
each_provider = pytest.mark.parametrize("place", ORDERS.values(), ids=ORDERS)


# ----------------------------------------------------------------------------------------------------------------- XVB


def test_xvb_is_asked_with_a_form_of_four_fields(service: Service, there: Provider):
    there.answer = says(200, "OK 17")
    answer = order(service, ext="100", to="79201119613")
    assert answer.status_code == 200
    assert answer.json()["status"] == "placed"
    assert "OK 17" in json.dumps(answer.json())  # the answer's form is not documented: what came back is shown
    (asked,) = there.asked
    assert (asked.method, asked.path) == ("POST", "/commoncrm/10019")
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sorted(asked.form) == [("cmd", "makeCall"), ("from", "100"), ("to", "79201119613"), ("token", XVB_TOKEN)]


@pytest.mark.parametrize(
    ("to", "digits"),
    [
        ("+7 (920) 111-96-13", "79201119613"),
        ("8 920 111 96 13", "79201119613"),
        ("9201119613", "79201119613"),
        (79201119613, "79201119613"),
        ("+49 30 12345678", "493012345678"),
        ("102", "102"),
    ],
)
def test_the_number_is_sent_as_digits_alone(service: Service, there: Provider, to: Any, digits: str):
    assert order(service, to=to).status_code == 200
    assert dict(there.asked[0].form)["to"] == digits


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_of_xvb_is_placed(service: Service, there: Provider, status: int):
    there.answer = says(status, "")
    assert order(service).json()["status"] == "placed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429])
def test_a_4xx_is_502_with_the_providers_own_words(service: Service, there: Provider, status: int):
    there.answer = says(status, "Абонент 100 не зарегистрирован")
    answer = order(service)
    assert answer.status_code == 502
    assert "Абонент 100 не зарегистрирован" in answer.json()["message"]
    assert len(there.asked) == 1


# ----------------------------------------------------------------------------------------------------------------- UIS


def test_uis_is_asked_for_an_employees_call_by_json_rpc(service: Service, there: Provider):
    request_id = new_request_id()
    answer = uis(service, to="8 (920) 111-96-13", request_id=request_id, employee_number="79161234567")
    assert answer.status_code == 200
    assert answer.json() == {"status": "placed", "provider_call_id": "237859081", "external_id": request_id}
    (asked,) = there.asked
    assert (asked.method, asked.path) == ("POST", "/v4.0")
    assert asked.headers["Content-Type"].startswith("application/json")
    assert isinstance(asked.json.pop("id"), int | str)
    assert {name: value for name, value in asked.json.items() if name != "id"} == {
        "jsonrpc": "2.0",
        "method": "start.employee_call",
        "params": {
            "access_token": UIS_TOKEN,
            "direction": "out",
            "first_call": "employee",
            "employee": {"id": 482911, "phone_number": "79161234567"},
            "contact": "79201119613",
            "virtual_phone_number": LINE,
            "external_id": request_id,
        },
    }


def test_without_an_employee_id_uis_is_asked_for_a_simple_call(service: Service, there: Provider):
    answer = uis(service, employee_id=None, employee_number="89161234567", line="+7 495 765-43-21")
    assert answer.json() == {"status": "placed", "provider_call_id": "237859081"}
    assert there.asked[0].json["method"] == "start.simple_call"
    assert there.asked[0].json["params"] == {
        "access_token": UIS_TOKEN,
        "direction": "out",
        "first_call": "operator",
        "operator": "79161234567",
        "contact": "79201119613",
        "virtual_phone_number": "74957654321",
    }


def test_an_employee_id_may_be_a_number_and_needs_no_phone(service: Service, there: Provider):
    assert uis(service, employee_id=482911).status_code == 200
    assert there.asked[0].json["params"]["employee"] == {"id": 482911}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32029, "The limit of requests per minute has been exceeded"),
        (-32003, "The IP address 203.0.113.7 is not whitelisted"),
        (-32602, "Employee with id 482911 not found. It is not your employee."),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 429])
def test_a_refusal_of_uis_is_502_with_its_words(service: Service, there: Provider, code: int, words: str, status: int):
    there.answer = says(status, {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": words}})
    answer = uis(service)
    assert answer.status_code == 502
    assert words in answer.json()["message"]
    assert str(code) in answer.json()["message"]


RUBBISH: dict[str, Any] = {
    "empty": "",
    "html": "<html>502 Bad Gateway</html>",
    "list": "[]",
    "null": "null",
    "no result": {"jsonrpc": "2.0", "id": 1},
    "result null": {"result": None},
    "no call": {"result": {"data": {}}},
    "call null": {"result": {"data": {"call_session_id": None}}},
    "call a list": {"result": {"data": {"call_session_id": []}}},
    "cut": '{"result": {"data": {"call_sess',
    "deep": "[" * 5000,
    "no text": b"\xff\xfe\x00",
    "error a text": {"error": "what?"},
}


@pytest.mark.parametrize(
    "what",
    RUBBISH,
)
def test_rubbish_of_uis_is_504_because_nobody_knows(service: Service, there: Provider, what: str):
    there.answer = says(200, RUBBISH[what])
    answer = uis(service)
    assert (answer.status_code, answer.json()["error"]) == (504, "outcome_unknown")
    assert len(there.asked) == 1


# ------------------------------------------------------------------------------------------- nobody knows, or nothing


@each_provider
@pytest.mark.parametrize(
    "answer",
    [says(500, "oops"), says(503, ""), says(302, "", Location="/elsewhere"), breaks_off],
    ids=["500", "503", "302", "broken off"],
)
def test_an_outcome_that_is_not_known_is_504_and_is_not_tried_again(
    service: Service, there: Provider, place: Any, answer: Answer
):
    there.answer = answer
    request_id = new_request_id()
    for _ in range(2):
        found = place(service, request_id=request_id)
        assert (found.status_code, found.json()["error"]) == (504, "outcome_unknown")
    assert len(there.asked) == 1


@pytest.mark.parametrize("status", [200, 204])
def test_rubbish_of_xvb_with_a_2xx_is_placed(service: Service, there: Provider, status: int):
    there.answer = says(status, b"" if status == 204 else b"\xff\xfe\x00<html>")
    assert order(service).json()["status"] == "placed"


def test_a_provider_that_does_not_answer_is_504_within_ten_seconds(service: Service, there: Provider):
    there.answer = there.hangs
    began = time.monotonic()
    answer = order(service)
    assert answer.status_code == 504
    assert time.monotonic() - began < TEN_SECONDS
    assert len(there.asked) == 1


def test_a_provider_that_answers_a_byte_now_and_then_is_not_waited_for_longer(service: Service, there: Provider):
    there.answer = there.drips(5.5)
    began = time.monotonic()
    uis(service)
    assert time.monotonic() - began < TEN_SECONDS


def test_an_endless_answer_is_not_read_to_its_end(service: Service, there: Provider):
    there.answer = says(400, "x" * 3_000_000)
    answer = order(service)
    assert answer.status_code == 502
    assert len(answer.content) < 10_000


@each_provider
def test_a_refused_connection_is_502_because_nothing_was_dialled(tmp_path: Path, there: Provider, place: Any):
    nobody = f"http://127.0.0.1:{free_port()}"
    with Service(tmp_path / "s", **settings(there, XVB_URL=nobody, UIS_CALL_API_URL=nobody)) as service:
        service.start()
        answer = place(service)
        assert (answer.status_code, answer.json()["error"]) == (502, "provider_refused")
        assert there.asked == []


# ---------------------------------------------------------------------------------------------------------- request_id


@each_provider
@pytest.mark.parametrize("answer", [says(200, PLACED), says(403, "нет"), says(500, "")], ids=["200", "502", "504"])
def test_a_request_id_seen_again_answers_the_first_result_and_dials_nothing(
    service: Service, there: Provider, place: Any, answer: Answer
):
    there.answer = answer
    request_id = new_request_id()
    first = place(service, request_id=request_id)
    there.answer = says(200, {"result": {"data": {"call_session_id": 999}}})
    for other in ({}, {"to": "79990000000"}, {"ext": "101"}):
        again = place(service, request_id=request_id, **other)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(there.asked) == 1


def test_without_a_request_id_each_request_is_a_call(service: Service, there: Provider):
    for _ in range(2):
        assert order(service).status_code == 200
    assert len(there.asked) == 2


def test_a_request_id_is_the_callers_own_whatever_provider_it_names(service: Service, there: Provider):
    request_id = new_request_id()
    first = order(service, request_id=request_id)
    again = uis(service, request_id=request_id)
    assert len(there.asked) == 1
    assert (again.status_code, again.json()) == (first.status_code, first.json())


def test_ids_that_differ_by_case_are_two_requests(service: Service, there: Provider):
    for request_id in ("Order-1", "order-1"):
        assert order(service, request_id=request_id).status_code == 200
    assert len(there.asked) == 2


def test_a_request_that_could_not_even_be_asked_leaves_its_request_id_free(service: Service, there: Provider):
    request_id = new_request_id()
    assert uis(service, request_id=request_id, employee_id=None, ext="нет такого").status_code == 422
    assert uis(service, request_id=request_id).status_code == 200


def test_asked_at_once_on_both_workers_one_call_is_placed(service: Service, there: Provider):
    request_id = new_request_id()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: order(service, request_id=request_id).status_code, range(6)))
    assert len(there.asked) == 1
    assert 200 in answers
    assert set(answers) <= {200, 503, 504}
    assert order(service, request_id=request_id).status_code == 200
    assert len(there.asked) == 1


def test_a_request_id_is_remembered_after_a_restart_and_after_a_kill(tmp_path: Path, there: Provider):
    with Service(tmp_path / "s", **settings(there)) as service:
        service.start()
        first = order(service, request_id="before")
        service.stop()
        service.start()
        again = order(service, request_id="before")
        assert (again.status_code, again.json()) == (200, first.json())
        assert len(there.asked) == 1

        there.answer = there.hangs
        with ThreadPoolExecutor(1) as pool:
            broken = pool.submit(order, service, request_id="in the middle")
            there.was_asked(2)
            service.kill()
            with pytest.raises(requests.ConnectionError):
                broken.result()
        there.let_go.set()
        there.answer = says(200, PLACED)
        service.start()
        for _ in range(2):
            answer = order(service, request_id="in the middle")
            assert (answer.status_code, answer.json()["error"]) == (504, "outcome_unknown")
        assert len(there.asked) == 2


# ------------------------------------------------------------------------------------------ whose extension it is (UIS)


def talked(service: Service, call: str, **said: Any) -> None:
    """A call that an employee answered, by UIS's notifications, in the call log."""
    service.post("/hs/UIScom/in", json.dumps(ring(call)))
    service.post("/hs/UIScom/rec", json.dumps(end(call, **said)))
    service.call(call, 2)


def employees(service: Service, *rows: dict[str, str]) -> None:
    """What 1C says that extensions stand for."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = requests.put(f"{service.url}/api/employees", json=rows, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"written": len(rows)})


def test_an_extension_is_who_1c_says_it_is(service: Service, there: Provider):
    employees(
        service,
        {"employee_ext": "201", "employee_number": "8 (916) 123-02-01", "provider_employee_id": "201201"},
        {"employee_ext": "202", "employee_number": "79161230202"},
    )
    assert uis(service, employee_id=None, ext="201").status_code == 200
    assert uis(service, employee_id=None, ext="202").status_code == 200
    known, unknown = (asked.json for asked in there.asked)
    assert known["method"] == "start.employee_call"
    assert known["params"]["employee"] == {"id": 201201, "phone_number": "79161230201"}
    assert unknown["method"] == "start.simple_call"
    assert unknown["params"]["operator"] == "79161230202"


def test_a_notification_that_claims_an_extension_is_never_dialled(service: Service, there: Provider):
    talked(service, "801", extension_phone_number="203", employee_phone_number="79161230203", employee_ids=[203203])
    answer = uis(service, employee_id=None, ext="203")
    assert (answer.status_code, answer.json()["field"]) == (422, "employee_id")
    employees(service, {"employee_ext": "203", "employee_number": "79169990203"})
    talked(service, "802", extension_phone_number="203", employee_phone_number="+88299912345678", employee_ids=[66])
    assert uis(service, employee_id=None, ext="203").status_code == 200
    (asked,) = there.asked
    assert asked.json["params"]["operator"] == "79169990203"


def test_what_the_request_says_wins_over_the_table(service: Service, there: Provider):
    employees(service, {"employee_ext": "204", "employee_number": "79161230204", "provider_employee_id": "204204"})
    assert uis(service, employee_id="777", ext="204").status_code == 200
    assert there.asked[0].json["params"]["employee"]["id"] == 777


def test_the_newest_row_of_an_extension_wins(service: Service, there: Provider):
    for number in ("79161230205", "79161230215"):
        employees(service, {"employee_ext": "205", "employee_number": number})
    assert len(service.rows(Employees, employee_ext="205")) == 1
    assert uis(service, employee_id=None, ext="205").status_code == 200
    assert there.asked[0].json["params"]["operator"] == "79161230215"


def test_a_wrong_employee_is_named(service: Service):
    headers = {"Authorization": f"Bearer {API_KEY}"}
    for row, field in (
        ({}, "employee_ext"),
        ({"employee_ext": "1", "provider_employee_id": "x"}, "provider_employee_id"),
    ):
        answer = requests.put(f"{service.url}/api/employees", json=[row], headers=headers, timeout=30)
        assert answer.status_code == 422
        assert field in answer.json()["message"]


def test_an_extension_that_nobody_knows_is_422_that_names_the_field(service: Service, there: Provider):
    answer = uis(service, employee_id=None, ext="299")
    assert answer.status_code == 422
    assert answer.json()["field"] in ("employee_id", "employee_number")
    assert "299" in answer.json()["message"]
    assert there.asked == []


@pytest.fixture(scope="module")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server that may be stopped."""
    with MariaDB(tmp_path_factory.mktemp("call-mariadb")) as server:
        yield server


def test_without_the_call_log_an_extension_is_422_and_everything_else_goes_on(
    tmp_path: Path, own_mariadb: MariaDB, there: Provider
):
    with Service(tmp_path / "s", own_mariadb.create("make_call"), **settings(there)) as service:
        service.start()
        employees(service, {"employee_ext": "206", "provider_employee_id": "206206"})
        own_mariadb.stop()
        try:
            answer = uis(service, employee_id=None, ext="206")
            assert (answer.status_code, answer.json()["field"]) == (422, "employee_id")
            assert uis(service).status_code == 200
            assert order(service).status_code == 200
        finally:
            own_mariadb.start()
        until(lambda: uis(service, employee_id=None, ext="206").status_code == 200, "the extension is known again")


def test_a_request_id_seen_again_answers_the_first_result_also_without_the_call_log(
    tmp_path: Path, own_mariadb: MariaDB, there: Provider
):
    with Service(tmp_path / "s", own_mariadb.create("make_call_again"), **settings(there)) as service:
        service.start()
        employees(service, {"employee_ext": "207", "provider_employee_id": "207207"})
        first = uis(service, employee_id=None, ext="207", request_id="again")
        assert first.status_code == 200
        own_mariadb.stop()
        try:
            again = uis(service, employee_id=None, ext="207", request_id="again")
        finally:
            own_mariadb.start()
        assert (again.status_code, again.json()) == (200, first.json())


# ------------------------------------------------------------------------------------------------ what 1C can mend


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("provider", ["absent", "", "mtt", None]),
        pytest.param("from", ["absent", "", " ", None, "1" * 33]),
        pytest.param("to", ["absent", "", None, "anonymous", "sip:vasya@example.org", "7" * 33, "²²²²", "٧٩٢٠١١١٩٦١٣"]),
        pytest.param("request_id", ["x" * 65, "\ud83d"]),
    ],
)
def test_a_field_that_cannot_be_meant_is_422_and_is_named(
    service: Service, there: Provider, field: str, values: list[Any]
):
    found = {}
    for value in values:
        answer = order(service, **{"request_id": new_request_id(), field: value})
        named = answer.status_code == 422 and answer.json().get("field") == field
        found[str(value)[:20].encode("ascii", "replace")] = "named" if named else answer.status_code
    assert set(found.values()) == {"named"}, found
    assert there.asked == []


@pytest.mark.parametrize(
    "employee_id",
    [
        "Иванов",
        *(pytest.param(odd, id=odd[:2]) for odd in ("²", "1" * 5000)),
    ],
)
def test_an_employee_id_that_is_no_number_is_422_and_is_named(service: Service, there: Provider, employee_id: str):
    answer = uis(service, employee_id=employee_id)
    assert answer.status_code == 422
    assert answer.json()["field"] == "employee_id"
    assert there.asked == []


def test_a_list_is_no_number(service: Service, there: Provider):
    for to in (["79201119613"], True, {"to": 1}):
        assert order(service, to=to).status_code == 422
    assert there.asked == []


def test_a_line_is_needed_and_named(tmp_path: Path, there: Provider):
    with Service(tmp_path / "s", **settings(there, UIS_VIRTUAL_NUMBER="")) as service:
        service.start()
        answer = uis(service)
        assert (answer.status_code, answer.json()["field"]) == (422, "line")
        assert uis(service, line=LINE).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000])
def test_what_is_no_object_is_400(service: Service, there: Provider, body: bytes):
    answer = requests.post(
        f"{service.url}/api/make-call", data=body, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
    )
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert there.asked == []


def test_1c_may_begin_its_json_with_a_byte_order_mark(service: Service, there: Provider):
    body = "\ufeff" + json.dumps({"provider": "xvb", "from": 100, "to": "79201119613"})
    answer = requests.post(
        f"{service.url}/api/make-call", data=body.encode(), headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
    )
    assert answer.status_code == 200
    assert dict(there.asked[0].form)["from"] == "100"


def test_a_wrong_key_is_401_and_no_key_set_is_403(service: Service, there: Provider, tmp_path: Path):
    for key in (None, "", "wrong", "ключ", XVB_TOKEN):
        answer = requests.post(
            f"{service.url}/api/make-call",
            data=b"{}",
            headers={} if key is None else {"Authorization": f"Bearer {key}".encode()},
            timeout=30,
        )
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "message"}
    assert order(service, key=None).status_code == 401
    with Service(tmp_path / "s", **settings(there, API_KEY="")) as closed:
        closed.start()
        assert order(closed).status_code == 403
        assert "API_KEY" in order(closed).json()["message"]
        closed.logs("API_KEY")
    assert there.asked == []


def test_get_is_405(service: Service):
    assert requests.get(f"{service.url}/api/make-call", timeout=30).status_code == 405


@each_provider
def test_a_provider_that_is_not_set_is_503_that_names_the_setting(tmp_path: Path, there: Provider, place: Any):
    with Service(tmp_path / "s", **settings(there, XVB_TOKEN="", UIS_API_TOKEN="")) as service:
        service.start()
        answer = place(service)
        assert answer.status_code == 503
        assert "TOKEN" in answer.json()["message"]
        assert there.asked == []


# ------------------------------------------------------------------------------------------------------------- secrets


@each_provider
@pytest.mark.parametrize("answer", [echoes(200), echoes(403), echoes(500)], ids=["200", "403", "500"])
def test_no_token_is_in_an_answer_even_if_the_provider_shows_it(
    service: Service, there: Provider, place: Any, answer: Answer
):
    there.answer = answer
    found = place(service)
    assert XVB_TOKEN not in found.text
    assert UIS_TOKEN not in found.text


def test_no_number_is_in_the_log(service: Service, there: Provider):
    order(service, to="79203334455")
    there.answer = says(403, "79203334455 занят")
    order(service, to="79203334455", request_id=new_request_id())
    assert "79203334455" not in service.log()


# ------------------------------------------------------------------------------------------------------ two at a time


def test_the_third_at_once_is_503_and_notifications_do_not_wait(tmp_path: Path, there: Provider):
    there.answer = there.hangs
    with Service(tmp_path / "s", **settings(there, WORKERS="1")) as service, ThreadPoolExecutor(2) as pool:
        service.start()
        hanging: list[Future[requests.Response]] = [pool.submit(place, service) for place in ORDERS.values()]
        there.was_asked(2)
        began = time.monotonic()
        third = order(service, request_id="third")
        assert (third.status_code, third.json()["error"]) == (503, "busy")
        assert int(third.headers["Retry-After"]) > 0
        assert time.monotonic() - began < 1
        with traffic(service) as seen:
            until(lambda: seen.count > 100, "notifications flow", 20)
        assert not any(future.done() for future in hanging)
        assert (seen.refused, seen.broken) == ([], 0)
        assert seen.slowest < 2
        there.let_go.set()
        assert {future.result().status_code for future in hanging} == {504}
        there.answer = says(200, PLACED)
        assert order(service, request_id="third").status_code == 200
        assert len(there.asked) == 3


def test_our_own_fault_frees_its_place_and_leaves_its_request_id_used(tmp_path: Path, there: Provider):
    with Service(tmp_path / "s", **settings(there, WORKERS="1")) as service:
        service.copy_code(tmp_path / "broken", {"providers/xvb.py": ("    return text", "    raise KeyError(text)")})
        service.start()
        for _ in range(3):
            assert order(service).status_code == 500
        assert order(service, request_id="once").status_code == 500
        assert order(service, request_id="once").status_code == 504
        assert uis(service).status_code == 200
        assert len(there.asked) == 5


def test_a_placed_call_is_no_row_of_its_own(service: Service, there: Provider):
    before = len(service.rows(Calls))
    assert order(service).status_code == 200
    assert len(service.rows(Calls)) == before


# --------------------------------------------------------------------------- what the log showed before there was a table


def test_the_upgrade_takes_over_once_what_the_log_shows_consistently(
    tmp_path: Path, there: Provider, database_url: str
):
    with Service(tmp_path / "s", database_url, **settings(there)) as service:
        service.start()
        shown = {"301": "79161230301", "302": "79161230302", "303": "79161230303"}
        for day, call in itertools.product(range(4), shown):
            id, number = f"{call}{day}", "79160000000" if (call, day) == ("302", 1) else shown[call]
            talked(service, id, extension_phone_number=call, employee_phone_number=number)
            if call != "303":  # those of 303 all came within a day
                _received_days_ago(service, id, day)
        service.stop()
        service.flask("db", "downgrade", "0.1.0")
        service.start()
        (row,) = service.rows(Employees)
        assert (row["employee_ext"], row["employee_number"]) == ("301", "79161230301")
        assert uis(service, employee_id=None, ext="301").status_code == 200
        for ext in ("302", "303"):
            assert uis(service, employee_id=None, ext=ext).status_code == 422
        said = service.flask("check").stdout
        assert "recent calls show 2 extensions otherwise" in said
        assert "'302'" in said


def _received_days_ago(service: Service, call: str, days: int) -> None:
    db = database.open_database(service.database_url)
    with db.connection_context():
        at = service.call(call, 2)["first_event_at"] - timedelta(days=days)
        Calls.update(first_event_at=at).where(Calls.provider_call_id == call).execute(db)


def test_what_notifications_show_is_confirmed_on_the_page(tmp_path: Path, there: Provider):
    with Service(tmp_path / "s", **settings(there, OPERATOR_PASSWORD="a-long-password")) as service:
        service.start()
        talked(service, "1", extension_phone_number="101", employee_phone_number="79161230101", employee_ids=[5])
        page = requests.get(f"{service.url}/click-to-call", auth=("", "a-long-password"), timeout=30)
        assert "Подтвердить" in page.text
        form = {"ext": "101", "number": "79161230101", "id": "5"}
        for headers, status in (({}, 403), ({"Sec-Fetch-Site": "same-origin"}, 200)):
            answer = requests.post(
                f"{service.url}/employees", data=form, auth=("", "a-long-password"), headers=headers, timeout=30
            )
            assert answer.status_code == status
        assert "Подтвердить" not in answer.text
        assert uis(service, employee_id=None, ext="101").status_code == 200
        assert there.asked[0].json["params"]["employee"] == {"id": 5, "phone_number": "79161230101"}


# ------------------------------------------------------------------------------------------------ where one may call


@pytest.fixture(scope="module")
def plain(_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose limits and destinations nobody has set."""
    own = {name: text for name, text in settings(_provider).items() if not name.startswith("MAKE_CALL")}
    with Service(tmp_path_factory.mktemp("plain"), **own, OPERATOR_PASSWORD="a-long-password") as service:
        yield service.start()


@pytest.mark.parametrize(
    "to",
    ["+88299912345678", "8 809 123-45-67", "78031234567", "+77012345678", "810 49 30 1234567", "112", "37529123456"],
)
def test_by_default_only_russian_numbers_are_dialled(plain: Service, there: Provider, to: str):
    answer = order(plain, to=to, ext=f"d{to[-3:]}")
    assert (answer.status_code, answer.json()["error"]) == (403, "destination_not_allowed")
    assert there.asked == []


def test_an_employees_number_is_a_destination_too(plain: Service, there: Provider):
    answer = uis(plain, employee_id=None, employee_number="+88299912345678")
    assert (answer.status_code, answer.json()["field"]) == (403, "employee_number")
    assert there.asked == []


def test_an_extension_has_a_limit_a_minute_on_all_workers_together(plain: Service, there: Provider):
    statuses = [order(plain, ext="900", to=f"7920111{n:04}").status_code for n in range(14)]
    assert statuses == [200] * 10 + [429] * 4
    assert len(there.asked) == 10
    assert order(plain, ext="901").status_code == 200
    plain.logs("the limit ext_minute is reached")


def test_all_extensions_together_have_a_limit(tmp_path: Path, there: Provider):
    with Service(tmp_path / "s", **settings(there, MAKE_CALL_TOTAL_LIMIT="1000, 5")) as service:
        service.start()
        statuses = [order(service, ext=str(n)).status_code for n in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert len(there.asked) == 5


def test_each_attempt_is_accounted_for_and_shown(plain: Service, there: Provider):
    there.answer = says(403, "нет")
    order(plain, ext="777", to="79207770001", request_id="учёт-1")
    order(plain, ext="777", to="+4930777000222", request_id="учёт-2")
    kept = {t.attempt.request_id: t for t in plain.inbox.attempts() if t.attempt.ext == "777"}
    assert {id: (one.attempt.number, one.outcome) for id, one in kept.items()} == {
        "учёт-1": ("79207770001", "provider_refused"),
        "учёт-2": ("4930777000222", "destination_not_allowed"),
    }
    assert {one.attempt.client_address for one in kept.values()} == {"127.0.0.1"}
    page = requests.get(f"{plain.url}/click-to-call", auth=("", "a-long-password"), timeout=30).text
    for text in ("учёт-1", "79207770001", "провайдер отказал", "учёт-2", "направление не разрешено"):
        assert text in page
    assert "79207770001" not in plain.log()
    assert "4930777000222" not in plain.log()
