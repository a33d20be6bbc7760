"""What the feeds of a family of cloud PBXs share (schemas/crm.py): an event is stored, cmd=contact is answered at once."""

from collections.abc import Callable

from flask import Response

from calllog.asking import Away
from calllog.contacts import card
from handlers.access import sender
from handlers.answers import answer, connector
from handlers.webhook import log, store
from schemas.crm import Crm
from schemas.reading import Delivery, Refusal


def answer_crm(
    crm: Crm, delivery: Delivery, refused: Callable[[str], Response | None] = lambda account: None
) -> Response:
    """The answer to a request of a PBX of the family; `refused` has the one to an account that is not ours."""
    try:
        fields = crm.request(delivery)
    except Refusal:
        return store(delivery)  # kept as a dead letter that says why
    refusal = refused(fields["account"])
    if refusal is not None:
        return refusal
    return _card(delivery.feed, fields["phone"]) if fields["cmd"].lower() == "contact" else store(delivery)


def _card(feed: str, phone: str) -> Response:
    """Whose number it is; nobody's while the call log does not answer, nor when so many ask that somebody may be reading
    out the client base."""
    if not connector().questions[feed].one_more():
        log.warning("%s: a contact card was left blank for %s: CONTACT_QUESTIONS_MINUTE is reached", feed, sender())
        connector().inbox.refuse(feed, "too_many_questions", "Вопросов о контактах больше CONTACT_QUESTIONS_MINUTE.")
        return answer(200, {})
    try:
        return answer(200, connector().desk.ask(card, phone))
    except Away as away:
        log.warning("%s: a contact card was left blank: %s", feed, away)
        return answer(200, {})
