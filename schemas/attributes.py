"""Attributes: what a delivery says and no column of the call log has, under the provider's own names."""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import marshmallow

from schemas.event import MOST_ATTRIBUTES
from schemas.fields import joined
from schemas.reading import Fields, clean

LONGEST_NAME, LONGEST = 64, 1024  # of the columns
MOST_BYTES = 16_000  # of one event's attributes: its payload is a TEXT of 65,535 bytes and has thirty links beside them
MOST_ITEMS = 1000  # of one list

# Keys whose value opens a door: no attribute, whatever a template or a provider's relative calls them.
_SECRET = re.compile(r"\w*(?:key|token|password|passwd|secret|authorization)")


def attributes(
    fields: Fields,
    schema: marshmallow.Schema,
    spelled: Mapping[str, str] | None = None,
    also: frozenset[str] = frozenset(),
) -> tuple[tuple[str, str], ...]:
    """(name, content) of every value that `schema` does not read, by name: names in snake case, the items of a list joined
    with commas, at most MOST_ATTRIBUTES of them, the first by name.

    `also`: keys that the schema reads and that have no column all the same. `spelled`: canonical key -> the provider's own
    spelling, for templates that lost it.
    """
    spelled = spelled or {}
    found: dict[str, list[str]] = {}
    for name, text in _unread(fields, _keys(schema, also), spelled):
        items = found.setdefault(name, [])
        if name and len(items) < MOST_ITEMS:
            items.append(text)
    found.pop("", None)
    kept: list[tuple[str, str]] = []
    left = MOST_BYTES
    for name in sorted(found):
        content = joined(tuple(found[name]), LONGEST).strip()
        left -= len(name.encode()) + len(content.encode()) + content.count('"') + content.count("\\") + 6  # as JSON
        if left < 0 or len(kept) == MOST_ATTRIBUTES:
            break
        kept.append((name, content))
    return tuple(kept)


@cache
def _keys(schema: marshmallow.Schema, also: frozenset[str]) -> frozenset[str]:
    return frozenset(field.data_key or name for name, field in schema.load_fields.items()) - also


def _unread(fields: Fields, read: frozenset[str], spelled: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, text) of each value that says something and is not what stands under a key of `read`."""
    waiting: list[tuple[str, str, Any]] = [("", "", fields.sent)]
    for path, parent, container in waiting:  # it grows meanwhile; Fields has refused what is deeper than DEEPEST
        if isinstance(container, list):
            for item in container[:MOST_ITEMS]:
                if isinstance(item, dict | list):
                    waiting.append((path, parent, item))
                elif text := clean(item):
                    yield path, text
            continue
        spelling: dict[str, str] = getattr(container, "spelled", {})
        for key, value in container.items():
            nested = isinstance(value, dict | list)
            if not nested and not parent and key in read:
                continue
            text = "" if nested else clean(value)
            if (nested or text) and not _SECRET.fullmatch(key):
                names = (key, parent + key) if parent else (key,)
                taken = [name for name in names if name in read]
                own = next((spelled[name] for name in names if name in spelled and name not in read), "")
                name = own or "_".join(filter(None, (path, snake(spelling.get(key, key)))))[:LONGEST_NAME].strip("_")
                if text and not any(fields.leaves.get(n) == text for n in taken):
                    yield name, text
                elif isinstance(value, dict) or (nested and not any(fields.leaves.get(n) is value for n in taken)):
                    waiting.append((name, key, value))


_WORDS = re.compile(r"(?<=[a-zа-яё0-9])(?=[A-ZА-ЯЁ])|(?<=[A-ZА-ЯЁ])(?=[A-ZА-ЯЁ][a-zа-яё])")
_BETWEEN = re.compile(r"[\W_]+")


def snake(key: str) -> str:
    """A key in snake case: `visitorCountry`, `Visitor country` and `visitor_country` are one name."""
    return _snake(key[:LONGEST_NAME])


@lru_cache(maxsize=4096)
def _snake(key: str) -> str:
    return _BETWEEN.sub("_", _WORDS.sub("_", key)).strip("_").lower()
