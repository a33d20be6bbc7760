"""What providers say, checked, and the same in our words: one module a feed, found here and nowhere listed."""

import importlib
import pkgutil
from datetime import tzinfo
from functools import cache
from types import ModuleType

from schemas.event import CallEvent
from schemas.reading import Delivery


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def feeds() -> dict[str, ModuleType]:
    """Feed name -> its module: every module of this package that can `understand`."""
    found = {info.name: _module(info.name) for info in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in sorted(found.items()) if hasattr(module, "understand")}


def zones() -> dict[str, str]:
    """Feed name -> its provider's own time zone, "" where it has none but the setting's."""
    return {name: getattr(module, "ZONE", "") for name, module in feeds().items()}


def recognise(delivery: Delivery) -> None:
    """The first half of `understand`, all that the answer needs: raises Refusal when whoever set up the notification
    can mend it, Ignored when it has no effect on a call. Anything else it raises is our own fault."""
    _module(delivery.feed).recognise(delivery)


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """What the delivery says, in our words. Pure: no Flask, no database, no clock. `zone` is the provider's wall clock.
    Raises as `recognise` does."""
    event: CallEvent = _module(delivery.feed).understand(delivery, zone)
    return event
