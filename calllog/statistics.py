"""Figures of a day: how many calls, who waited how long, who answered; by hour, line, source and employee.

Each figure is a condition that stands here once: the sums count by it, and the list behind a figure is chosen by it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from peewee import Database

from calllog.callbacks import FORMAT
from calllog.database import on_mysql
from config import WorkingHours
from models import Calls

SHORT_SECONDS, LEVEL_SECONDS = 5, 20  # hung up before, answered within
_WAIT = "COALESCE(calls.wait_seconds, calls.total_seconds)"  # of a call that nobody answered the whole call is a wait
_SHORT = f"(calls.is_missed = 1 AND {_WAIT} IS NOT NULL AND {_WAIT} < {SHORT_SECONDS})"
_OUT, _IN = "calls.direction = 'out'", "calls.direction = 'in'"

# A figure, and which calls it counts. SQL of both databases.
CONDITIONS = {
    "incoming": _IN,
    "answered": f"{_IN} AND calls.is_answered = 1",
    "missed": f"calls.is_missed = 1 AND NOT {_SHORT}",
    "short": _SHORT,
    "waited": f"{_IN} AND calls.is_answered = 1 AND calls.wait_seconds IS NOT NULL",
    "in_time": f"{_IN} AND calls.is_answered = 1 AND calls.wait_seconds <= {LEVEL_SECONDS}",
    "gave_up": f"calls.is_missed = 1 AND NOT {_SHORT} AND {_WAIT} IS NOT NULL",
    "talked": "calls.is_answered = 1 AND calls.direction <> 'internal' AND calls.talk_seconds IS NOT NULL",
    "outgoing": _OUT,
    "outgoing_answered": f"{_OUT} AND calls.is_answered = 1",
}
# Seconds, and of which calls they are summed.
SECONDS = {"wait_answered": ("calls.wait_seconds", "waited"), "wait_missed": (_WAIT, "gave_up"),
           "talk": ("calls.talk_seconds", "talked")}  # fmt: skip
MEASURES = (*CONDITIONS, *SECONDS)

# What providers call the campaign that a call came from (call_attributes.name).
CAMPAIGNS = ("campaign_name", "tp_project", "utm_source", "utm_campaign")

Numbers = Counter[str]  # of MEASURES


class Slice(NamedTuple):
    """Which calls of a day: an hour (0 to 23), whether somebody is there to answer then, a line, a source."""

    hour: int
    working: bool
    line: str
    source: str


@dataclass(slots=True)
class Employee:
    """Calls of one employee: rung for, answered, missed while his phone rang; talks and their seconds, both ways."""

    ext: str
    number: str
    name: str = ""
    rung: int = 0
    answered: int = 0
    missed: int = 0
    talks: int = 0
    talk_seconds: int = 0
    outgoing: int = 0


@dataclass(slots=True)
class Figures:
    """A day's, or several days'. `campaigns`: (attribute, content, working) -> numbers of incoming and missed calls."""

    slices: dict[Slice, Numbers] = field(default_factory=dict)
    employees: dict[tuple[str, str, bool], Employee] = field(default_factory=dict)
    campaigns: dict[tuple[str, str, bool], Numbers] = field(default_factory=dict)


def figures(db: Database, day: date, hours: WorkingHours) -> Figures:
    """The figures of a day, in four statements, each over that day's calls alone."""
    since = datetime.combine(day, datetime.min.time())
    within = f"calls.started_at >= {db.param} AND calls.started_at < {db.param}"
    bounds = (since.strftime(FORMAT), (since + timedelta(days=1)).strftime(FORMAT))
    spans = [edge.strftime(FORMAT) for span in hours.on(day) for edge in span]
    span = f"(calls.started_at >= {db.param} AND calls.started_at < {db.param})"
    working = f"CASE WHEN {' OR '.join([span] * (len(spans) // 2))} THEN 1 ELSE 0 END" if spans else "0"

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return list(db.execute_sql(sql.format(working=working, within=within), (*spans, *bounds)).fetchall())

    found = Figures()
    for hour, there, line, source, *numbers in rows(_SLICES):
        found.slices[Slice(int(hour), bool(there), line, source)] = _numbers(MEASURES, numbers)
    for there, ext, number, name, rung, answered, missed in rows(_LEGS):
        found.employees[ext, number, bool(there)] = Employee(ext, number, name, rung, int(answered), int(missed))
    for there, ext, number, name, talks, seconds, outgoing in rows(_TALKS):
        one = found.employees.setdefault((ext, number, bool(there)), Employee(ext, number))
        one.name, one.talks, one.talk_seconds, one.outgoing = one.name or name, talks, int(seconds or 0), int(outgoing)
    for there, name, content, *numbers in rows(_CAMPAIGNS):
        found.campaigns[name, content, bool(there)] = _numbers(("incoming", "missed", "short"), numbers)
    return found


def _numbers(names: Sequence[str], values: Iterable[Any]) -> Numbers:
    return Counter({name: int(value) for name, value in zip(names, values, strict=True) if value})


def _sum(condition: str, what: str = "1") -> str:
    return f"SUM(CASE WHEN {condition} THEN {what} ELSE 0 END)"


_SLICES = f"""
SELECT SUBSTR(calls.started_at, 12, 2) AS at_hour, {{working}} AS there, calls.line_number, calls.call_source,
{", ".join([_sum(each) for each in CONDITIONS.values()] + [_sum(CONDITIONS[of], what) for what, of in SECONDS.values()])}
FROM calls WHERE {{within}} AND calls.direction <> 'internal'
GROUP BY at_hour, there, calls.line_number, calls.call_source
"""
_LEGS = f"""
SELECT {{working}} AS there, call_legs.employee_ext, call_legs.employee_number, MAX(call_legs.employee_name), COUNT(*),
{_sum("call_legs.answered_at IS NOT NULL")}, {_sum("call_legs.answered_at IS NULL AND calls.is_missed = 1")}
FROM calls JOIN call_legs ON call_legs.call_id = calls.id WHERE {{within}} AND {_IN}
GROUP BY there, call_legs.employee_ext, call_legs.employee_number
"""
_TALKS = f"""
SELECT {{working}} AS there, calls.employee_ext, calls.employee_number, MAX(calls.employee_name), COUNT(*),
SUM(calls.talk_seconds), {_sum(_OUT)}
FROM calls WHERE {{within}} AND calls.is_answered = 1 AND calls.direction <> 'internal'
AND (calls.employee_ext <> '' OR calls.employee_number <> '')
GROUP BY there, calls.employee_ext, calls.employee_number
"""
_CAMPAIGNS = f"""
SELECT {{working}} AS there, call_attributes.name, call_attributes.content, COUNT(*),
{_sum(CONDITIONS["missed"])}, {_sum(CONDITIONS["short"])}
FROM calls JOIN call_attributes ON call_attributes.call_id = calls.id WHERE {{within}} AND {_IN}
AND call_attributes.name IN ({", ".join(repr(name) for name in CAMPAIGNS)})
GROUP BY there, call_attributes.name, call_attributes.content
"""


# ----------------------------------------------------------------------------------------------------------- the list

_LEG = "SELECT 1 FROM call_legs WHERE call_legs.call_id = calls.id AND {whose}"
# What a figure of an employee counts; {whose} stands for his extension, or his number where he has none.
OF_EMPLOYEE = {
    "rung": f"{_IN} AND EXISTS ({_LEG})",
    "picked_up": f"{_IN} AND EXISTS ({_LEG} AND call_legs.answered_at IS NOT NULL)",
    "not_picked_up": f"calls.is_missed = 1 AND EXISTS ({_LEG} AND call_legs.answered_at IS NULL)",
    "talks": "calls.is_answered = 1 AND calls.direction <> 'internal' AND {whose}",
}
_CAMPAIGN = """
EXISTS (SELECT 1 FROM call_attributes
WHERE call_attributes.call_id = calls.id AND call_attributes.name = {p} AND call_attributes.content = {p})
"""
_MINUTE_SQLITE = """
((CAST(strftime('%w', calls.started_at) AS INTEGER) + 6) % 7 * 1440
+ CAST(SUBSTR(calls.started_at, 12, 2) AS INTEGER) * 60 + CAST(SUBSTR(calls.started_at, 15, 2) AS INTEGER))
"""
_MINUTE_MYSQL = "(WEEKDAY(calls.started_at) * 1440 + HOUR(calls.started_at) * 60 + MINUTE(calls.started_at))"


class Chosen(NamedTuple):
    """Calls behind a figure, one of CONDITIONS or OF_EMPLOYEE, of a span of the wall clock. `working`: only while somebody
    is there to answer, or only while nobody is; an hour, a weekday (0: Monday), a line, a source, a campaign (attribute,
    content) where they are given. `ext` or, where he has none, `number` is the employee's of OF_EMPLOYEE."""

    figure: str
    since: datetime
    until: datetime
    working: bool | None = None
    hour: int | None = None
    weekday: int | None = None
    line: str | None = None
    source: str | None = None
    campaign: tuple[str, str] | None = None
    ext: str = ""
    number: str = ""


def calls(db: Database, chosen: Chosen, hours: WorkingHours, limit: int, offset: int = 0) -> list[dict[str, Any]]:
    """The calls, the newest first."""
    conditions, about = _where(db, chosen, hours)
    sql = f"SELECT calls.id FROM calls WHERE {' AND '.join(conditions)} ORDER BY calls.started_at DESC, calls.id DESC"
    found = db.execute_sql(f"{sql} LIMIT {limit:d} OFFSET {offset:d}", about).fetchall()
    rows = Calls.select().where(Calls.id.in_([id for (id,) in found])).dicts().execute(db)
    return sorted(rows, key=lambda row: (row["started_at"], row["id"]), reverse=True)


def _where(db: Database, chosen: Chosen, hours: WorkingHours) -> tuple[list[str], list[Any]]:
    """(conditions, what they are about) of the calls that are chosen."""
    p, minute = db.param, _MINUTE_MYSQL if on_mysql(db) else _MINUTE_SQLITE
    found: list[str] = [f"calls.started_at >= {p}", f"calls.started_at < {p}"]
    about: list[Any] = [chosen.since.strftime(FORMAT), chosen.until.strftime(FORMAT)]
    if chosen.figure in CONDITIONS:
        found.append(CONDITIONS[chosen.figure])
    else:
        table = "calls" if chosen.figure == "talks" else "call_legs"
        whose = f"{table}.employee_ext = {p}"
        about.append(chosen.ext)
        if not chosen.ext:
            whose += f" AND {table}.employee_number = {p}"
            about.append(chosen.number)
        found.append(OF_EMPLOYEE[chosen.figure].format(whose=whose))
    if chosen.working is not None:
        there = " OR ".join(f"({minute} >= {begin:d} AND {minute} < {end:d})" for begin, end in hours.spans)
        found.append(f"({there})" if chosen.working else f"NOT ({there})")
    if chosen.hour is not None:
        found.append(f"SUBSTR(calls.started_at, 12, 2) = '{chosen.hour:02d}'")
    if chosen.weekday is not None:
        found.append(f"{minute} >= {1440 * chosen.weekday:d} AND {minute} < {1440 * chosen.weekday + 1440:d}")
    for column, value in (("line_number", chosen.line), ("call_source", chosen.source)):
        if value is not None:
            found.append(f"calls.{column} = {p}")
            about.append(value)
    if chosen.campaign is not None:
        found.append(_CAMPAIGN.format(p=p))
        about += chosen.campaign
    return found, about
