"""XVB VirtualPBX: events at /crm-api, and its question whose contact is calling."""

import hmac

from flask import Blueprint, Response, request

from calllog.asking import Away
from calllog.contacts import card
from handlers.access import sender
from handlers.answers import answer, connector, refusal
from handlers.webhook import log, receive
from schemas import xvb
from schemas.reading import Delivery, Refusal

bp = Blueprint("xvb", __name__)


@bp.route("/crm-api", methods=["GET", "POST"])
def crm_api() -> Response:
    """An event, or cmd=contact."""
    return receive("xvb", "crm-api", _before)


def _before(delivery: Delivery) -> Response | None:
    """Another tenant is refused, a question is answered; what is left is a delivery."""
    try:
        asked = xvb.request(delivery)
    except Refusal:
        return None  # the ordinary way keeps it and says why
    stranger = _stranger(asked["access_code"])
    if stranger is not None:
        return stranger
    if asked["cmd"].lower() != "contact":
        return None
    try:
        return answer(200, connector().desk.ask(card, asked["phone"]))
    except Away as away:
        log.warning("xvb: a contact card was left blank: %s", away)
        return answer(200, {})


def _stranger(access_code: str) -> Response | None:
    here = connector()
    header, codes = request.headers.get("X-XVB-AC", ""), here.settings.xvb_access_codes
    if header and not hmac.compare_digest(header.strip().encode("utf-8", "surrogateescape"), access_code.encode()):
        code = "access_code_differs"
        message = "Заголовок X-XVB-AC не совпадает с параметром access_code: запрос собран не той АТС."
    elif codes and access_code not in codes:
        code = "unknown_tenant"
        message = "Этот access_code здесь не принимается (список XVB_ACCESS_CODES)."
    else:
        return None
    here.inbox.refuse("xvb", code, message)
    log.warning("xvb: refused %s: %s", sender(), code)
    return refusal(403, code, message)
