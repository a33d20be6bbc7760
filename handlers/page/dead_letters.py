"""«Отвергнутые»: dead letters by what is to be changed, «Разобрано» for those that are dealt with, «Понять заново» where
today's code understands them."""

import json
import logging
from collections import Counter
from typing import NamedTuple

from flask import Response, render_template, request, url_for

from handlers.answers import Connector, connector
from handlers.page import dealt_with
from handlers.page.views import LAST_ID, bp
from inbox import DEAD, IGNORED, UNKNOWN_FEED
from inbox.judge import understood
from inbox.looking import MOST_SEARCHED, DeadGroup
from upkeep import reject

log = logging.getLogger("connector.page")
REPLAYED = 10_000  # dead letters that one press takes up
FOLLOWED = 1_000  # of them, whose outcome the page tells
SHOWN = 50  # groups on a page
FOLLOWED_IDS = "dead_replayed"  # a fact of the inbox


class Group(NamedTuple):
    """A group of dead letters, and whether today's code understands its newest one otherwise than it was."""

    group: DeadGroup
    changed: bool


@bp.get("/dead")
def dead() -> str:
    """Dead letters by feed, reason and sentence."""
    here = connector()
    total = sum(count for _, _, count in here.inbox.dead())
    still, done = dealt_with.sorted_out(here.inbox)
    return render_template(
        "dead.html",
        groups=[_judged(here, group) for group in still[:SHOWN]],
        done=[_judged(here, group) for group in done[:SHOWN]],
        total=total,
        looked_through=MOST_SEARCHED,
        gave=_gave(here) if "replayed" in request.args else Counter(),
    )


def _judged(here: Connector, group: DeadGroup) -> Group:
    stored = here.inbox.delivery(group.examples[0])
    if stored is None or group.reason == UNKNOWN_FEED:
        return Group(group, False)
    judged, _ = understood(stored.delivery, here.settings.feeds)
    return Group(group, (judged.state, judged.reason) != (DEAD, group.reason))


def _gave(here: Connector) -> "Counter[str]":
    """State -> how many of those that were sent to be understood again last."""
    ids = json.loads(here.inbox.fact(FOLLOWED_IDS) or "[]")
    return Counter(here.inbox.states(ids).values())


@bp.post("/dealt-with")
def deal_with() -> Response:
    """«Разобрано»: the group of the dead letter `id`, as it is now; with `again` it is open again."""
    here = connector()
    chosen = here.inbox.delivery(min(request.form.get("id", 0, type=int), LAST_ID))
    if chosen is not None and chosen.outcome.state == DEAD:
        dealt_with.mark(here.inbox, chosen, again=bool(request.form.get("again")))
        log.info("the operator page: dead letters like delivery %d are dealt with", chosen.delivery.id)
    return Response(status=303, headers={"Location": url_for("page.dead")})


@bp.post("/replay")
def replay() -> Response:
    """«Понять заново»: the delivery `id`, or with `all` every dead letter like it; then back to where the button was."""
    here = connector()
    inbox = here.inbox
    chosen = inbox.delivery(min(request.form.get("id", 0, type=int), LAST_ID))
    count = 0
    if chosen is not None and chosen.outcome.state in (DEAD, IGNORED):
        ids = inbox.dead_like(chosen, REPLAYED) if request.form.get("all") else [chosen.delivery.id]
        inbox.remember(**{FOLLOWED_IDS: json.dumps(ids[:FOLLOWED])})
        if not request.form.get("all"):
            count = reject.replay(here.settings, inbox, ids)
        else:
            count = sum(inbox.replay(ids[at : at + 500]) for at in range(0, len(ids), 500))
        log.info("the operator page: %d deliveries wait to be understood again", count)
    if request.form.get("back") == "delivery" and chosen is not None:
        back = url_for("page.delivery", id=chosen.delivery.id, replayed=count)
    else:
        back = url_for("page.dead", replayed=count)
    return Response(status=303, headers={"Location": back})
