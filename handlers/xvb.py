"""XVB VirtualPBX: events at /crm-api, and its question whose contact is calling."""

import hmac

from flask import Blueprint, Response, request

from handlers.access import sender, turn_away
from handlers.answers import connector
from handlers.crm import answer_crm
from handlers.webhook import log, take
from schemas.xvb import CRM

bp = Blueprint("xvb", __name__)


@bp.route("/crm-api", methods=["GET", "POST"])
def crm_api() -> Response:
    """An event, or cmd=contact."""
    delivery = take("xvb", "crm-api")
    return delivery if isinstance(delivery, Response) else answer_crm(CRM, delivery, _other_tenant)


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
    log.warning("xvb: refused %s: %s", sender(), code)
    return turn_away("xvb", 403, code, message)
