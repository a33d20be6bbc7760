"""What a set-up module may know of its feed: what to enter at the provider, and what notifications look like when it was
entered wrong. Everything is optional; checked at the start."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any
from urllib.parse import quote

from config import FeedSettings, Settings
from schemas.event import CallEvent
from schemas.feed import Feed, takes
from schemas.reading import Delivery
from setup.findings import BRACES, Advice, Expected, Right, filled

Address = Callable[[str], str]  # a path -> the whole address, with the key where it stands in the URL


def _no_template(text: str) -> Mapping[str, list[str]]:
    return {}


def _as_it_came(delivery: Delivery, event: CallEvent, keys: set[str]) -> Right:
    return Right()


def _nothing_lacks(event: CallEvent, keys: set[str]) -> str:
    return ""


def _not_judged(delivery: Delivery) -> tuple[bool, str]:
    return True, ""


def _not_meant(delivery: Delivery, keys: set[str]) -> str:
    return ""


def _not_known(name: str, url: Address) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class SetUp:
    """A feed's set-up page and the doctor's knowledge of it. In a module the names of tables are in capitals."""

    feed: Feed
    page: str  # the text to show: setup/<feed>.txt, or the one for every feed
    guide: Callable[[Address], str] | None = None  # makes the page where a text does not do
    # path and JSON of a first try by hand, and of a delivery that is ignored by design
    first_notification: Callable[[datetime], tuple[str, dict[str, Any]]] | None = None
    self_test: Callable[[str, Settings], tuple[str, dict[str, Any]]] | None = None
    expected: tuple[Expected, ...] = ()  # event types that must come when others do
    method: str = "метода запроса"  # the field in which the owner of a template chooses POST
    switches: str = "{url}"  # what to look at where nothing comes
    types: Mapping[str, str] = field(default_factory=dict)  # kind, or kind.direction -> the provider's event type
    at_the_door: dict[str, str] = field(
        default_factory=dict
    )  # reason of a refusal by its handler -> where to change it
    self_test_refused: Mapping[str, str] = field(default_factory=dict)  # the same reasons, in English, for the sysadmin
    advice: Mapping[str, Advice] = field(default_factory=dict)  # code of what the functions below find -> what to do
    template: Callable[[str], Mapping[str, list[str]]] = _no_template  # body -> code -> lines to change
    right_route: Callable[[Delivery, CallEvent, set[str]], Right] = (
        _as_it_came  # by the keys, where it should have come
    )
    lacks: Callable[[CallEvent, set[str]], str] = _nothing_lacks  # the code of what the event's template lacks
    # an event type's name -> what to enter for it, a line a field, the template last; [] for what is not known
    to_enter: Callable[[str, Address], list[str]] = _not_known
    meant: Callable[[Delivery, set[str]], str] = _not_meant  # the event type's name, however broken the delivery is

    # the provider's test button: (whether all is right, the sentence in Russian, "" where nothing is known)
    tested: Callable[[Delivery], tuple[bool, str]] = _not_judged

    def show(self, url: Address, key: str) -> str:
        """What to enter at the provider, in Russian."""
        if self.guide:
            return self.guide(url)
        form = self.feed.form
        names = {"address": url(self.feed.address), "key": key, "body": form.body, "url": form.url}
        return filled(self.page, names).rstrip("\n")


def address(public_url: str, settings: FeedSettings, feed: Feed, path: str) -> str:
    """The whole address of a path, with the key unless the feed is open or has it in the body."""
    if settings.open or feed.key_field:
        return f"{public_url}{path}"
    return f"{public_url}{path}?key={quote(settings.keys[0], safe='') if settings.keys else key_of(settings)}"


def key_of(settings: FeedSettings) -> str:
    """The key to enter; what to set where there is none."""
    return settings.keys[0] if settings.keys else "" if settings.open else f"<{settings.name.upper()}_KEY не задан>"


TABLES: dict[str, type] = {
    "EXPECTED": tuple, "METHOD": str, "SWITCHES": str, "TYPES": dict, "AT_THE_DOOR": dict, "SELF_TEST_REFUSED": dict,
    "ADVICE": dict,
}  # fmt: skip
FUNCTIONS = {
    "guide": ("url",),
    "first_notification": ("now",),
    "self_test": ("mark", "settings"),
    "template": ("text",),
    "right_route": ("delivery", "event", "keys"),
    "lacks": ("event", "keys"),
    "to_enter": ("name", "url"),
    "tested": ("delivery",),
    "meant": ("delivery", "keys"),
}
NAMES = ("address", "key", "body", "url")  # that a page's text may have in {braces}
PAGE = "{url}: {address}\n"  # where a feed has no page of its own
PAGE_WITH_KEY = PAGE + "Ключ ({field} в теле запроса): {key}\n"


def faults(module: ModuleType) -> Iterator[str]:
    """A sentence for each part that is wrong."""
    for name, kind in TABLES.items():
        if not isinstance(getattr(module, name, kind()), kind):
            yield f"{name} must be a {kind.__name__}"
    for name, parameters in FUNCTIONS.items():
        if hasattr(module, name) and not takes(getattr(module, name), len(parameters)):
            yield f"{name} must take {', '.join(parameters)}"


def page_faults(text: str) -> Iterator[str]:
    """A sentence for each name in braces that nothing stands for."""
    for name in sorted(set(BRACES.findall(text)) - set(NAMES)):
        yield f"nothing stands for {{{name}}}; there are {', '.join(f'{{{known}}}' for known in NAMES)}"


def declared(feed: Feed, module: ModuleType | None, page: str) -> SetUp:
    """The set-up that a module without faults declares; the defaults where there is none."""
    known = {name: getattr(module, name) for name in (*TABLES, *FUNCTIONS) if hasattr(module, name)}
    if not page:
        page = PAGE_WITH_KEY.replace("{field}", feed.key_field) if feed.key_field else PAGE
    return SetUp(feed, page, **{name.lower(): value for name, value in known.items()})
