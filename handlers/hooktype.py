"""«Звонковые события по Webhook»: one address for all eight hooks."""

from flask import Blueprint, Response

from handlers.webhook import receive

bp = Blueprint("hooktype", __name__)


@bp.route("/hooktype", methods=["GET", "POST"])
def hook() -> Response:
    """A hook; HookType in the body says which."""
    return receive("hooktype", "hooktype")
