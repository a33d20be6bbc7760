"""What providers say, checked, and the same in our words: one module a feed, found here and nowhere listed."""

import importlib
import pkgutil
from collections.abc import Mapping
from datetime import tzinfo
from functools import cache
from types import MappingProxyType

from config import WrongSettings
from schemas import fields
from schemas.event import CallEvent
from schemas.feed import Feed, declared, faults, is_feed
from schemas.reading import Delivery, canonical


@cache
def feeds() -> Mapping[str, Feed]:
    """Feed name -> its protocol: every module of this package that declares any part of one. Raises WrongSettings, which
    names everything that is missing or wrong."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    found = {name: module for name, module in sorted(modules.items()) if is_feed(module)}
    wrong = [f"schemas/{name}.py: {fault}" for name, module in found.items() for fault in faults(name, module)]
    if wrong:
        raise WrongSettings("wrong feeds:\n  " + "\n  ".join(wrong))
    return MappingProxyType({name: declared(name, module) for name, module in found.items()})


def zones() -> dict[str, str]:
    """Feed name -> its provider's own time zone, "" where it has none but the setting's."""
    return {feed.name: feed.zone for feed in feeds().values()}


def recognise(delivery: Delivery) -> None:
    """The first half of `understand`, all that the answer needs: raises Refusal when whoever set up the notification
    can mend it, Ignored when it has no effect on a call. Anything else it raises is our own fault."""
    feeds()[delivery.feed].recognise(delivery)


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """What the delivery says, in our words. Pure: no Flask, no database, no clock. `zone` is the provider's wall clock.
    Raises as `recognise` does."""
    feed = feeds()[delivery.feed]
    event = feed.understand(delivery, zone)
    key = canonical(feed.key_field)
    if key:  # it opens the feed: nowhere but in the raw body
        event = event._replace(attributes=tuple(a for a in event.attributes if not canonical(a[0]).endswith(key)))
    return event


def unread_moments(delivery: Delivery) -> dict[str, str]:
    """What the delivery has where a moment is meant and is not understood as one, by field: the receipt stands in for it.
    Raises as `recognise` does."""
    feed = feeds()[delivery.feed]
    return fields.unread_moments(feed.schema, feed.recognise(delivery)) if feed.schema else {}
