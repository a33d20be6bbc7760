"""The page of click to call: who asked to call whom, what extensions stand for, and what notifications say of them."""

import logging
from datetime import datetime

from flask import Response, render_template, request, url_for

from calllog.employees import confirm_employee, proposals
from handlers.answers import connector
from handlers.page.guard import sentence
from handlers.page.views import LAST_ID, ask, bp
from schemas.fields import phone

log = logging.getLogger("connector.page")
ATTEMPTS = 100  # on one page


@bp.get("/click-to-call")
def dialling() -> str:
    """Attempts, the newest first; extensions that recent calls show otherwise than `employees` has them."""
    here = connector()
    before = min(request.args.get("before", 0, type=int), LAST_ID)
    found, away = ask(proposals) if here.settings.uis_api_token else ([], False)
    tried = here.inbox.attempts(before, ATTEMPTS)
    on = tried[-1].id if len(tried) == ATTEMPTS else None
    return render_template("dialling.html", tried=tried, on=on, found=found, away=away)


@bp.post("/employees")
def confirm() -> Response:
    """«Подтвердить»: the extension stands for the number and the id that the page showed."""
    ext, number, id = (request.form.get(name, "").strip() for name in ("ext", "number", "id"))
    if not 0 < len(ext) <= 32 or len(number) > 64 or len(id) > 18 or not (number or id) or (id and not id.isdecimal()):
        return sentence(400, "Не записано", "Добавочный, номер или идентификатор не такие, как их показывает страница.")
    at = datetime.now(connector().settings.timezone).replace(tzinfo=None, microsecond=0)
    _, away = ask(confirm_employee, ext, phone(number)[:32], id, at)
    if away:
        return sentence(503, "Журнал звонков не отвечает", "Не записано: повторите, когда он ответит.")
    log.info("the operator page: what extension %r stands for was confirmed", ext)
    return Response(status=303, headers={"Location": url_for("page.dialling")})
