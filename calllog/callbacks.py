"""Missed calls by client: who waits to be called back, whom somebody called, who got through himself.

A missed call is settled by the first talk with its client that begins after the missed call did, on whatever line and
whoever called. Until then, calls outward to him that nobody answered are attempts. Moments are wall clock in TIMEZONE.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from peewee import Database

from calllog.contacts import spellings
from calllog.database import on_mysql
from models import CallLegs, Calls, Contacts, Employees
from schemas.fields import phone

WAITING, TRIED, CALLED_BACK, GOT_THROUGH = "waiting", "tried", "called_back", "got_through"
STATES = (WAITING, TRIED, CALLED_BACK, GOT_THROUGH)
OPEN = (WAITING, TRIED)

HIDDEN = frozenset(("", "anonymous", "unknown", "restricted", "private", "unavailable", "withheld", "hidden"))
AT_ONCE = 500  # clients of one query
AHEAD = 1000  # missed calls dated in the future that are looked at
FORMAT = "%Y-%m-%d %H:%M:%S"  # of a moment in SQL, for both databases
LAST = "9999-12-31 23:59:59"


class Missed(NamedTuple):
    """A missed call. `wait_seconds` is None where nobody told."""

    id: int
    client_number: str
    started_at: datetime
    wait_seconds: int | None
    line_number: str

    @property
    def hidden(self) -> bool:
        """Whether the caller's number is not known: such callers cannot be told apart, and nobody can call them back."""
        return self.client_number.lower() in HIDDEN


class Later(NamedTuple):
    """A call with the client after a missed one: `at` is when they began to talk, of an attempt when it began."""

    at: datetime
    id: int
    started_at: datetime
    is_out: bool
    is_answered: bool
    is_over: bool


class Outcome(NamedTuple):
    """What followed a missed call: the talk that settled it, and attempts before there was one."""

    talk: Later | None = None
    attempts: tuple[Later, ...] = ()


class Client(NamedTuple):
    """One client's missed calls that one outcome followed, the latest such: the oldest first. `total` is how many of his
    were missed at all in the time that was looked at."""

    number: str
    missed: tuple[Missed, ...]
    outcome: Outcome
    total: int

    @property
    def state(self) -> str:
        """One of STATES."""
        if self.outcome.talk:
            return CALLED_BACK if self.outcome.talk.is_out else GOT_THROUGH
        return TRIED if self.attempts else WAITING

    @property
    def attempts(self) -> tuple[Later, ...]:
        """Calls to him, in vain, since his last missed call."""
        return self.outcome.attempts

    @property
    def longest_wait(self) -> int | None:
        """Seconds that he waited for an answer at the longest."""
        return max((call.wait_seconds for call in self.missed if call.wait_seconds is not None), default=None)


def moment(value: Any) -> datetime:
    """A DATETIME as the driver gives it; SQLite has text."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


_MISSED = """
SELECT id, client_number, {at}, COALESCE(wait_seconds, total_seconds), line_number FROM calls
WHERE started_at >= {p} AND started_at < {p} AND is_missed = 1 {more} ORDER BY started_at, id
"""


def missed_between(db: Database, since: datetime, until: datetime) -> list[Missed]:
    """Missed calls that began then, the oldest first."""
    sql = _MISSED.format(at="started_at", p=db.param, more="")
    rows = db.execute_sql(sql, (since.strftime(FORMAT), until.strftime(FORMAT)))
    return [Missed(id, client, moment(at), wait, line) for id, client, at, wait, line in rows.fetchall()]


def missed_ahead(db: Database, latest: datetime, since: datetime) -> list[Missed]:
    """Missed calls that claim to begin after `latest`, by when they were received: nobody is lost for a wrong clock."""
    sql = _MISSED.format(at="first_event_at", p=db.param, more=f"AND first_event_at >= {db.param}") + f" LIMIT {AHEAD}"
    far = (latest + timedelta(seconds=1)).strftime(FORMAT)
    rows = db.execute_sql(sql, (far, LAST, since.strftime(FORMAT)))
    return [Missed(id, client, moment(at), wait, line) for id, client, at, wait, line in rows.fetchall()]


# ------------------------------------------------------------------------------------------------- what followed a call

_LATER = """
SELECT client_number, id, direction, is_answered, state, started_at, answered_at, first_event_at FROM calls
WHERE client_number IN ({clients}) AND {order} >= {p} AND is_missed = 0 AND direction <> 'internal'
AND (is_answered = 1 OR direction = 'out')
"""


def outcomes(db: Database, missed: Sequence[Missed], latest: datetime) -> list[Outcome]:
    """What followed each of these missed calls, as the call log has it now. A call that claims to begin after `latest` did
    so when it was received. Nothing can follow a call of a hidden number."""
    clients = sorted({call.client_number for call in missed if not call.hidden})
    since = min((call.started_at for call in missed), default=latest)
    after: dict[str, list[Later]] = defaultdict(list)
    # ids grow with time: without a bound every call that a client ever made would be read
    first = _first_id(db, since - timedelta(days=1)) if clients else 0
    order = "id" if on_mysql(db) else "rowid"
    for start in range(0, len(clients), AT_ONCE):
        some = clients[start : start + AT_ONCE]
        sql = _LATER.format(clients=", ".join([db.param] * len(some)), order=order, p=db.param)
        for client, *fields in db.execute_sql(sql, (*some, first)).fetchall():
            after[client].append(_later(latest, *fields))
    for calls in after.values():
        calls.sort()
    return [_outcome(call, after.get(call.client_number, ())) for call in missed]


def _first_id(db: Database, since: datetime) -> int:
    """The lowest id (SQLite: rowid) of calls that began since: the first that is in every index (see models.Key)."""
    order = "id" if on_mysql(db) else "rowid"
    for until in ((since + timedelta(days=2)).strftime(FORMAT), LAST):
        sql = f"SELECT MIN({order}) FROM calls WHERE started_at >= {db.param} AND started_at < {db.param}"
        (first,) = db.execute_sql(sql, (since.strftime(FORMAT), until)).fetchone()
        if first is not None:
            return int(first)
    return 0


def _later(
    latest: datetime, id: int, direction: str, answered: int, state: str, started: Any, talked: Any, received: Any
) -> Later:
    began = moment(started)
    at = moment(talked) if answered and talked is not None else began
    if began > latest:
        began = at = moment(received or started)
    return Later(at, id, began, direction == "out", bool(answered), state == "ended")


def _outcome(call: Missed, after: Iterable[Later]) -> Outcome:
    attempts = []
    for other in after:
        if other.at > call.started_at:
            if other.is_answered:
                return Outcome(other)
            attempts.append(other)
    return Outcome(None, tuple(attempts))


# ------------------------------------------------------------------------------------------------------------ by client


def by_outcome(pairs: Iterable[tuple[Missed, Outcome]]) -> list[tuple[list[Missed], Outcome]]:
    """Missed calls of one client between two talks are one matter, with the outcome of the last of them; not of hidden
    numbers."""
    found: dict[tuple[str, int], tuple[list[Missed], Outcome]] = {}
    for call, outcome in sorted(pairs, key=lambda pair: (pair[0].started_at, pair[0].id)):
        if not call.hidden:
            key = (call.client_number, outcome.talk.id if outcome.talk else 0)
            there = found.get(key)
            found[key] = ([*there[0], call] if there else [call], outcome)
    return list(found.values())


def clients(pairs: Iterable[tuple[Missed, Outcome]]) -> list[Client]:
    """Each client with his latest matter: who waits the longest first."""
    total: dict[str, int] = defaultdict(int)
    latest: dict[str, tuple[list[Missed], Outcome]] = {}
    for missed, outcome in by_outcome(pairs):
        number = missed[0].client_number
        total[number] += len(missed)
        there = latest.get(number)
        if there is None or there[0][-1].started_at <= missed[-1].started_at:
            latest[number] = (missed, outcome)
    found = [Client(number, tuple(missed), outcome, total[number]) for number, (missed, outcome) in latest.items()]
    return sorted(found, key=lambda client: (client.missed[0].started_at, client.missed[0].id))


# ------------------------------------------------------------------------------------------- what a person is shown of it


class Shown(NamedTuple):
    """A client with what else the call log knows: his name, his contact and who is responsible, whom the calls rang, who
    talked or tried last, and the provider of his last call."""

    client: Client
    name: str
    is_contact: bool
    responsible_ext: str
    rung: tuple[str, ...]
    by: str
    provider: str


def shown(db: Database, some: Sequence[Client]) -> list[Shown]:
    """The clients of one page."""
    contacts, known = _contacts(db, [client.number for client in some]), names(db)
    calls = [call.id for client in some for call in client.missed]
    later = [last for client in some if (last := _last(client)) is not None]
    rows = {
        id: rest
        for id, *rest in _of_ids(
            db, Calls.id, [*calls, *(call.id for call in later)],
            Calls.client_name, Calls.provider, Calls.employee_ext, Calls.employee_number, Calls.employee_name,
        )
    }  # fmt: skip
    rung: dict[int, list[str]] = defaultdict(list)
    for id, *who in _of_ids(
        db, CallLegs.call_id, calls, CallLegs.employee_ext, CallLegs.employee_number, CallLegs.employee_name
    ):
        rung[id].append(who_is(who, known))
    found = []
    for client in some:
        number = phone(client.number)
        told = [rows[call.id][0] for call in client.missed if call.id in rows and rows[call.id][0]]
        last = _last(client)
        found.append(
            Shown(
                client,
                contacts[number][0] if number in contacts else told[-1] if told else "",
                number in contacts,
                contacts[number][1] if number in contacts else "",
                tuple(dict.fromkeys(one for call in client.missed for one in rung[call.id] if one)),
                who_is(rows[last.id][2:], known) if last and last.id in rows else "",
                rows[client.missed[-1].id][1] if client.missed[-1].id in rows else "",
            )
        )
    return found


def _last(client: Client) -> Later | None:
    return client.outcome.talk or (client.attempts[-1] if client.attempts else None)


def _of_ids(db: Database, key: Any, ids: Collection[int], *columns: Any) -> Iterable[tuple[Any, ...]]:
    ids = sorted(ids)
    for start in range(0, len(ids), AT_ONCE):
        query = key.model.select(key, *columns).where(key.in_(ids[start : start + AT_ONCE]))
        yield from query.order_by(key.model.id).tuples().execute(db)


def _contacts(db: Database, numbers: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Normalised number -> (name, extension of who is responsible) of those that 1C knows; of several rows the newest."""
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(numbers), 40):  # each has twelve spellings at the most
        written = [spelling for number in numbers[start : start + 40] for spelling in spellings(number)]
        query = Contacts.select(Contacts.client_number, Contacts.client_name, Contacts.responsible_ext)
        rows = query.where(Contacts.client_number.in_(written)).order_by(Contacts.updated_at, Contacts.id)
        found |= {phone(number.strip()): (name, ext) for number, name, ext in rows.tuples().execute(db)}
    return found


def names(db: Database) -> dict[str, str]:
    """Extension, and number, -> the employee's name by the table `employees`; of several rows the newest."""
    query = Employees.select(Employees.employee_ext, Employees.employee_number, Employees.employee_name)
    found: dict[str, str] = {}
    for ext, number, name in query.order_by(Employees.updated_at, Employees.id).tuples().execute(db):
        found |= {key: name for key in (ext.strip(), phone(number)) if key and name}
    return found


def who_is(who: Sequence[str], known: dict[str, str]) -> str:
    """«105 Анна Котова» of (extension, number, name), whatever of it is known."""
    ext, number, name = who[:3]
    name = known.get(ext) or known.get(phone(number)) or name
    return " ".join(part for part in (ext or ("" if name else number), name) if part)


# ------------------------------------------------------------------------------------------------- what the log may lack

AROUND = timedelta(minutes=10)  # of a delivery's receipt, where a call of its number is taken for its call


def lacking(db: Database, maybe: Sequence[tuple[str, str, str, datetime]]) -> list[bool]:
    """Whether the log lacks the call, for each (provider, provider_call_id or "", client's number, when it was told of)."""
    ids: set[tuple[str, str]] = set()
    for provider in {one[0] for one in maybe}:
        wanted = [one[1] for one in maybe if one[0] == provider and one[1]]
        query = Calls.select(Calls.provider_call_id)
        query = query.where(Calls.provider == provider, Calls.provider_call_id.in_(wanted))
        ids |= {(provider, id) for (id,) in query.tuples().execute(db)} if wanted else set()
    moments: dict[str, list[datetime]] = defaultdict(list)
    if maybe:
        since, until = min(one[3] for one in maybe) - AROUND, max(one[3] for one in maybe) + AROUND
        query = Calls.select(Calls.client_number, Calls.first_event_at)
        query = query.where(Calls.client_number.in_([one[2] for one in maybe]))
        for number, at in query.where(Calls.first_event_at.between(since, until)).tuples().execute(db):
            moments[number].append(at)
    return [
        (provider, id) not in ids and (id != "" or all(abs(at - there) > AROUND for there in moments[number]))
        for provider, id, number, at in maybe
    ]
