"""The protocol of a feed: what its module in schemas/ declares, checked once, at the start, with one sentence a fault."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from types import ModuleType
from typing import Any

import marshmallow

from schemas.event import CallEvent
from schemas.reading import Delivery, Form

LONGEST_NAME = 16  # of the columns `provider` and `feed`
TAKEN = ("api",)  # API_KEY is 1C's, and refusals of /api/* are counted under this name

# constant -> (type, how to write it)
REQUIRED: dict[str, tuple[type, str]] = {
    "PROVIDER": (str, 'who owns the call ids, for example PROVIDER = "toy"'),
    "ADDRESS": (str, 'the path that the provider posts to, for example ADDRESS = "/toy"'),
    "FORM": (Form, 'how its settings page calls its fields: FORM = Form(body="«…»", url="«…»")'),
}
OPTIONAL: dict[str, tuple[type, str]] = {
    "ZONE": (str, 'the time zone of the provider\'s clock, for example "Europe/Moscow"'),
    "TELLS_TIME": (bool, "False where no event carries a moment, so that the time of receipt is the event's"),
    "SETTLES": (bool, "True where silence after the last leg ends a call"),
    "SCHEMA": (marshmallow.Schema, "what a body may have, by which moments that cannot be read are found"),
    "RECORDING_HOSTS": (tuple, 'the domains that its recordings are at: RECORDING_HOSTS = ("example.ru",)'),
    "KEY_FIELD": (str, "the field of the body in which the provider sends the key"),
}
FUNCTIONS = {"recognise": ("delivery",), "understand": ("delivery", "zone")}


@dataclass(frozen=True, slots=True)
class Feed:
    """One endpoint that a provider posts to. The key may stand in the URL (?key=…) or in the password of HTTP Basic; in the
    body only where there is a `key_field`."""

    name: str
    provider: str
    address: str
    form: Form
    recognise: Callable[[Delivery], Any]
    understand: Callable[[Delivery, tzinfo], CallEvent]
    zone: str = ""
    tells_time: bool = True
    settles: bool = False
    key_field: str = ""
    recording_hosts: tuple[str, ...] = ()
    schema: marshmallow.Schema | None = None


def is_feed(module: ModuleType) -> bool:
    """Whether the module means to be a feed: it has at least one part of the protocol."""
    return any(hasattr(module, name) for name in (*REQUIRED, *FUNCTIONS))


def faults(name: str, module: ModuleType) -> Iterator[str]:
    """A sentence for each part of the protocol that is missing or wrong."""
    if not name.isidentifier() or name != name.lower() or len(name) > LONGEST_NAME or name in TAKEN:
        yield (
            f"the feed's name is the file's: at most {LONGEST_NAME} lower-case letters, digits and _, and not "
            f"{' or '.join(TAKEN)}"
        )
    for constant, (kind, advice) in (REQUIRED | OPTIONAL).items():
        if not hasattr(module, constant):
            if constant in REQUIRED:
                yield f"{constant} is missing: {advice}"
        elif not isinstance(getattr(module, constant), kind):
            yield f"{constant} must be a {kind.__name__}: {advice}"
    provider, address = getattr(module, "PROVIDER", None), getattr(module, "ADDRESS", None)
    if isinstance(provider, str) and not 0 < len(provider) <= LONGEST_NAME:
        yield f"PROVIDER must have 1 to {LONGEST_NAME} characters, as many as the column `provider`"
    if isinstance(address, str) and not address.startswith("/"):
        yield "ADDRESS must begin with /"
    for function, parameters in FUNCTIONS.items():
        wanted = f"{function}({', '.join(parameters)})"
        if not callable(getattr(module, function, None)):
            yield f"{wanted} is missing"
        elif not takes(getattr(module, function), len(parameters)):
            yield f"{function} must take {' and '.join(parameters)}: {wanted}"


def takes(function: Any, count: int) -> bool:
    """Whether it can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


def declared(name: str, module: ModuleType) -> Feed:
    """The feed that a module without faults declares."""
    optional = {constant.lower(): getattr(module, constant) for constant in OPTIONAL if hasattr(module, constant)}
    return Feed(name, module.PROVIDER, module.ADDRESS, module.FORM, module.recognise, module.understand, **optional)
