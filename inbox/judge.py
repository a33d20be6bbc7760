"""What becomes of a delivery: understood, ignored, refused, or our own fault."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from inbox import DEAD, IGNORED, Outcome
from schemas.reading import Ignored, Refusal

T = TypeVar("T")


DAY = 86_400_000  # milliseconds


def judge(read: Callable[[], T]) -> tuple[Outcome, T | Refusal | None]:
    """What becomes of a delivery that `read` reads (schemas.recognise for the answer, schemas.understand to forward it),
    and what it says, or the refusal that the answer tells."""
    try:
        said = read()
    except Ignored as ignored:
        return Outcome(IGNORED, ignored.reason, ignored.message), None
    except Refusal as refusal:
        return Outcome(DEAD, refusal.code, refusal.message), refusal
    except Exception:  # the one edge that keeps a dead letter: our own fault, with its traceback
        return Outcome(DEAD, "our_fault", traceback.format_exc()), None
    return Outcome(), said
