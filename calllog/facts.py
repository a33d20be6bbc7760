"""What is known of a call while it is folded, and how a column is decided: by the first of its sources that can tell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from calllog.people import People
from schemas.event import CallEvent

Found = tuple[Any, tuple[str, ...]]  # what a column is, the keys of the events that show it

# Simply told: the last event in fold order that says anything.
STATED = (
    "account",
    "line_number",
    "caller_raw",
    "called_raw",
    "client_name",
    "provider_contact_id",
    "scenario_name",
    "call_source",
    "external_id",
    "redirected_from",
)
_STATED = attrgetter(*STATED)
# NULL, not empty, while unknown
NULL = frozenset({"started_at", "answered_at", "ended_at", "wait_seconds", "talk_seconds", "total_seconds"})


@dataclass(slots=True)
class Facts:
    """What is known of a call while it is folded: its events in fold order, those of them that end it, the columns
    decided so far and the keys of the events that show each. Moments are milliseconds since 1970 UTC."""

    events: list[CallEvent]
    ends: list[CallEvent]
    people: People
    row: dict[str, Any] = field(default_factory=dict)
    shown_by: dict[str, tuple[str, ...]] = field(default_factory=dict)
    denial: CallEvent | None = None  # what proves that nobody talked, where that is the strongest proof

    def decide(self, table: dict[str, tuple["Source", ...]]) -> None:
        """Every column of the table that is not known yet, by the first of its sources that can tell; empty where none
        can."""
        row, shown_by = self.row, self.shown_by
        for column, sources in table.items():
            if row.get(column) is None:
                for source in sources:
                    found = source(self)
                    if found is not None:
                        row[column], shown_by[column] = found
                        break
                else:
                    row[column] = None if column in NULL else ""

    def take_stated(self) -> None:
        """The columns that are simply told."""
        row, shown_by = self.row, self.shown_by
        row.update(dict.fromkeys(STATED, ""))
        for event in self.events:
            for column, value in zip(STATED, _STATED(event), strict=True):
                if value:
                    row[column], shown_by[column] = value, (event.event_key,)

    def last(self, name: str, events: list[CallEvent] | None = None) -> Found | None:
        """What the last event that says anything of `name` says."""
        for event in reversed(self.events if events is None else events):
            value = getattr(event, name)
            if value is not None and value != "":
                return value, (event.event_key,)
        return None

    def shown(self, *columns: str) -> tuple[str, ...]:
        """The keys of the events that show these columns."""
        keys: tuple[str, ...] = ()
        for column in columns:
            keys += tuple(key for key in self.shown_by.get(column, ()) if key not in keys)
        return keys


Source = Callable[[Facts], Found | None]
