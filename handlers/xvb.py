"""XVB VirtualPBX: events at /crm-api, and its question whose contact is calling."""

import hmac

from flask import Blueprint, Response, request

from calllog.asking import Away
from calllog.contacts import card
from handlers.access import turn_away
from handlers.answers import answer, connector
from handlers.webhook import log, store, take
from schemas import xvb
from schemas.reading import Refusal

bp = Blueprint("xvb", __name__)


@bp.route("/crm-api", methods=["GET", "POST"])
def crm_api() -> Response:
    """An event, or cmd=contact."""
    delivery = take("xvb", "crm-api")
    if isinstance(delivery, Response):
        return delivery
    try:
        fields = xvb.request(delivery)
    except Refusal:
        return store(delivery)  # kept as a dead letter that says why
    refused = _other_tenant(fields["access_code"])
    if refused is not None:
        return refused
    return _card(fields["phone"]) if fields["cmd"].lower() == "contact" else store(delivery)


def _card(phone: str) -> Response:
    """Whose number it is; nobody's while the call log does not answer."""
    try:
        return answer(200, connector().desk.ask(card, phone))
    except Away as away:
        log.warning("xvb: a contact card was left blank: %s", away)
        return answer(200, {})


def _other_tenant(access_code: str) -> Response | None:
    """The answer to another tenant's request, or None for one of ours."""
    header, codes = request.headers.get("X-XVB-AC", ""), connector().settings.xvb_access_codes
    if header and not hmac.compare_digest(header.strip().encode("utf-8", "surrogateescape"), access_code.encode()):
        code = "access_code_differs"
        message = "Заголовок X-XVB-AC не совпадает с параметром access_code: запрос собран не той АТС."
    elif codes and access_code not in codes:
        code = "unknown_tenant"
        message = "Этот access_code здесь не принимается (список XVB_ACCESS_CODES)."
    else:
        return None
    log.warning("xvb: refused, %s", code)
    return turn_away("xvb", 403, code, message)
