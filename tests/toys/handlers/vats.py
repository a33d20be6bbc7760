"""The relative's route: events, history, and its question whose contact is calling."""

from flask import Blueprint, Response
from schemas.vats import CRM  # type: ignore[import-not-found]

from handlers.crm import answer_crm
from handlers.webhook import take

bp = Blueprint("vats", __name__)


@bp.route("/vats", methods=["GET", "POST"])
def vats() -> Response:
    """An event, a history, or cmd=contact."""
    delivery = take("vats", "vats")
    return delivery if isinstance(delivery, Response) else answer_crm(CRM, delivery)
