"""A phone number in a text, however it is written: found, and blanked. Pure.

A number is whole runs of digits with up to SEPARATOR's signs between them: «25.11.2026 8 (920) 111-96-13 12» has one.
Digits that touch it make it another number, or an id.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.fields import BLANK

SHORTEST = 5  # digits: what has fewer is an extension, not somebody's phone
WHOLE = 10  # digits of a number with its area's code; a shorter one is only found as one run of digits
LONGEST = 16  # digits, 8 10 and a country's code among them

Known = Callable[[str], bool]  # whether a number, normalised, is looked for

_RUN = re.compile("[0-9]+")
# In a value any few signs that are neither letters nor digits; in a text that may have a structure none of its marks.
_IN_VALUE = re.compile(r"[0-9]+(?:[\W_]{1,6}[0-9]+)*")
_IN_TEXT = re.compile(r"[0-9]+(?:(?:[^\w\"{}\[\]:,;=&<>|]|_){1,16}[0-9]+)*")
# Signs that are written by several others, digits among them: \u00a0 \/ %20 &nbsp;
_ESCAPES = re.compile(r"\\u[0-9a-f]{4}|\\[^u0-9]|%[0-9a-f]{2}|&(?:nbsp|#160|#xa0|thinsp|shy);", re.IGNORECASE)


class Found(NamedTuple):
    """Digits in a text, from `start` to `end`, that may be a phone number."""

    start: int
    end: int
    digits: str


def normal(digits: str) -> str:
    """The digits as `schemas.fields.phone` has them, also of what it takes for a foreign number: 007…, 8 10 7…"""
    if digits.startswith("810") and len(digits) >= 13:
        digits = digits[3:]
    elif digits.startswith("00") and len(digits) >= 12:
        digits = digits[2:]
    if len(digits) == 11 and digits[0] == "8":
        return f"7{digits[1:]}"
    return f"7{digits}" if len(digits) == WHOLE else digits


def numbers(text: str, in_value: bool = True) -> Iterator[Found]:
    """All that may be phone numbers in a text. `in_value`: it is one value, not a body with a structure of its own."""
    if not in_value:
        text = _ESCAPES.sub(lambda found: " " * len(found[0]), text)
    for group in (_IN_VALUE if in_value else _IN_TEXT).finditer(text):
        if group.end() - group.start() < SHORTEST:
            continue
        runs = list(_RUN.finditer(text, *group.span()))
        for first, run in enumerate(runs):
            digits = ""
            for last in runs[first:]:
                digits += last[0]
                if len(digits) > LONGEST:
                    break
                if len(digits) >= (SHORTEST if last is run else WHOLE):
                    yield Found(run.start(), last.end(), digits)


def numbers_in(text: str) -> set[str]:
    """The numbers that a value may mean, normalised and, as a + before them may be the country's, as they are."""
    return {number for found in numbers(text) for number in (found.digits, normal(found.digits))}


def spans(text: str, known: Known, in_value: bool = True) -> list[tuple[int, int]]:
    """Where the known numbers stand, each as long as it may be: its 8, +7 or 8 10 is part of it."""
    found = [one for one in numbers(text, in_value) if known(normal(one.digits)) or known(one.digits)]
    chosen: list[tuple[int, int]] = []
    for start, end, _ in sorted(found, key=lambda one: (one.start, -one.end)):
        if not chosen or start >= chosen[-1][1]:
            while start and text[start - 1] in "+(":
                start -= 1
            chosen.append((start, end))
    return chosen


def blank_sentence(text: str, known: Known) -> str:
    """A sentence, which may quote a body as it was written: \\u00a0."""
    return blank(blank(text, known), known, in_value=False)


def blank(text: str, known: Known, in_value: bool = True) -> str:
    """The text with BLANK in place of each known number."""
    for start, end in reversed(spans(text, known, in_value)):
        text = text[:start] + BLANK + text[end:]
    return text
