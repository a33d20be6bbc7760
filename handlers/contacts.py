"""/api/contacts, /api/employees: what 1C tells of clients and employees, where it does not write the tables itself."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flask import Blueprint, Response, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from calllog.asking import QUEUE_SECONDS, Away
from calllog.contacts import Contact, contacts_page, delete_contacts, store_contacts
from calllog.employees import Employee, delete_employees, employees_page, store_employees
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, plain, refusal, whole
from handlers.webhook import log
from models import Contacts, Employees, Table, columns
from schemas.fields import phone

bp = Blueprint("contacts", __name__)

MOST = 1000  # rows in one request
MOST_NAMED = 100  # keys in one query
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
    """A list that 1C sends and reads: an item, how one becomes a row, what is done with rows; how messages call them."""

    item: Schema
    row: Callable[..., Any]
    store: Callable[..., None]
    page: Callable[..., list[dict[str, Any]]]
    delete: Callable[..., int]
    table: type[Table]
    name: str
    one: str
    many: str
    key: str


CONTACTS = Kind(
    ContactItem(),
    lambda client_number, **rest: Contact(phone(client_number)[:32], **rest),
    store_contacts,
    contacts_page,
    delete_contacts,
    Contacts,
    "contacts",
    "Контакт",
    "Контактов",
    "client_number",
)
EMPLOYEES = Kind(
    EmployeeItem(),
    lambda employee_number, **rest: Employee(employee_number=phone(employee_number)[:32], **rest),
    store_employees,
    employees_page,
    delete_employees,
    Employees,
    "employees",
    "Сотрудник",
    "Сотрудников",
    "employee_ext",
)
KINDS = {kind.name: kind for kind in (CONTACTS, EMPLOYEES)}


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not written: its place in the list, the field that is wrong, and what to mend."""

    index: int
    field: str
    message: str


@bp.put("/api/<any(contacts, employees):name>")
def put(name: str) -> Response:
    """`{"written": how many}`: each number or extension has just this row now; the same list again changes nothing. 422
    where a row is refused: the others are written."""
    kind = KINDS[name]
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    body = request.stream.read(MOST_BYTES + 1) if (request.content_length or 0) <= MOST_BYTES else None
    if body is None or len(body) > MOST_BYTES:
        return refusal(413, "too_large", f"Тело запроса больше {MOST_BYTES} байт: передавайте список частями.")
    sent = _list(kind, body)
    if isinstance(sent, Response):
        return sent
    read = [_row(kind, index, item) for index, item in enumerate(sent)]
    rows = [row for row in read if not isinstance(row, Refused)]
    refused = [row for row in read if isinstance(row, Refused)]
    try:
        at = datetime.now(connector().settings.timezone).replace(tzinfo=None, microsecond=0)
        connector().desk.ask(kind.store, rows, at, queue=QUEUE_SECONDS)
    except Away as why:
        log.warning("%s: not written: %s", request.path, why)
        return call_log_away()
    if not refused:
        return answer(200, {"written": len(rows)})
    message = f"Записано {len(rows)}, отвергнуто {len(refused)}. {refused[0].message}"
    rest = {"written": len(rows), "refused": [asdict(row) for row in refused]}
    return answer(422, {"error": "rows_refused", "message": message, **rest})


@bp.get("/api/<any(contacts, employees):name>")
def listed(name: str) -> Response:
    """Rows by id, page by page: `next` is the `after` of the next page, null at the end; or those of the numbers or
    extensions that are named."""
    kind = KINDS[name]
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    after, limit, keys = whole("after", 0, 0, 2**63 - 1), whole("limit", MOST, 1, MOST), _keys(kind)
    if after is None or limit is None:
        return refusal(422, "bad_field", f"Параметр after — целое число от 0, limit — от 1 до {MOST}.")
    if len(keys) > MOST_NAMED:
        return _too_many_keys(kind)
    try:
        rows = connector().desk.ask(kind.page, keys, after, limit, queue=QUEUE_SECONDS)
    except Away as why:
        log.debug("%s: %s", request.path, why)
        return call_log_away()
    there = [{column: plain(row[column]) for column in columns(kind.table)} for row in rows]
    return answer(200, {kind.name: there, "next": rows[-1]["id"] if len(rows) == limit else None})


@bp.delete("/api/<any(contacts, employees):name>")
def deleted(name: str) -> Response:
    """`{"deleted": how many rows}` of the numbers or extensions that the query names."""
    kind = KINDS[name]
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    keys = _keys(kind)
    if not keys:
        return refusal(422, "bad_field", f"Не сказано, кого удалить: параметр {kind.key}, можно несколько раз.")
    if len(keys) > MOST_NAMED:
        return _too_many_keys(kind)
    try:
        return answer(200, {"deleted": connector().desk.ask(kind.delete, keys, queue=QUEUE_SECONDS)})
    except Away as why:
        log.warning("%s: not deleted: %s", request.path, why)
        return call_log_away()


def _keys(kind: Kind) -> list[str]:
    given = [value.strip()[:64] for value in request.args.getlist(kind.key)]
    return [phone(value)[:32] if kind is CONTACTS else value[:32] for value in given if value]


def _too_many_keys(kind: Kind) -> Response:
    return refusal(422, "bad_field", f"Параметров {kind.key} больше {MOST_NAMED}: передавайте частями.")


def _list(kind: Kind, body: bytes) -> list[Any] | Response:
    try:
        sent = json.loads(body, parse_int=str)
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, list):
        message = 'Тело запроса должно быть списком JSON: [{"%s": …}, …].'
        return refusal(400, "bad_json", message % kind.key)
    if len(sent) > MOST:
        message = f"{kind.many} {len(sent)}, а за один раз принимается не больше {MOST}: передавайте частями."
        return refusal(422, "too_many", message)
    return sent


def _row(kind: Kind, index: int, item: Any) -> Any:
    """The row that an item becomes, or Refused."""
    if not isinstance(item, dict):
        return Refused(index, "", f'{kind.one} {index + 1}: нужен объект JSON {{"{kind.key}": …}}.')
    try:
        given = {name: _stripped(value) for name, value in item.items() if value is not None}
        row = kind.row(**kind.item.load(given))
        "".join(row).encode()  # a lone surrogate is no text
    except ValidationError as error:
        return _refused(kind, index, next(iter(error.messages_dict)))
    except UnicodeEncodeError:
        return Refused(index, "", f"{kind.one} {index + 1}: в тексте есть знаки, которых не бывает.")
    named = any(sign.isalnum() for sign in row[0])  # "+" alone is no number
    return row if named else _refused(kind, index, kind.key)


def _refused(kind: Kind, index: int, field: str) -> Refused:
    what = "отсутствует, пустое, не текстовое или слишком длинное"
    if field == "provider_employee_id":
        what = "должно быть числом: идентификатор у провайдера"
    return Refused(index, field, f"{kind.one} {index + 1}: поле {field} {what}.")


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
