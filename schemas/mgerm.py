"""UIS as the Mgerm module sets it up: «Завершение звонка» with keys that lost their underscores, at /uis/call/ended.

The wiki engine that printed the document ate the {{ }}, the quotes (GESHIQUOT) and possibly the underscores; canonical
keys read both spellings. Same provider and call ids as the uis feed, so a call told by both is one call. The template
has no finish time: `notificationtime` is the end (it is the event's own time, which the fold falls back to).
"""

from datetime import tzinfo

from schemas import uis
from schemas.event import CallEvent
from schemas.reading import Delivery

PROVIDER = uis.PROVIDER
FORM = uis.FORM
SCHEMA = uis.SCHEMA
ADDRESS = "/uis/call/ended"


recognise = uis.recognise


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A Mgerm notification in our words; see schemas.understand."""
    return uis.understand(delivery, zone)
