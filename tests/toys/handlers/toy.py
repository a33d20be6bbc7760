"""The toy provider's routes."""

from flask import Blueprint, Response

from handlers.webhook import receive

bp = Blueprint("toy", __name__)


@bp.route("/toy/<any(call, end):route>", methods=["GET", "POST"])
def toy(route: str) -> Response:
    """An event; the end of a call has an address of its own."""
    return receive("toy", route)
