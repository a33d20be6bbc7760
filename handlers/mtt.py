"""MTT «Smart УВВ»: the event_URL of the routing answer."""

from flask import Blueprint, Response

from handlers.webhook import receive

bp = Blueprint("mtt", __name__)


@bp.route("/mtt/events", methods=["GET", "POST"])
def event() -> Response:
    """An online notification."""
    return receive("mtt", "events")
