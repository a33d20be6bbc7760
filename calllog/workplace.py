"""What a call is to one workplace: whether its phone rings or talks, and whether somebody else has the call by now.

The rule stands here alone, so that 1C's clients open and close cards by two fields instead of by legs that each feed
tells in its own way (docs/1c.md, section 6).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas.fields import phone

RINGING = "ringing"  # a leg of his is open, or he dials
TALKING = "talking"  # he talks
WAS_RUNG = "was_rung"  # it rang him, or he talked; not now
UNKNOWN = "unknown"  # nobody knows whom the call rings, or who of those that it rings has answered


class Standing(NamedTuple):
    """`for_you` is one of the four words; `closed`: his card may be closed, since another one talks or the call is over."""

    for_you: str
    closed: bool


class Asker(NamedTuple):
    """What a workplace goes by: extensions as they are written, phone numbers normalised, a provider's ids."""

    exts: frozenset[str]
    numbers: frozenset[str]
    ids: frozenset[str]

    @classmethod
    def of(cls, names: Iterable[str], employees: Mapping[str, tuple[str, str, str]]) -> "Asker":
        """The workplace with these extensions or numbers, and what `employees` says that each of them stands for."""
        given = set(names)
        numbers = {phone(name) for name in given}
        rows = [employees[name] for name in given | numbers if name in employees]
        exts = given | {ext for ext, _, _ in rows if ext}
        numbers |= {number for _, number, _ in rows if number}
        return cls(frozenset(exts), frozenset(numbers), frozenset(id for _, _, id in rows if id))

    def is_named(self, part: dict[str, Any], id: str) -> bool:
        """Whether a call or a leg names him; by the provider's id only where it has neither extension nor number."""
        ext, number = part["employee_ext"], part["employee_number"]
        if ext or number:
            return ext in self.exts or number in self.numbers
        return id in self.ids

    def is_anothers(self, call: dict[str, Any]) -> bool:
        """Whether a call that does not name him names anybody else; an id says so only to one whose own id is known. While
        it rings, an ended leg whose ringing was never told does not: the next one is not told either."""
        legs = [leg for leg in call["legs"] if leg["started_at"] or not leg["ended_at"] or call["state"] != "ringing"]
        parts = [(call, call["employee_ids"]), *((leg, leg["leg_key"]) for leg in legs)]
        return any(part["employee_ext"] or part["employee_number"] or (id and self.ids) for part, id in parts)


def known_employees(rows: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str, str]]:
    """Extension and number -> (extension, number, the provider's id), from rows of `employees`, the newest last."""
    found: dict[str, tuple[str, str, str]] = {}
    for ext, number, id in rows:
        row = (ext.strip(), phone(number), id.strip())
        found.update(dict.fromkeys((name for name in row[:2] if name), row))
    return found


def standing(call: dict[str, Any], asker: Asker) -> Standing | None:
    """What a row of `calls` with its `legs` is to the workplace; None for a call that is another's."""
    legs = call["legs"]
    mine = [leg for leg in legs if asker.is_named(leg, leg["leg_key"])]
    last = asker.is_named(call, call["employee_ids"])
    if not mine and not last:
        if call["direction"] not in ("in", "") or asker.is_anothers(call):
            return None
        return Standing(UNKNOWN, call["state"] != "ringing")
    open_legs = [leg for leg in mine if leg["ended_at"] is None]
    if call["state"] == "ended" or (mine and not open_legs):
        return Standing(WAS_RUNG, True)
    if call["state"] == "ringing":
        return Standing(RINGING, False)
    return _while_somebody_talks(call, mine, open_legs, last)


def _while_somebody_talks(
    call: dict[str, Any], mine: list[dict[str, Any]], open_legs: list[dict[str, Any]], last: bool
) -> Standing:
    """Of a call that is being talked and is not over for him: `last`, he talked last."""
    if last or any(leg["answered_at"] for leg in open_legs if not call["employee_ext"] and not call["employee_number"]):
        return Standing(TALKING, False)
    answers = [leg["answered_at"] for leg in call["legs"] if leg["answered_at"] and leg not in mine]
    answered_at = max([*answers, *filter(None, [call["answered_at"]])], default=None)
    if answered_at and any(leg["started_at"] and leg["started_at"] > answered_at for leg in open_legs):
        return Standing(RINGING, False)  # a transfer to him
    if not call["employee_ext"] and not call["employee_number"] and not call["employee_ids"]:
        return Standing(UNKNOWN, False)  # one of those whom it rang
    return Standing(WAS_RUNG, True)
