"""«Подтвердить» of a host of recordings, which the page proposes where none is known."""

import logging

from flask import Response, request, url_for

from handlers.answers import connector
from handlers.page.guard import sentence
from handlers.page.views import bp
from inbox import links

log = logging.getLogger("connector.page")


@bp.post("/recordings")
def confirm_recordings() -> Response:
    """The feed's recordings at the host that the page showed are links from now on."""
    here = connector()
    feed, host = request.form.get("feed", ""), request.form.get("host", "")
    if links.proposed(here.settings, here.inbox, here.settings.feeds).get(feed) != host or not host:
        return sentence(400, "Не записано", "Этот адрес записей страница уже не предлагает.")
    count = links.confirm(here.inbox, feed, host)
    log.info(
        "the operator page: recordings of %s at %r are links, %d deliveries are understood again", feed, host, count
    )
    return Response(status=303, headers={"Location": url_for("page.service", replayed=count)})
