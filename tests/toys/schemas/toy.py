"""A toy provider, all of the protocol: its owner writes the body, with the key in it; events have moments."""

from datetime import tzinfo

from schemas import event as words
from schemas.event import CallEvent
from schemas.fields import CallId, FeedSchema, Moment, Text, load, milliseconds, phone
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read

PROVIDER = "toy"
ADDRESS = "/toy/{}"
FORM = Form(body="«Тело»", url="«Адрес»", call_id="id", template=True)
ZONE = "Asia/Omsk"
TELLS_TIME = True
SETTLES = True
KEY_FIELD = "secret"

KINDS = {"ring": words.RINGING, "answer": words.ANSWERED, "end": words.ENDED}


class Schema(FeedSchema):
    """What the toy's template has."""

    id = CallId()
    what = Text(16)
    at = Moment()
    client = Text(64)


SCHEMA = Schema()


def recognise(delivery: Delivery) -> Fields:
    """The fields of an event that we know."""
    sent = read(delivery, FORM)
    what = load(SCHEMA, sent, _refuse)["what"]
    if what not in KINDS:
        raise Ignored("unknown_event", f"Событие {what} коннектору неизвестно: принято, действия нет.")
    return sent


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """The event in our words."""
    sent = recognise(delivery)
    fields = load(SCHEMA, sent, _refuse)
    moment = milliseconds(fields["at"], zone)
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=fields["id"],
        kind=KINDS[fields["what"]],
        event_key=sent.event_key(PROVIDER),
        received_at=delivery.received_at,
        occurred_at=moment,
        direction="in",
        client_number=phone(fields["client"]),
        started_at=moment if fields["what"] == "ring" else None,
        ended_at=moment if fields["what"] == "end" else None,
    )


def _refuse(name: str, what: str) -> Refusal:
    return Refusal(422, "no_call_id", f"Нет номера звонка: ключ {name} отсутствует или пуст. {FORM.mend}")
