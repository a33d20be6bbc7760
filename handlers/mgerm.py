"""UIS as set up for the Mgerm module: «Завершение звонка» at /uis/call/ended."""

from flask import Blueprint, Response

from handlers.webhook import receive

bp = Blueprint("mgerm", __name__)


@bp.route("/uis/call/ended", methods=["GET", "POST"])
def call_ended() -> Response:
    """The end of a call."""
    return receive("mgerm", "ended")
