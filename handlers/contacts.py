"""PUT /api/contacts: 1C's contacts for the contact card, where it does not write the table itself."""

import json
from datetime import datetime

from flask import Blueprint, Response, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from calllog.asking import QUEUE_SECONDS, Away
from calllog.contacts import Contact, store_contacts
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, refusal
from handlers.webhook import log
from schemas.fields import phone

bp = Blueprint("contacts", __name__)

MOST = 1000  # contacts in one request
MOST_BYTES = 1_048_576


class Item(Schema):
    """One contact."""

    class Meta:
        unknown = EXCLUDE

    client_number = fields.String(required=True, validate=validate.Length(1, 64))
    client_name = fields.String(load_default="", validate=validate.Length(max=255))
    responsible_ext = fields.String(load_default="", validate=validate.Length(max=32))


ITEMS = Item(many=True)


@bp.put("/api/contacts")
def put() -> Response:
    """`{"written": how many}`: each number has just this name and extension now. The same list again changes nothing."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    body = request.stream.read(MOST_BYTES + 1) if (request.content_length or 0) <= MOST_BYTES else None
    if body is None or len(body) > MOST_BYTES:
        return refusal(413, "too_large", f"Тело запроса больше {MOST_BYTES} байт: передавайте контакты частями.")
    contacts = _contacts(body)
    if isinstance(contacts, Response):
        return contacts
    try:
        at = datetime.now(connector().settings.timezone).replace(tzinfo=None, microsecond=0)
        connector().desk.ask(store_contacts, contacts, at, queue=QUEUE_SECONDS)
    except Away as why:
        log.warning("contacts: not written: %s", why)
        return call_log_away()
    return answer(200, {"written": len(contacts)})


def _contacts(body: bytes) -> list[Contact] | Response:
    try:
        sent = json.loads(body, parse_int=str)
        json.dumps(sent, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return refusal(400, "bad_json", 'Тело запроса должно быть списком JSON: [{"client_number": …}, …].')
    if not isinstance(sent, list) or not all(isinstance(item, dict) for item in sent):
        return refusal(400, "bad_json", 'Тело запроса должно быть списком объектов JSON: [{"client_number": …}, …].')
    if len(sent) > MOST:
        return refusal(
            422, "too_many", f"Контактов {len(sent)}, а за один раз принимается не больше {MOST}: передавайте частями."
        )
    given = [{name: _stripped(value) for name, value in item.items() if value is not None} for item in sent]
    try:
        items = ITEMS.load(given)
    except ValidationError as error:
        at, wrong = next(iter(error.messages_dict.items()))
        field = next(iter(wrong))
        return refusal(
            422,
            "bad_field",
            f"Контакт {int(at) + 1}: поле {field} отсутствует, пустое, не текстовое или слишком длинное.",
        )
    return [Contact(phone(item["client_number"])[:32], item["client_name"], item["responsible_ext"]) for item in items]


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
