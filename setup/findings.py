"""Findings of the doctor, and the words in which they are printed."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

from schemas.reading import Delivery, canonical
from server.logs import masked

ENOUGH = 3  # calls that show that an event type does not come; single ones may have another reason


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change: `seen` deliveries of `of`, the last of them at `last_at` (milliseconds) with the id `delivery`,
    and after it `right` without the fault: with enough of them it is `closed`. A `note` does no harm, needs no change."""

    code: str
    title: str
    wrong: str
    where: str
    paste: str = ""
    notification: str = ""
    seen: int = 0
    of: int = 0
    last_at: int | None = None
    delivery: int | None = None
    note: bool = False
    right: int = 0
    closed: bool = False


class Label(NamedTuple):
    """A notification as its owner knows it: the name he gave it, its event type where the event shows it, its address."""

    name: str = ""
    event_type: str = ""
    route: str = ""

    def __str__(self) -> str:
        parts = [
            f"тип события «{self.event_type}»" if self.event_type else "",
            f"адрес …/{self.route}" if self.route else "",
        ]
        about = ", ".join(part for part in parts if part)
        return f"«{self.name}» ({about})" if self.name else f"без названия ({about})" if about else ""


@dataclass(slots=True)
class Mark:
    """How often one thing was seen in one notification."""

    seen: int = 0
    last_at: int | None = None
    delivery: int | None = None
    details: dict[str, None] = field(default_factory=dict)  # each once, in the form's order
    paste: str = ""  # the whole template
    right: int = 0  # deliveries of the same notification after the last one, without the fault

    def add(self, delivery: Delivery, details: Iterable[str] = (), paste: Callable[[], str] | None = None) -> None:
        self.seen, self.last_at, self.delivery, self.right = self.seen + 1, delivery.received_at, delivery.id, 0
        self.details |= dict.fromkeys(list(details)[: 40 - len(self.details)])
        self.paste = self.paste or (paste() if paste else "")


class Advice(NamedTuple):
    """Title, what is wrong, where to change it, what to paste; {body}, {url}, {method}, {details}, {list} are filled in."""

    title: str
    wrong: str
    where: str
    paste: str = ""
    note: bool = False


class Expected(NamedTuple):
    """An event type that must come when others do: its name at the provider, the tags of which one must have been seen,
    and how many of the other tags prove that it does not come."""

    name: str
    tags: tuple[str, ...]
    proof: tuple[str, ...]
    enough: int = ENOUGH


class Right(NamedTuple):
    """The route that an event should have come to, "" where it did; `by_address` where its kind was decided by the wrong
    address alone, so that it is not the event's own."""

    route: str = ""
    by_address: bool = False


_KEY = re.compile(r'"([^"\\\n{}]{1,128})"\s{0,20}:')


def keys_of(text: str) -> set[str]:
    """The keys of a body as it came, JSON (however broken) or a form, whether they have values or not."""
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return {canonical(key) for key in _KEY.findall(text)}
    return {canonical(key) for key, _ in parse_qsl(text, keep_blank_values=True)}


BRACES = re.compile(r"(?<!\{)\{(\w+)\}")  # {{…}} is a placeholder of the provider's


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with {name} replaced; {{…}} stays."""
    return BRACES.sub(lambda found: names[found[1]], text)


def line(key: str, placeholder: str | None) -> str:
    """A template's line as it should be pasted; only the key without a placeholder."""
    return f'"{shown(key)}":{{{{{placeholder}}}}}' if placeholder else f'"{shown(key)}"'


def shown(text: str) -> str:
    """What the sender wrote, as a terminal may show it."""
    return masked("".join(sign for sign in text if sign.isprintable()))
