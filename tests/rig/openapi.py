"""docs/openapi.yaml, and whether an answer is one of those that it promises."""

import re
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import yaml
from jsonschema import Draft202012Validator

from tests.rig.surroundings import ROOT

METHODS = ("get", "post", "put", "delete")


@cache
def description() -> dict[str, Any]:
    """The whole document."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
    return found


def operation(method: str, path: str) -> dict[str, Any] | None:
    """What the document says of a request; None where it knows no such path or method."""
    found = [item for template, item in description()["paths"].items() if _pattern(template).fullmatch(path)]
    return found[0].get(method.lower()) if found else None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    kinds = {"{route}": "(?:in|out|rec)", "{base}": ".+"}
    return re.compile("".join(kinds.get(part, re.escape(part)) for part in re.split(r"(\{\w+\})", template)))


def resolved(thing: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` stands for."""
    while "$ref" in thing:
        found: Any = description()
        for name in thing["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        thing = found
    return thing


def check(answer: requests.Response) -> requests.Response:
    """The answer, if it is as the document says; of what the document does not know, whatever it is."""
    request = answer.request
    told = operation(request.method or "GET", unquote(urlsplit(request.url or "").path))
    if told is None:
        return answer
    where = f"{request.method} {urlsplit(request.url or '').path}: {answer.status_code} {answer.text[:300]}"
    assert str(answer.status_code) in told["responses"], f"docs/openapi.yaml has no such status: {where}"
    promised = resolved(told["responses"][str(answer.status_code)])
    missing = [name for name in promised.get("headers", {}) if name not in answer.headers]
    assert not missing, f"docs/openapi.yaml promises {missing}: {where}"
    content = promised.get("content")
    if content is not None:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        assert kind in content, f"docs/openapi.yaml has no {kind}: {where}"
        if "schema" in content[kind]:
            validator = Draft202012Validator({**content[kind]["schema"], "components": description()["components"]})
            wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(answer.json())]
            assert not wrong, f"not as docs/openapi.yaml says: {wrong[:5]}; {where}"
    return answer
