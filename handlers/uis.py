"""UIS notifications where the 1C HTTP service took them: /hs/UIScom/in, /out, /rec, under any base name or none."""

from flask import Blueprint, Response

from handlers.webhook import receive

bp = Blueprint("uis", __name__)


@bp.route("/hs/UIScom/<any(in, out, rec):route>", methods=["GET", "POST"])
@bp.route("/<path:base>/hs/UIScom/<any(in, out, rec):route>", methods=["GET", "POST"])
def notification(route: str, base: str = "") -> Response:
    """A notification; `base` is the 1C base's name that the old address had, of no meaning here."""
    return receive("uis", route)


@bp.get("/hs/UIScom/ping")
@bp.get("/<path:base>/hs/UIScom/ping")
def ping(base: str = "") -> Response:
    """What the 1C service answered, for whoever watches it: no key, stores nothing."""
    return Response("HTTP-Сервис работает! Its Work!", content_type="text/plain; charset=utf-8")
