"""Requests that miss a feed's address by little: another case and a slash at its end are taken; what else is near is
counted with the nearest right address, for whoever sets notifications up."""

import re
from difflib import get_close_matches
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

import schemas
from handlers.answers import connector, on_http_error, refusal
from server.logs import masked
from server.visible import visible

_ANY = re.compile(r"<any\(([^)]*)\):\w+>")
LONGEST = 200  # characters of a path that are compared


class Near:
    """The feeds' addresses, for paths that no route takes."""

    def __init__(self, app: Flask) -> None:
        rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] in schemas.feeds()]
        loose = [Rule(rule.rule.lower(), endpoint=rule.endpoint, methods=rule.methods) for rule in rules]
        self.loose = Map(loose, strict_slashes=False, merge_slashes=False).bind("")
        self.addresses: dict[str, tuple[str, str]] = {}  # in lower case -> (feed, as it is)
        for rule in rules:
            if "POST" in (rule.methods or ()) and "<path" not in rule.rule:
                for address in _spelled(rule.rule):
                    self.addresses[address.lower()] = (rule.endpoint.partition(".")[0], address)

    def route(self, path: str, method: str) -> tuple[str, Any] | None:
        """(endpoint, arguments) of an address that differs by case and slashes alone."""
        try:
            return self.loose.match(re.sub("/{2,}", "/", path.lower()).rstrip("/"), method)
        except HTTPException:
            return None

    def nearest(self, path: str) -> tuple[str, str] | None:
        """(feed, address) that a path was meant for, whatever stands before it; None where it is like none."""
        parts = [part for part in path[:LONGEST].lower().split("/") if part]
        tails = ["/" + "/".join(parts[-length:]) for length in (1, 2, 3) if length <= len(parts)]
        for tail in reversed(tails):
            found = get_close_matches(tail, self.addresses, 1, 0.8)
            if found:
                return self.addresses[found[0]]
        return None


def _spelled(rule: str) -> list[str]:
    choice = _ANY.search(rule)
    return [rule.replace(choice[0], one.strip()) for one in choice[1].split(",")] if choice else [rule]


def on_not_found(error: HTTPException) -> Response:
    """Takes what differs by case and slashes; counts what is near; 404 for it and everything else."""
    near: Near = current_app.extensions["near"]
    route = near.route(request.path, request.method)
    if route is not None:
        view: Any = current_app.view_functions[route[0]]
        return current_app.make_response(view(**route[1]))
    found = near.nearest(request.path)
    if found is None:
        return on_http_error(error)
    feed, address = found
    message = (
        f"Запрос пришёл на …{masked(visible(request.path[:100]))}, такого адреса у коннектора нет. Ближайший — …{address}: "
        f"скопируйте его в поле «URL» со страницы «Настройка» или из pbx-connector feeds show {feed}."
    )
    connector().inbox.refuse(feed, "unknown_path", message)
    return refusal(404, "not_found", message)
