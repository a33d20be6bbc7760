"""PUT /api/contacts, /api/employees: what 1C tells of clients and employees, where it does not write the tables itself."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from flask import Blueprint, Response, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from calllog.asking import QUEUE_SECONDS, Away
from calllog.contacts import Contact, store_contacts
from calllog.employees import Employee, store_employees
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, refusal
from handlers.webhook import log
from schemas.fields import phone

bp = Blueprint("contacts", __name__)

MOST = 1000  # rows in one request
MOST_BYTES = 1_048_576


class ContactItem(Schema):
    """One contact."""

    class Meta:
        unknown = EXCLUDE

    client_number = fields.String(required=True, validate=validate.Length(1, 64))
    client_name = fields.String(load_default="", validate=validate.Length(max=255))
    responsible_ext = fields.String(load_default="", validate=validate.Length(max=32))


class EmployeeItem(Schema):
    """One employee."""

    class Meta:
        unknown = EXCLUDE

    employee_ext = fields.String(required=True, validate=validate.Length(1, 32))
    employee_number = fields.String(load_default="", validate=validate.Length(max=64))
    provider_employee_id = fields.String(load_default="", validate=validate.Regexp(r"[0-9]{0,18}\Z"))
    employee_name = fields.String(load_default="", validate=validate.Length(max=255))


class Kind(NamedTuple):
    """A list that 1C sends: its items, how one becomes a row and rows are stored; how messages call them."""

    items: Schema
    row: Callable[..., Any]
    store: Callable[..., None]
    one: str
    many: str
    key: str


CONTACTS = Kind(
    ContactItem(many=True),
    lambda client_number, **rest: Contact(phone(client_number)[:32], **rest),
    store_contacts,
    "Контакт",
    "Контактов",
    "client_number",
)
EMPLOYEES = Kind(
    EmployeeItem(many=True),
    lambda employee_number, **rest: Employee(employee_number=phone(employee_number)[:32], **rest),
    store_employees,
    "Сотрудник",
    "Сотрудников",
    "employee_ext",
)


@bp.put("/api/contacts")
def put_contacts() -> Response:
    """`{"written": how many}`: each number has just this name and extension now. The same list again changes nothing."""
    return _put(CONTACTS)


@bp.put("/api/employees")
def put_employees() -> Response:
    """`{"written": how many}`: each extension stands for just this number and id now. The same list again changes
    nothing."""
    return _put(EMPLOYEES)


def _put(kind: Kind) -> Response:
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    body = request.stream.read(MOST_BYTES + 1) if (request.content_length or 0) <= MOST_BYTES else None
    if body is None or len(body) > MOST_BYTES:
        return refusal(413, "too_large", f"Тело запроса больше {MOST_BYTES} байт: передавайте список частями.")
    rows = _rows(kind, body)
    if isinstance(rows, Response):
        return rows
    try:
        at = datetime.now(connector().settings.timezone).replace(tzinfo=None, microsecond=0)
        connector().desk.ask(kind.store, rows, at, queue=QUEUE_SECONDS)
    except Away as why:
        log.warning("%s: not written: %s", request.path, why)
        return call_log_away()
    return answer(200, {"written": len(rows)})


def _rows(kind: Kind, body: bytes) -> list[Any] | Response:
    try:
        sent = json.loads(body, parse_int=str)
        json.dumps(sent, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        message = 'Тело запроса должно быть списком JSON: [{"%s": …}, …].'
        return refusal(400, "bad_json", message % kind.key)
    if not isinstance(sent, list) or not all(isinstance(item, dict) for item in sent):
        message = 'Тело запроса должно быть списком объектов JSON: [{"%s": …}, …].'
        return refusal(400, "bad_json", message % kind.key)
    if len(sent) > MOST:
        message = f"{kind.many} {len(sent)}, а за один раз принимается не больше {MOST}: передавайте частями."
        return refusal(422, "too_many", message)
    given = [{name: _stripped(value) for name, value in item.items() if value is not None} for item in sent]
    try:
        items = kind.items.load(given)
    except ValidationError as error:
        at, wrong = next(iter(error.messages_dict.items()))
        field = next(iter(wrong))
        message = f"{kind.one} {int(at) + 1}: поле {field} отсутствует, пустое, не текстовое или слишком длинное."
        if field == "provider_employee_id":
            message = f"{kind.one} {int(at) + 1}: поле {field} должно быть числом: идентификатор у провайдера."
        return refusal(422, "bad_field", message)
    return [kind.row(**item) for item in items]


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
