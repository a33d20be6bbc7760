"""«Отклонить»: what somebody else than the provider has sent. First who sent how much of it, then a button."""

import logging
import re
from datetime import datetime
from typing import Any

from flask import Response, render_template, request, url_for

from handlers.answers import Connector, connector
from handlers.page.guard import sentence
from handlers.page.views import bp
from inbox import FORGOTTEN, REJECTED, Suspects, now

log = logging.getLogger("connector.page")
FIELDS = ("feed", "since", "until", "address", "key")
SHOWN = 100  # senders


@bp.get("/reject")
def rejecting() -> str:
    """The form, and who sent what it names; what became of the last order."""
    here = connector()
    fields = {name: request.args.get(name, "").strip()[:128] for name in FIELDS}
    suspects = _suspects(here, fields)
    senders = here.inbox.senders(suspects) if suspects else []
    return render_template(
        "reject.html", fields=fields, suspects=suspects, senders=senders[:SHOWN], more=len(senders) - SHOWN,
        count=sum(sender.size for sender in senders if sender.reason not in (FORGOTTEN, REJECTED)),
        feeds=sorted(here.settings.feeds), asked=here.inbox.asked_to_reject(), last=here.inbox.last_rejection(),
    )  # fmt: skip


@bp.post("/reject")
def reject() -> Response:
    """Order it: the process that forwards carries it out (forwarder.py)."""
    here = connector()
    fields: dict[str, Any] = {name: request.form.get(name, "").strip()[:128] for name in FIELDS}
    suspects = _suspects(here, fields)
    if suspects is None:
        return sentence(400, "Не отклонено", "Укажите поток и время: с какого и до какого.")
    if not here.inbox.ask_to_reject(suspects):
        return sentence(409, "Не отклонено", "Прошлое отклонение ещё не закончено: подождите и повторите.")
    here.inbox.wake()
    log.info("the operator page: reject %s", suspects)
    return Response(status=303, headers={"Location": url_for("page.rejecting", **fields)})


def _suspects(here: Connector, fields: dict[str, str]) -> Suspects | None:
    """Whom the form names, None where it names no feed or no time."""
    since, until = _moment(here, fields["since"]), _moment(here, fields["until"])
    if not fields["feed"] or since is None or until is None:
        return None
    key = fields["key"].lower() if re.fullmatch("[0-9a-fA-F]{8}", fields["key"]) else ""
    if fields["key"] and not key:
        return None
    return Suspects(fields["feed"], since, min(until, now()), fields["address"], key)


def _moment(here: Connector, text: str) -> int | None:
    """A field's wall clock in TIMEZONE, to the minute or to the second, in milliseconds."""
    try:
        wall = datetime.fromisoformat(text).replace(tzinfo=here.settings.timezone)
        return int(wall.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
