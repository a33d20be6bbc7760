"""Search: calls by what a person remembers of them, the newest first, within a part of a second whatever the log's size.

Where an index shows that few calls can be meant (a number, its last digits, its beginning, the provider's id), those are
looked at, all of them. Everything else is looked for in windows of WINDOW calls by their start, filters and all, until a
page is full and SECONDS have passed. A look that does not reach the end tells how far it came and where to go on."""

import re
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from datetime import time as clock
from functools import reduce
from operator import and_, or_
from typing import Any, NamedTuple

from peewee import SQL, Column, Database, fn

import schemas
from calllog.database import LAST_DIGITS, on_mysql
from models import CallAttributes, CallLegs, Calls, Contacts, Employees
from schemas.fields import phone

WINDOW = 10_000  # calls that one statement looks through
SECONDS = 0.2  # after which no other window is begun
FEW = 2000  # calls of one number that are looked at by themselves; where there are more, windows find them
NAMED = 100  # contacts, or employees, that a name may stand for
MISSED, OPEN = "missed_all", "open"  # results that are no disposition: is_missed; not ended yet


class Wanted(NamedTuple):
    """Which calls a person looks for. `sought` is a client's number (whole in any spelling, its last digits, its beginning
    as 7920*), a name, or the provider's id of a call; `employee` an extension, number or name; `source` a source, scenario
    or anything else that the provider sent. Moments are wall clock in TIMEZONE, `before` (with the id there) is where the
    page before ended."""

    sought: str = ""
    employee: str = ""
    line: str = ""
    direction: str = ""
    provider: str = ""
    result: str = ""  # a disposition, MISSED or OPEN
    source: str = ""
    recorded: bool = False
    since: datetime | None = None
    until: datetime | None = None
    clock_from: clock | None = None  # of the day, to the minute; from 20:00 to 09:00 is the night
    clock_to: clock | None = None
    talk_from: int | None = None  # seconds
    talk_to: int | None = None
    before: tuple[datetime, int] | None = None
    latest: datetime | None = None  # a call that claims a later start stands where its first event was received

    @property
    def everything(self) -> bool:
        return not any(self._replace(before=None, latest=None))


class Page(NamedTuple):
    """Calls, the newest first. `on` is where the next page begins, None at the end; `looked_to` how far back the search
    looked, None if to the end; `found` how many there are up to there, None where nobody counted; `full` whether the page
    ends because it is full."""

    calls: list[dict[str, Any]]
    on: tuple[datetime, int] | None
    looked_to: datetime | None
    found: int | None
    full: bool


def search(db: Database, wanted: Wanted, limit: int = 50) -> Page:
    """The calls that are wanted. The first page of a look for something counts on after it is full, as long as it may."""
    began, counts = time.monotonic(), not wanted.before and not wanted.everything
    ids = _few(db, wanted.sought)
    like = _conditions(db, wanted, by_id=ids is not None)
    chosen = Calls.select().where(True, *like, *_within(wanted))
    rows: list[dict[str, Any]] = []
    found, looked_to = 0, None
    windows = _windows(db, wanted) if ids is None else [([Calls.id.in_(sorted(ids))], None)]
    for window, floor in windows:
        part, looked_to = chosen.where(*window), floor
        newest = part.order_by(Calls.started_at.desc(), Calls.id.desc()).limit(limit - len(rows))
        more = list(newest.dicts().execute(db)) if len(rows) < limit else []
        rows += more
        if counts:
            found += len(more) if len(rows) < limit else part.count(db)
        full = len(rows) == limit
        if (full and not counts) or time.monotonic() - began > SECONDS:
            break
    ahead, count = _ahead(db, wanted, ids, like, limit, looked_to)
    shown = sorted(rows + ahead, key=lambda row: _place(row, wanted), reverse=True)[:limit]
    total = found + count if counts else None
    if len(shown) == limit:
        return Page(shown, _place(shown[-1], wanted), looked_to, total, True)
    return Page(shown, (looked_to, 0) if looked_to else None, looked_to, total, False)


def _windows(db: Database, wanted: Wanted) -> Iterable[tuple[list[Any], datetime | None]]:
    """(a window's conditions, its beginning, None at the end), the newest first. A second's calls are in one window."""
    moments = (wanted.until, wanted.before and wanted.before[0], wanted.latest)
    top = min((moment for moment in moments if moment), default=None)
    under: Any = None if top is None else Calls.started_at <= top
    while True:
        starts = Calls.select(Calls.started_at).order_by(Calls.started_at.desc())
        starts = starts if under is None else starts.where(under)
        floor = starts.limit(1).offset(WINDOW - 1).scalar(db)
        if floor is None or (wanted.since and floor < wanted.since):
            yield ([] if under is None else [under]), None
            return
        yield [Calls.started_at >= floor, *([] if under is None else [under])], floor
        under = Calls.started_at < floor


def _within(wanted: Wanted) -> list[Any]:
    """What the days and the page before leave of the calls."""
    last = min((moment for moment in (wanted.until, wanted.latest) if moment), default=None)
    found = [Calls.started_at <= last] if last else []
    if wanted.since:
        found.append(Calls.started_at >= wanted.since)
    if wanted.before:
        at, id = wanted.before
        found += [Calls.started_at <= at, (Calls.started_at < at) | (Calls.id < id)]
    return found


def _place(row: dict[str, Any], wanted: Wanted) -> tuple[datetime, int]:
    """Where a call stands on the list."""
    ahead = wanted.latest is not None and row["started_at"] > wanted.latest
    return (row["first_event_at"] or row["started_at"]) if ahead else row["started_at"], row["id"]


def _ahead(
    db: Database, wanted: Wanted, ids: set[int] | None, like: list[Any], limit: int, looked_to: datetime | None
) -> tuple[list[dict[str, Any]], int]:
    """Calls that claim to begin after `latest`, by the receipt, and how many: one dated 2099 would hide every other."""
    if wanted.latest is None:
        return [], 0
    claimed = Calls.select(Calls.id).where(Calls.started_at > wanted.latest).order_by(Calls.started_at.desc())
    there = {id for (id,) in claimed.limit(WINDOW).tuples().execute(db)}
    there = there if ids is None else there & ids
    if not there:
        return [], 0
    at = Calls.first_event_at
    chosen = Calls.select().where(Calls.id.in_(sorted(there, reverse=True)[: 2 * FEW]), *like)
    if wanted.before:
        chosen = chosen.where((at < wanted.before[0]) | ((at == wanted.before[0]) & (Calls.id < wanted.before[1])))
    for far, moment in (
        (at > wanted.until, wanted.until),
        (at < wanted.since, wanted.since),
        (at < looked_to, looked_to),
    ):
        if moment:
            chosen = chosen.where(~far)
    return list(chosen.order_by(at.desc(), Calls.id.desc()).limit(limit).dicts().execute(db)), chosen.count(db)


# ------------------------------------------------------------------------------------------------------------- the client

_NUMBER = re.compile(r"[*…]?[+\d][\d\s()./-]*[*…]?|[*…]\d+")


def _digits(text: str) -> str:
    """The digits of what may be a part of a phone number, "" for a name or an id."""
    return re.sub(r"\D", "", text) if _NUMBER.fullmatch(text) else ""


def _parts(db: Database, text: str) -> list[Any]:
    """Conditions of which a call of this number, or of a part of it, meets one; each has an index, but for the last digits
    where they are fewer than four."""
    digits, column = _digits(text), Calls.client_number
    ends, begins = text[0] in "*…", text[-1] in "*…" or text[0] == "+"
    found = [] if ends else [column == phone(text.rstrip("*…"))]
    if ends or not begins:
        match = column.endswith(digits)
        found.append(_last_digits(db, digits[-LAST_DIGITS:]) & match if len(digits) >= LAST_DIGITS else match)
    if begins or (not ends and LAST_DIGITS < len(digits) < 10):  # the whole number is wanted where it has ten
        heads = {digits, f"7{digits[1:]}" if digits[0] == "8" else digits}
        heads |= {f"7{digits}"} if text[0] != "+" and digits[0] not in "78" else set()
        found += [column.startswith(head) if on_mysql(db) else column % f"{head}*" for head in sorted(heads)]
    return found


def _last_digits(db: Database, digits: str) -> Any:
    """The number's last digits, as calllog/database.py has them in an index."""
    if on_mysql(db):
        return Column(Calls._meta.table, "client_last_digits") == digits
    return fn.substr(Calls.client_number, SQL(f"-{LAST_DIGITS}")) == digits


def _few(db: Database, text: str) -> set[int] | None:
    """Ids of all calls that `sought` can mean, where an index shows that they are few; else None."""
    if not text:
        return None
    providers = Calls.provider.in_(sorted({feed.provider for feed in schemas.feeds().values()}))
    of_provider = Calls.select(Calls.id).where(providers, Calls.provider_call_id == text).tuples()
    ids = {id for (id,) in of_provider.execute(db)}
    digits = _digits(text)
    if not digits:
        return ids or None
    if len(digits) < LAST_DIGITS:
        return None
    for part in _parts(db, text):
        rows = list(Calls.select(Calls.id).where(part).limit(FEW + 1).tuples().execute(db))
        if len(rows) > FEW:
            return None
        ids |= {id for (id,) in rows}
    return ids


def _client(db: Database, text: str) -> Any:
    """A call of whom `sought` means."""
    if _digits(text):
        return reduce(or_, [*_parts(db, text), Calls.provider_call_id == text])
    known = Contacts.select(Contacts.client_number).where(_contains(db, Contacts.client_name, text)).limit(NAMED)
    numbers = {phone(number) for (number,) in known.tuples().execute(db)}
    return _contains(db, Calls.client_name, text) | Calls.client_number.in_(sorted(numbers))


# --------------------------------------------------------------------------------------------------------- all the others


def _conditions(db: Database, wanted: Wanted, by_id: bool) -> list[Any]:
    """What a call must be like, whenever it was."""
    found = [] if by_id or not wanted.sought else [_client(db, wanted.sought)]
    found += [
        column == value
        for column, value in ((Calls.direction, wanted.direction), (Calls.provider, wanted.provider))
        if value
    ]
    if wanted.result == MISSED:
        found.append(Calls.is_missed == 1)
    elif wanted.result:
        found.append(Calls.disposition == ("" if wanted.result == OPEN else wanted.result))
    if wanted.recorded:
        found.append(Calls.recording_url != "")
    if wanted.talk_from is not None:
        found.append(Calls.talk_seconds >= wanted.talk_from)
    if wanted.talk_to is not None:
        found.append(Calls.talk_seconds <= wanted.talk_to)
    if wanted.line:
        digits = _digits(wanted.line)
        of_line = Calls.line_number.endswith(digits) | (Calls.line_number == phone(wanted.line))
        found.append(of_line if digits else _contains(db, Calls.line_number, wanted.line))
    found += _of_day(db, wanted.clock_from, wanted.clock_to)
    if wanted.source:
        named = CallAttributes.select(SQL("1")).where(
            CallAttributes.call_id == Calls.id, _contains(db, CallAttributes.content, wanted.source)
        )
        own = [_contains(db, column, wanted.source) for column in (Calls.call_source, Calls.scenario_name)]
        found.append(reduce(or_, [*own, fn.EXISTS(named)]))
    return [*found, _employee(db, wanted.employee)] if wanted.employee else found


def _of_day(db: Database, since: clock | None, until: clock | None) -> list[Any]:
    """Calls that begin between two moments of the day, both minutes included."""
    if since is None and until is None:
        return []
    at = fn.DATE_FORMAT(Calls.started_at, "%H:%i") if on_mysql(db) else fn.strftime("%H:%M", Calls.started_at)
    found = [] if since is None else [at >= f"{since:%H:%M}"]
    found += [] if until is None else [at <= f"{until:%H:%M}"]
    night = since is not None and until is not None and since > until
    return [reduce(or_ if night else and_, found)]


def _employee(db: Database, text: str) -> Any:
    """A call in which this employee talked or was rung. Providers that know no extensions name the number, so whatever
    `employees` says of one stands for the other."""
    digits = _digits(text)
    itself = phone(text) if digits else ""
    exts, numbers, ids = {text}, {itself}, {""}
    columns = (
        Employees.employee_ext,
        Employees.employee_number,
        Employees.provider_employee_id,
        Employees.employee_name,
    )
    for ext, number, id, name in Employees.select(*columns).limit(NAMED * NAMED).tuples().execute(db):
        named = not digits and text.casefold() in name.casefold()
        if (named or ext == text or (itself and phone(number) == itself)) and len(exts) < NAMED:
            exts, numbers, ids = exts | {ext}, numbers | {phone(number)}, ids | {id}
    found = []
    for table in (Calls, CallLegs):
        parts = [table.employee_ext.in_(sorted(exts - {""})), table.employee_number.in_(sorted(numbers - {""}))]
        if len(digits) >= LAST_DIGITS:
            parts.append(table.employee_number.endswith(digits))
        if not digits:
            parts.append(_contains(db, table.employee_name, text))
        found.append(reduce(or_, parts))
    legs = CallLegs.select(SQL("1")).where(CallLegs.call_id == Calls.id, found[1])
    return found[0] | Calls.employee_ids.in_(sorted(ids - {""})) | fn.EXISTS(legs)


def _contains(db: Database, column: Any, text: str) -> Any:
    """Whether the column has this text in it, in whatever case. SQLite's LIKE folds Latin letters alone, its GLOB takes a
    set for each letter."""
    return column.contains(text) if on_mysql(db) else column % f"*{''.join(map(_either_case, text))}*"


def _either_case(sign: str) -> str:
    both = {"е": "её", "ё": "её"}.get(sign.lower(), sign.lower())
    signs = "".join(sorted({one for one in both + both.upper() + sign if len(one) == 1}))
    return f"[{signs}]" if len(signs) > 1 or sign in "*?[" else sign


# ------------------------------------------------------------------------------------------------------- what is written


def seconds(text: str) -> int | None:
    """A length as a person writes it: 90, 1:30, 1:02:03; None for anything else."""
    parts = text.strip().split(":")
    if not 1 <= len(parts) <= 3 or not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        return None
    return int(timedelta(seconds=reduce(lambda total, part: 60 * total + int(part), parts, 0)).total_seconds())
