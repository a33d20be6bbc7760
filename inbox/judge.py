"""What becomes of a delivery: understood, ignored, refused, of a feed that this release does not have, or our own fault.

Nothing here raises (but MemoryError): one delivery that cannot be understood stops no other.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import TypeVar

import schemas
from config import FeedSettings
from inbox.deliveries import DEAD, IGNORED, UNKNOWN_FEED, Outcome
from schemas.event import CallEvent
from schemas.reading import Delivery, Ignored, Refusal

T = TypeVar("T")

DAY = 86_400_000  # milliseconds


def recognised(delivery: Delivery) -> tuple[Outcome, Refusal | None]:
    """What becomes of a delivery that arrives, and the refusal that its sender is answered."""
    outcome, _, refusal = _judged(lambda: schemas.recognise(delivery))
    return outcome, refusal


def understood(delivery: Delivery, feeds: Mapping[str, FeedSettings]) -> tuple[Outcome, CallEvent | None]:
    """What becomes of a stored delivery by today's rules, and the event that it brings. `feeds` are those of this
    release: a delivery of any other, which a newer release has stored, waits for that release as a dead letter."""
    feed = feeds.get(delivery.feed)
    if feed is None:
        return Outcome(DEAD, UNKNOWN_FEED, _unknown(delivery.feed)), None
    outcome, event, _ = _judged(lambda: schemas.understand(delivery, feed.timezone))
    if event is not None and delivery.event_key:  # blanked: a number in it is not what was sent
        event = event._replace(event_key=delivery.event_key)
    return outcome, event


def _judged(read: Callable[[], T]) -> tuple[Outcome, T | None, Refusal | None]:
    try:
        result = read()
    except Ignored as ignored:
        return Outcome(IGNORED, ignored.reason, ignored.message), None, None
    except Refusal as refusal:
        return Outcome(DEAD, refusal.code, refusal.message), None, refusal
    except MemoryError:  # the process's fault, not the delivery's
        raise
    except Exception:  # the one place that makes a dead letter of our own fault, with its traceback
        return Outcome(DEAD, "our_fault", traceback.format_exc()), None, None
    return Outcome(), result, None


def _unknown(feed: str) -> str:
    return (
        f"Эта версия коннектора не знает поток {feed}: уведомление приняла другая, более новая. Оно сохранено как пришло "
        "и само попадёт в журнал, когда запустится версия, которая этот поток знает."
    )
