"""Click to call for 1C: POST /api/make-call asks a provider to connect an employee with a client.

Nothing that a notification said is dialled: what an extension stands for comes from the request or from the table
`employees`. Only numbers of MAKE_CALL_TO are, no more of them than the limits allow, and each attempt is kept.
A call that may have been placed is never tried again: a request_id is claimed on disk before anything is dialled, and an
unknown outcome is answered 504. The addresses are the settings' own, never the caller's.
"""

import json
import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from flask import Blueprint, Response, abort, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from calllog.asking import Away
from calllog.employees import employee
from config import RUSSIAN, SHORT, Settings
from handlers.access import api_refusal, client_address, sender
from handlers.answers import Connector, answer, connector, refusal
from handlers.webhook import log
from inbox.orders import NOT_ALLOWED, NOT_KNOWN, OVER_LIMIT, PLACED, REFUSED_BY_PROVIDER, Attempt, Claim, Limits
from providers import uis, xvb
from providers.http import Refused, Unknown
from schemas.fields import phone

bp = Blueprint("make_call", __name__)

MOST_BYTES = 65536  # of an order
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


class Result(NamedTuple):
    """An answer that is kept for its request_id."""

    status: int
    body: dict[str, Any]


@bp.post("/api/make-call")
def make_call() -> Response:
    """Place a call, once for each request_id."""
    stranger = api_refusal()
    return place(_order()) if stranger is None else stranger


def place(order: dict[str, Any]) -> Response:
    """Place the call that is ordered, with all of Order's fields; the answer as 1C gets it. Aborts with one where the
    order is refused."""
    if not _places.acquire(blocking=False):
        return refusal(
            503, "busy", "Два звонка уже набираются: повторите через несколько секунд.", {"Retry-After": "5"}
        )
    try:
        return answer(*_once(order))
    finally:
        _places.release()


def _once(order: dict[str, Any]) -> Result:
    """The first result of this request_id, whichever process is asked, however often and of whatever provider."""
    here, request_id = connector(), order["request_id"]
    if request_id:
        first = here.inbox.placement(request_id)
        if first is not None:  # before anything is asked of settings or of the call log, which may be away by now
            return _first(*first)
    _ensure_allowed(here, order, "to", order["to"])
    dial = DIALS[order["provider"]](here, order)  # aborts before the claim: the request_id may be used again
    claim = _claim(here, order)
    if claim.first is not None:
        return _first(*claim.first)
    try:
        outcome, result = PLACED, Result(200, {"status": PLACED, **dial()})
    except Refused as words:
        body = {"error": REFUSED_BY_PROVIDER, "message": f"Провайдер отказал: {words}"}
        outcome, result = REFUSED_BY_PROVIDER, Result(502, body)
    except Unknown as words:
        outcome, result = NOT_KNOWN, _unknown(words)
    log.info("make-call: %s from %r to %s: %s", order["provider"], order["ext"], _masked(phone(order["to"])), outcome)
    here.inbox.placed(claim.id, outcome, request_id, result.status, json.dumps(result.body, ensure_ascii=False))
    return result


def _claim(here: Connector, order: dict[str, Any]) -> Claim:
    """An attempt that is on disk, or the first answer; aborts where a limit is reached."""
    settings = here.settings
    claim = here.inbox.claim(
        _attempt(here, order), Limits(settings.make_call_ext_limit, settings.make_call_total_limit)
    )
    if claim.over:
        who, span = LIMITS[claim.over]
        log.warning("make-call: refused %s, from %r: the limit %s is reached", sender(), order["ext"], claim.over)
        here.inbox.refuse("api", OVER_LIMIT, f"Слишком много заказанных звонков {who} {span}.")
        message = f"Слишком много заказанных звонков {who} {span}: номер не набирается. Предел задаёт администратор."
        abort(refusal(429, OVER_LIMIT, message, {"Retry-After": "60"}))
    return claim


def _attempt(here: Connector, order: dict[str, Any], number: str = "") -> Attempt:
    dialled = phone(number or order["to"])
    return Attempt(order["provider"], order["ext"], dialled, order["request_id"], client_address(here.settings))


def _first(status: int | None, body: str) -> Result:
    if status is None:
        return _unknown("первый запрос с этим request_id не закончен")
    return Result(status, json.loads(body))


def _unknown(words: object) -> Result:
    message = f"Неизвестно, состоялся ли вызов ({words}): повторно номер не набирается, проверьте телефон."
    return Result(504, {"error": "outcome_unknown", "message": message})


# -------------------------------------------------------------------------------------------------- where one may call

LIMITS = {  # inbox.orders.Claim.over, and how to say it
    "ext_minute": ("с этого добавочного", "за минуту"),
    "ext_day": ("с этого добавочного", "за сутки"),
    "all_minute": ("всеми вместе", "за минуту"),
    "all_day": ("всеми вместе", "за сутки"),
}
# 803 and 809 are premium numbers; +7 6 and +7 7 are not Russia's
_RUSSIAN = re.compile(r"7(?:[349]\d\d|8[1-9]\d|80[04])\d{7}")
_SHORTEST = 7  # digits; anything shorter is an extension or a special number


def _ensure_allowed(here: Connector, order: dict[str, Any], field: str, number: str) -> None:
    """Aborts where MAKE_CALL_TO does not let the number be dialled."""
    if allowed(phone(number), here.settings.make_call_to):
        return
    to = _masked(phone(number))
    log.warning("make-call: refused %s, from %r: MAKE_CALL_TO does not list %s", sender(), order["ext"], to)
    here.inbox.not_allowed(_attempt(here, order, number))
    here.inbox.refuse("api", NOT_ALLOWED, "Номера нет среди разрешённых (настройка MAKE_CALL_TO).")
    message = f"Поле {field}: по этому направлению звонить нельзя (настройка MAKE_CALL_TO): номер не набирается."
    abort(answer(403, {"error": NOT_ALLOWED, "field": field, "message": message}))


def allowed(number: str, wanted: tuple[str, ...]) -> bool:
    """Whether a normalised number is one of MAKE_CALL_TO."""
    if len(number) < _SHORTEST:
        return SHORT in wanted
    if RUSSIAN in wanted and _RUSSIAN.fullmatch(number):
        return True
    return any(number.startswith(prefix) for prefix in wanted if prefix not in (RUSSIAN, SHORT))


def _masked(number: str) -> str:
    """For the log, whatever the number's length: logs.py masks those of ten digits and more."""
    return number if len(number) < _SHORTEST else f"{number[:4]}***{number[-2:]}" if len(number) < 10 else number


# --------------------------------------------------------------------------------------------------------------- orders


def _order() -> dict[str, Any]:
    """The order, or an answer that names the field to mend."""
    sent: Any = None
    try:
        sent = json.loads(request.get_data(cache=False)[:MOST_BYTES] or b"null", parse_int=str)
        # a number is text already (parse_int); a list, an object or true is no value of any field
        order: dict[str, Any] = ORDER.load(
            {k: v.strip() if isinstance(v, str) else v for k, v in sent.items() if v is not None}
        )
        json.dumps(order, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        field = next(name for name, value in sent.items() if isinstance(value, str) and not _encodes(value))
        _wrong(field, f"Поле {field}: это не текст.")
    except (ValueError, AttributeError, RecursionError):
        abort(refusal(400, "bad_json", "Тело запроса должно быть объектом JSON."))
    except ValidationError as error:
        field = next(iter(error.messages_dict))
        _wrong(field, f"Поле {field} отсутствует, пустое или слишком длинное.")
    if order["employee_id"] and not (_digits(order["employee_id"]) and len(order["employee_id"]) < 19):
        _wrong("employee_id", "Поле employee_id должно быть числом: идентификатор сотрудника у провайдера.")
    if order["provider"] not in DIALS:
        _wrong("provider", f"Поле provider: допустимы {', '.join(sorted(DIALS))}.")
    if not _digits(phone(order["to"])):
        _wrong("to", "Поле to должно быть номером телефона.")
    return order


def _wrong(field: str, message: str) -> NoReturn:
    """422: 1C can mend it; nothing was dialled."""
    abort(answer(422, {"error": "bad_field", "field": field, "message": message}))


def _not_set(names: str) -> NoReturn:
    abort(refusal(503, "not_set", f"Администратор не задал {names}."))


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _encodes(text: str) -> bool:
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


# ------------------------------------------------------------------------------------------------------------ providers

Dial = Callable[[], dict[str, str]]  # places the call and returns what 1C is told of it


def _xvb(here: Connector, order: dict[str, Any]) -> Dial:
    url, token = here.settings.xvb_url, here.settings.xvb_token
    if not url or not token:
        _not_set("XVB_URL и XVB_TOKEN")

    def dial() -> dict[str, str]:
        text = xvb.make_call(url, token, ext=order["ext"], to=phone(order["to"]))
        return {"provider_answer": text[:1000]} if text else {}

    return dial


def _uis(here: Connector, order: dict[str, Any]) -> Dial:
    settings = here.settings
    if not settings.uis_api_token:
        _not_set("UIS_API_TOKEN")
    line = phone(order["line"] or settings.uis_virtual_number)
    if not _digits(line):
        _wrong("line", "Поле line: нужен виртуальный номер UIS (или настройка UIS_VIRTUAL_NUMBER).")
    employee_id, number = _uis_employee(here, order)

    def dial() -> dict[str, str]:
        call_id = uis.make_call(
            settings.uis_call_api_url,
            settings.uis_api_token,
            line=line,
            to=phone(order["to"]),
            employee_id=employee_id,
            employee_number=phone(number) if number else "",
            id=order["request_id"],
        )
        external_id = {"external_id": order["request_id"]} if order["request_id"] else {}
        return {"provider_call_id": call_id, **external_id}

    return dial


def _uis_employee(here: Connector, order: dict[str, Any]) -> tuple[str, str]:
    """(id, number) of who is to be called first: as the order has them, else as the table `employees` does."""
    employee_id, number = order["employee_id"], order["employee_number"]
    if not employee_id and not number:
        try:
            employee_id, number = here.desk.ask(employee, order["ext"])
        except Away:
            message = "Поле employee_id или employee_number: журнал звонков сейчас недоступен, укажите одно из них."
            _wrong("employee_id", message)
    if not _digits(employee_id):
        employee_id = ""
    if not employee_id and not number:
        message = (
            f"Поле employee_id или employee_number: чей добавочный {order['ext']}, в таблице employees не сказано. "
            "Впишите его туда или укажите одно из этих полей."
        )
        _wrong("employee_id", message)
    if len(phone(number)) > _SHORTEST:  # up to seven digits: a SIP line of UIS's own
        _ensure_allowed(here, order, "employee_number", number)
    return employee_id, number


DIALS: dict[str, Callable[[Connector, dict[str, Any]], Dial]] = {"uis": _uis, "xvb": _xvb}


def ready(settings: Settings) -> list[str]:
    """The providers that are set up to place a call."""
    found = {"uis": settings.uis_api_token, "xvb": settings.xvb_url and settings.xvb_token}
    return [name for name, is_set in found.items() if is_set]
