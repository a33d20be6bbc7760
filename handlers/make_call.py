"""Click to call for 1C: POST /api/make-call asks a provider to connect an employee with a client.

A call that may have been placed is never tried again: a request_id is claimed on disk before anything is dialled, and
an outcome that nobody knows is answered 504. The addresses are the settings' own, never the caller's.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import requests
from flask import Blueprint, Response, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from calllog.asking import Away
from calllog.reading import employee
from handlers.access import api_refusal
from handlers.answers import Connector, connector, refusal
from handlers.webhook import log
from schemas.fields import phone

bp = Blueprint("make_call", __name__)

CONNECT_SECONDS, ANSWER_SECONDS = 3, 4
READ_SECONDS = 6  # no byte is waited for after it: with the last one's ANSWER_SECONDS ten in all
MOST_BYTES = 65536  # of a provider's answer
_places = threading.BoundedSemaphore(2)  # of a worker's threads


class Order(Schema):
    """What 1C asks for (docs/contract.md section 6)."""

    class Meta:
        unknown = EXCLUDE

    provider = fields.String(required=True)
    ext = fields.String(required=True, data_key="from", validate=validate.Length(1, 32))
    to = fields.String(required=True, validate=validate.Length(1, 32))
    request_id = fields.String(load_default="", validate=validate.Length(max=64))
    employee_id = fields.String(load_default="")
    employee_number = fields.String(load_default="")
    line = fields.String(load_default="")


ORDER = Order()


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to 1C."""

    status: int
    body: dict[str, Any]


def placed(**ids: Any) -> Result:
    """The provider took it."""
    return Result(200, {"status": "placed", **{name: value for name, value in ids.items() if value}})


def refused(words: str) -> Result:
    """The provider did not: nothing was dialled."""
    return Result(502, {"error": "provider_refused", "message": f"Провайдер отказал: {words}"})


def unknown(words: str) -> Result:
    """Nobody knows whether it was placed."""
    message = f"Неизвестно, поставлен ли звонок ({words}): повторно он не набирается, проверьте телефон."
    return Result(504, {"error": "outcome_unknown", "message": message})


def wrong(field: str, message: str) -> Result:
    """1C can mend it."""
    return Result(422, {"error": "bad_field", "field": field, "message": message})


@bp.post("/api/make-call")
def make_call() -> Response:
    """Place a call, once for each request_id."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    order = _order()
    if isinstance(order, Result):
        return _answer(order)
    if not _places.acquire(blocking=False):
        return refusal(
            503, "busy", "Два звонка уже набираются: повторите через несколько секунд.", {"Retry-After": "5"}
        )
    try:
        return _answer(_once(order))
    finally:
        _places.release()


def _order() -> dict[str, Any] | Result:
    try:
        said = json.loads(request.get_data(cache=False)[:MOST_BYTES] or b"null", parse_int=str)
        # a number is text already (parse_int); a list, an object or true is no value of any field
        order: dict[str, Any] = ORDER.load(
            {k: v.strip() if isinstance(v, str) else v for k, v in said.items() if v is not None}
        )
        json.dumps(order, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        field = next(name for name, value in said.items() if isinstance(value, str) and not _encodes(value))
        return wrong(field, f"Поле {field}: это не текст.")
    except (ValueError, AttributeError, RecursionError):
        return Result(400, {"error": "bad_json", "message": "Тело запроса должно быть объектом JSON."})
    except ValidationError as error:
        field = next(iter(error.messages_dict))
        return wrong(field, f"Поле {field} отсутствует, пусто или слишком длинно.")
    if order["employee_id"] and not (_digits(order["employee_id"]) and len(order["employee_id"]) < 19):
        return wrong("employee_id", "Поле employee_id должно быть числом: идентификатор сотрудника у провайдера.")
    if order["provider"] not in PROVIDERS:
        return wrong("provider", f"Поле provider: есть {', '.join(sorted(PROVIDERS))}.")
    if not _digits(phone(order["to"])):
        return wrong("to", "Поле to должно быть номером телефона.")
    return order


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _encodes(text: str) -> bool:
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _first(first: tuple[int | None, str]) -> Result:
    status, answer = first
    if status is None:
        return unknown("первый запрос с этим request_id не закончен")
    return Result(status, json.loads(answer))


def _once(order: dict[str, Any]) -> Result:
    """The first result of this request_id, whatever process asks, however often and of which provider."""
    here, request_id = connector(), order["request_id"]
    if request_id:
        first = here.inbox.placement(request_id)
        if first is not None:  # before anything is asked of settings or of the call log, which may be away by now
            return _first(first)
    prepared = PROVIDERS[order["provider"]](here, order)
    if isinstance(prepared, Result):  # not even asked: the request_id may be used again
        return prepared
    if request_id:
        first = here.inbox.claim(request_id)
        if first is not None:
            return _first(first)
    result = prepared()
    log.info("make-call: %s answered %d", order["provider"], result.status)
    if request_id:
        here.inbox.placed(request_id, result.status, json.dumps(result.body, ensure_ascii=False))
    return result


def _answer(result: Result) -> Response:
    text = json.dumps(result.body, ensure_ascii=False) + "\n"
    return Response(text, result.status, content_type="application/json; charset=utf-8")


# ----------------------------------------------------------------------------------------------------------- providers


def _xvb(here: Connector, order: dict[str, Any]) -> Result | Callable[[], Result]:
    """makeCall at the cloud PBX's address: form token, cmd, from, to. Its answer is not documented: any 2xx is success."""
    settings = here.settings
    if not settings.xvb_url or not settings.xvb_token:
        return _not_set("XVB_URL и XVB_TOKEN")
    form = {"token": settings.xvb_token, "cmd": "makeCall", "from": order["ext"], "to": phone(order["to"])}

    def dial() -> Result:
        answer = _post(settings.xvb_url, settings.xvb_token, data=form)
        if isinstance(answer, Result):
            return answer
        status, text = answer
        if 200 <= status < 300:
            return placed(provider_answer=text[:1000])
        return _by_status(status, text)

    return dial


def _uis(here: Connector, order: dict[str, Any]) -> Result | Callable[[], Result]:
    """Call API v4.0: start.employee_call, or start.simple_call when no employee id is known
    (uiscom.ru/academiya/spravochnyj-centr/dokumentatsiya-api/call_api)."""
    settings = here.settings
    if not settings.uis_api_token:
        return _not_set("UIS_API_TOKEN")
    line = phone(order["line"] or settings.uis_virtual_number)
    if not _digits(line):
        return wrong("line", "Поле line: нужен виртуальный номер UIS (или настройка UIS_VIRTUAL_NUMBER).")
    employee_id, number = order["employee_id"], order["employee_number"]
    if not employee_id and not number:
        try:
            employee_id, number = here.desk.ask(employee, "uis", order["ext"])
        except Away:
            message = "Поле employee_id или employee_number: журнал звонков сейчас недоступен, укажите одно из них."
            return wrong("employee_id", message)
    params: dict[str, Any] = {
        "access_token": settings.uis_api_token,
        "direction": "out",
        "contact": phone(order["to"]),
        "virtual_phone_number": line,
    }
    if order["request_id"]:
        params["external_id"] = order["request_id"]
    if _digits(employee_id):
        method, params["first_call"] = "start.employee_call", "employee"
        params["employee"] = {"id": int(employee_id), **({"phone_number": phone(number)} if number else {})}
    elif number:
        method, params["first_call"], params["operator"] = "start.simple_call", "operator", phone(number)
    else:
        message = (
            f"Поле employee_id или employee_number: чей добавочный {order['ext']}, по уведомлениям ещё не известно, "
            "укажите одно из них."
        )
        return wrong("employee_id", message)

    def dial() -> Result:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = _post(settings.uis_call_api_url, settings.uis_api_token, json=asked)
        return answer if isinstance(answer, Result) else _uis_answer(*answer, order["request_id"])

    return dial


def _uis_answer(status: int, text: str, request_id: str) -> Result:
    try:
        said = json.loads(text)
        error = said.get("error")
        if error:
            return refused(f"{error.get('message', '')} (код {error.get('code', '?')})")
        call = str(said["result"]["data"]["call_session_id"])
        if not _digits(call):
            raise ValueError(call)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return _by_status(status, text) if status >= 400 else unknown(f"непонятный ответ «{text[:200]}»")
    return placed(provider_call_id=call, external_id=request_id)


PROVIDERS: dict[str, Callable[[Connector, dict[str, Any]], Result | Callable[[], Result]]] = {"xvb": _xvb, "uis": _uis}


def _not_set(names: str) -> Result:
    return Result(503, {"error": "not_set", "message": f"Администратор не задал {names}."})


def _by_status(status: int, text: str) -> Result:
    """A 4xx did not place it; a 5xx may have."""
    words = f"HTTP {status} «{text[:500]}»"
    return refused(words) if 400 <= status < 500 else unknown(words)


def _post(url: str, secret: str, **what: Any) -> tuple[int, str] | Result:
    """(status, text) of the provider's answer, read for ten seconds at the most; the secret never leaves the request,
    not even where the answer shows it."""
    until = time.monotonic() + READ_SECONDS
    try:
        with requests.post(
            url, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), allow_redirects=False, stream=True, **what
        ) as answer:
            text = b""
            for byte in answer.iter_content(1):
                text += byte
                if len(text) >= MOST_BYTES or time.monotonic() > until:
                    break
            words = text.decode("utf-8", "replace")
            return answer.status_code, words.replace(secret, "***").replace(quote_plus(secret), "***")
    except requests.ConnectTimeout:
        return refused("адрес провайдера не отвечает")
    except requests.ConnectionError as error:
        if "NewConnectionError" in str(error) or "NameResolutionError" in str(error):
            return refused("с адресом провайдера нет связи")
        return unknown("связь оборвалась")
    except requests.RequestException as error:
        return unknown(type(error).__name__)
