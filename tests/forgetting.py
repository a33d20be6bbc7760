"""Forgetting at size: many people's calls on all feeds in every spelling, two nodes, some forgotten, then the account.

`python -m tests.forgetting` is the large one, on SQLite and on MariaDB (some minutes); tests/upkeep/test_forgetting.py
runs a small one. What may not be: a byte of a forgotten person in DATA_DIR, in later backups or on the page; a row or a
delivery of anybody else that is not what it was, but for `***` where it mentioned him.
"""

import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from click.testing import CliRunner
from flask.cli import ScriptInfo

import cli
import models
from app import create_app
from calllog import database
from inbox import DEAD, IGNORED, Outcome, now
from inbox.judge import recognised
from models import Calls, Contacts, Employees, ForgottenList
from schemas.reading import Delivery
from tests.rig.node import Node, rows
from upkeep import backup, traces
from upkeep.forgotten import Forgotten

FEEDS = ("uis", "mgerm", "hooktype", "mtt", "xvb")
SPELLED: tuple[Callable[[str], str], ...] = (
    lambda n: f"7{n}",
    lambda n: f"+7{n}",
    lambda n: f"8{n}",
    lambda n: n,
    lambda n: f"8 ({n[:3]}) {n[3:6]}-{n[6:8]}-{n[8:]}",
    lambda n: f"+7 ({n[:3]}) {n[3:6]}-{n[6:8]}-{n[8:]}",
    lambda n: f"8-{n[:3]}-{n[3:6]}-{n[6:8]}-{n[8:]}",
    lambda n: f"+7.{n[:3]}.{n[3:6]}.{n[6:8]}.{n[8:]}",
    lambda n: f"8/{n[:3]}/{n[3:6]}/{n[6:]}",
    lambda n: f"8\u00a0{n[:3]}\u00a0{n[3:6]}\u00a0{n[6:]}",
    lambda n: f"8\u2011{n[:3]}\u2011{n[3:]}",
    lambda n: f"007{n}",
    lambda n: f"8 10 7 {n[:3]} {n[3:]}",
)
LINE, ELSE = "74951234567", {"virtual_phone_number": "74951234567"}


@dataclass
class Sent:
    """A delivery as it was posted, and whose call it is (None: of nobody's)."""

    feed: str
    route: str
    body: bytes
    query: str
    whose: int | None


@dataclass
class World:
    """People by number, all that was sent, and the spellings in which each is mentioned."""

    random: random.Random
    people: list[str]
    sent: list[Sent] = field(default_factory=list)
    late: list[Sent] = field(default_factory=list)
    spelled: dict[int, set[str]] = field(default_factory=dict)

    def name(self, who: int) -> str:
        return f"Фамилия{who:04}я"

    def number(self, who: int) -> str:
        """His number, in some spelling."""
        text = self.random.choice(SPELLED)(self.people[who])
        self.spelled.setdefault(who, set()).add(text)
        return text

    def call(self, turn: int) -> None:
        """A call of somebody, told by some feed; a third of them mention somebody else."""
        who, feed = self.random.randrange(len(self.people)), FEEDS[turn % len(FEEDS)]
        note = f"звонить {self.number(self.random.randrange(len(self.people)))} 12" if turn % 3 == 0 else "нет"
        for route, body, late in getattr(self, f"_{feed}")(who, f"{10_000 + turn}", note):
            query = body if isinstance(body, str) else ""
            sent = b"" if query else json.dumps(body, ensure_ascii=bool(turn % 2)).encode()
            (self.late if late else self.sent).append(Sent(feed, route, sent, query, who))

    def _uis(self, who: int, call: str, note: str) -> Iterator[tuple[str, Any, bool]]:
        told = {"call_session_id": call, "direction": "in", "calling_phone_number": self.number(who), **ELSE,
                "start_time": "2024-03-01 10:00:00", "comment": note, "visitor_id": int(f"9{call}1234"[:10])}  # fmt: skip
        yield "in", {**told, "contact_full_name": self.name(who)}, False
        yield "rec", {**told, "finish_time": "2024-03-01 10:01:00", "is_lost": False, "total_time_duration": 60}, False
        recorded = {"call_session_id": call, "file_link": f"https://app.uiscom.ru/r/{call}", "file_duration": 9}
        yield "rec", {**recorded, "contact_full_name": self.name(who), "notification_time": "2024-03-01 10:02:00"}, True

    def _mgerm(self, who: int, call: str, note: str) -> Iterator[tuple[str, Any, bool]]:
        yield "ended", {
            "callsessionid": f"8{call}", "direction": "in", "callingphonenumber": self.number(who), "comment": note,
            "virtualphonenumber": LINE, "contactfullname": self.name(who), "notificationtime": "2024-03-01 11:00:00",
        }, False  # fmt: skip

    def _hooktype(self, who: int, call: str, note: str) -> Iterator[tuple[str, Any, bool]]:
        told = {
            "SessionID": f"h-{call}",
            "Caller": self.number(who),
            "CityNumber": LINE,
            "StartTime": "2024-03-01T10:00:00Z",
        }
        yield "hooktype", {**told, "HookType": "CreateIncCall", "Called": LINE, "Note": note}, False
        other = self.number(self.random.randrange(len(self.people)))
        yield (
            "hooktype",
            {**told, "HookType": "EndIncCall", "EndTime": "2024-03-01T10:01:00Z", "Redirecting": other},
            False,
        )

    def _mtt(self, who: int, call: str, note: str) -> Iterator[tuple[str, Any, bool]]:
        id = f"{int(call):08X} 11E6AB00 A1B2C3D4 {int(call):08X}"
        for kind, second in (("o", 1), ("s", 5), ("h", 30)):
            yield "mtt", {
                "h323_conf_id": id, "number_a": self.number(who), "sip_id": LINE, "redirect_number": "79990000001",
                "event": {"type": kind, "data": f"event={kind}_1_2024-03-01-10-00-{second:02}"}, "note": note,
                "client_id": call,
            }, kind == "h"  # fmt: skip

    def _xvb(self, who: int, call: str, note: str) -> Iterator[tuple[str, Any, bool]]:
        told = {"cmd": "event", "callid": f"x-{call}", "type": "in", "phone": self.number(who), "line_number": LINE}
        for event, status in (("INCOMING", ""), ("COMPLETED", "Success")):
            yield "crm-api", urlencode({**told, "event": event, "status": status, "note": note}), False

    def refused(self, turn: int) -> None:
        """A dead letter that mentions somebody, in one of the ways that bodies are broken in."""
        who = self.random.randrange(len(self.people))
        number = self.number(who)
        body = (
            f"не JSON: {number}, 12".encode(),
            f"кодировка {number}".encode("utf-16"),
            f"кодировка {number}".encode("cp1251", "replace"),
            json.dumps({"comment": f"звонить {number}"}).encode()[:-1],
            json.dumps(
                {"direction": "in", "calling_phone_number": number, "contact_full_name": self.name(who)}
            ).encode(),
        )[turn % 5]
        if turn % 5 == 2:
            self.spelled[who].add(number.encode("cp1251", "replace").decode("cp1251"))
        self.sent.append(Sent("uis", "in", body, "", who if turn % 5 == 4 else None))


def flask(node: Node, *arguments: str, code: int = 0) -> str:
    """A command of this node, in this process; what it prints."""
    info = ScriptInfo(create_app=lambda: create_app(node.settings), set_debug_flag=False)
    done = CliRunner().invoke(cli.program(), arguments, obj=info)
    if done.exit_code != code:
        raise AssertionError((arguments, done.output, done.exception))
    return done.output


def post(nodes: list[Node], sent: list[Sent], first: int = 0) -> None:
    """Store them as a handler does, in turn at these nodes, beginning with `first`."""
    for turn, one in enumerate(sent, first):
        delivery = Delivery(one.feed, one.route, one.body, one.query, declared_length=len(one.body), received_at=now())
        outcome = recognised(delivery)[0]
        nodes[turn % len(nodes)].inbox.begin(delivery, outcome if outcome.state in (DEAD, IGNORED) else Outcome())
        if turn % 400 == 0:
            _stored(nodes)
    _stored(nodes)


@dataclass
class Stage:
    """What the steps after the forgetting are about."""

    directory: Path
    nodes: list[Node]
    world: World
    gone: list[int]
    url: str
    other_url: str
    before: dict[str, Any]
    old: backup.Backup


@dataclass
class Account:
    """What was found: empty lists are what is wanted."""

    seconds: float = 0.0
    traces: list[str] = field(default_factory=list)
    came_back: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def run(directory: Path, url: str, other_url: str, calls: int, people: int, forgotten: int, seed: int = 7) -> Account:
    """The whole of it on an empty database; `other_url`: one to copy to."""
    began = time.monotonic()
    database.upgrade(url, lambda line: None)
    nodes = [Node(directory / name, url, operator_password="secret") for name in ("a", "b")]
    world = _world(calls, people, seed)
    post(nodes, world.sent)
    _contacts(url, world)
    for node in nodes:
        node.forward()
    gone = list(range(forgotten))
    before = _everything(nodes, url)
    old = backup.make(nodes[0].settings, nodes[0].inbox, directory / "old", lambda *progress: None)
    account = Account(counts={"deliveries": len(world.sent), "calls": len(rows(url, Calls))})
    for who in gone:
        flask(nodes[who % 2], "forget", SPELLED[who % len(SPELLED)](world.people[who]), "--yes")
    for node in nodes:
        node.forward()
    account.changed += _differences(before, _everything(nodes, url), world, gone)
    stage = Stage(directory, nodes, world, gone, url, other_url, before, old)
    for step in (_late, _replayed, _from_a_dump, _copied, _restored):
        step(stage)
        account.came_back += [f"{step.__name__}: {what}" for what in _there(url, world, gone)]
    for node in nodes:
        flask(node, "purge")
        backup.make(
            node.settings, node.inbox, node.settings.data_dir.parent / f"new-{node.settings.data_dir.name}", _quiet
        )
    account.traces = _traces(directory, nodes, url, world, gone)
    account.seconds = time.monotonic() - began
    return account


def _quiet(*progress: Any) -> None:
    pass


def _world(calls: int, people: int, seed: int) -> World:
    chosen = random.Random(seed)
    numbers = chosen.sample(range(200_000_0000 // 10, 999_999_999), people)
    world = World(chosen, [f"9{number:09}" for number in numbers])
    for turn in range(calls):
        world.call(turn)
        if turn % 10 == 0:
            world.refused(turn // 10)
    return world


def _stored(nodes: list[Node]) -> None:
    for node in nodes:
        node.inbox.probe()  # behind all that was begun


def _contacts(url: str, world: World) -> None:
    db = database.open_database(url)
    with db.connection_context():
        for id, _ in enumerate(world.people, 1):
            name = f"{world.name(id - 1)}" if id % 2 else f"Анна (муж {world.number((id * 7) % len(world.people))})"
            whose = world.number(id - 1) if id % 2 else "79000000001"
            Contacts.insert(id=id, client_number=whose, client_name=name, updated_at="2030-01-01 00:00:00").execute(db)
        Employees.insert(id=1, employee_ext="101", employee_name=f"Пётр {world.number(0)}").execute(db)


# ------------------------------------------------------------------------------------------------------- what there is

TABLES = [table for table in models.TABLES if table not in (models.ChangeCounter, models.FeedStatus, ForgottenList)]
MOVES = {"change_no", "updated_at"}


def _everything(nodes: list[Node], url: str) -> dict[str, Any]:
    """Every row and delivery by its key."""
    found: dict[str, Any] = {}
    for table in TABLES:
        name = table._meta.table_name
        for row in rows(url, table):
            found[f"{name} {row['id']}"] = {key: value for key, value in row.items() if key not in MOVES}
    for number, node in enumerate(nodes):
        for stored in node.inbox.deliveries(limit=-1):
            delivery = stored.delivery
            found[f"delivery {number} {delivery.id}"] = {
                "body": delivery.body, "query": delivery.query, "outcome": stored.outcome.state,
                "detail": stored.outcome.detail,
            }  # fmt: skip
    return found


def _blanked(value: Any, spelled: list[str]) -> Any:
    """The value without these spellings, as the generator wrote them: in JSON, in a form, in UTF-16."""
    if isinstance(value, bytes):
        for number in spelled:
            for written in {number, json.dumps(number)[1:-1], quote_plus(number)}:
                for coding in ("utf-8", "utf-16-le", "cp1251"):
                    value = value.replace(written.encode(coding, "replace"), "***".encode(coding))
        return value
    if isinstance(value, str):
        for number in spelled:
            for written in (number, json.dumps(number)[1:-1], quote_plus(number)):
                value = value.replace(written, "***")
    return value


def _differences(before: dict[str, Any], after: dict[str, Any], world: World, gone: list[int]) -> list[str]:
    """What is another's and is not what it was, but for the blanked; what is his and is still there."""
    spelled = sorted(
        {text for who in gone for text in world.spelled.get(who, ())} | {f"7{world.people[who]}" for who in gone}
    )
    spelled.sort(key=len, reverse=True)
    his = _his(before, world, gone)
    wrong = []
    for key, was in before.items():
        if key in his:
            wrong += [f"{key} is still there"] if key in after else []
        elif key not in after:
            wrong.append(f"{key} is gone: {str(was)[:300]}")
        elif after[key] != (wanted := {name: _blanked(value, spelled) for name, value in was.items()}):
            there = {name: (value, after[key][name]) for name, value in wanted.items() if after[key][name] != value}
            wrong.append(f"{key} differs (wanted, found): {str(there)[:600]}")
    return wrong


def _his(before: dict[str, Any], world: World, gone: list[int]) -> set[str]:
    numbers = {f"7{world.people[who]}" for who in gone} | {SPELLED[11](world.people[who]) for who in gone}
    numbers |= {"8107" + world.people[who] for who in gone}
    calls = {row["id"] for key, row in before.items() if key.startswith("calls ") and row["client_number"] in numbers}
    ids = {row["provider_call_id"] for key, row in before.items() if key.startswith("calls ") and row["id"] in calls}
    sent = {(one.body, one.query) for one in world.sent if one.whose in gone}
    found = set()
    for key, row in before.items():
        if key.startswith("calls "):
            mine = row["id"] in calls
        elif key.startswith("call_"):
            mine = row["call_id"] in calls
        elif key.startswith("delivery "):
            mine = (row["body"], row["query"]) in sent
        else:
            mine = key.startswith("contacts ") and row["client_name"] in {world.name(who) for who in gone}
        found |= {key} if mine else set()
    assert len(ids) == len(calls)
    return found


# --------------------------------------------------------------------------------------------- what could bring him back


def _late(stage: Stage) -> None:
    """What comes after: recordings at the other node."""
    post(stage.nodes, stage.world.late, 1)
    for node in stage.nodes:
        node.forward()


def _replayed(stage: Stage) -> None:
    """Everybody sends all of it again, the dead letters and what has no time of its own aside; then replay and rebuild."""
    told = (one for one in stage.world.sent if one.feed != "xvb")
    post(
        stage.nodes,
        [one for one in told if recognised(Delivery(one.feed, one.route, one.body, one.query))[0].state == "received"],
        1,
    )
    for node in stage.nodes:
        node.forward()
        flask(node, "inbox", "replay", "--status", "forwarded")
        flask(node, "inbox", "replay", "--status", "ignored")
        node.forward()
        flask(node, "calls", "rebuild")


def _from_a_dump(stage: Stage) -> None:
    """The rows of before are there again, and the list in the call log is not."""
    db = database.open_database(stage.url)
    with db.connection_context():
        for table in TABLES:
            name = table._meta.table_name
            there = {id for (id,) in table.select(table.id).tuples().execute(db)}
            old = [row for key, row in stage.before.items() if key.startswith(f"{name} ") and row["id"] not in there]
            for number, row in enumerate(old):
                more = {"change_no": -number - 1} if table is Calls else {}
                table.insert(**row, **more).execute(db)
        ForgottenList.delete().execute(db)
    for node in stage.nodes:
        node.forward()


def _copied(stage: Stage) -> None:
    flask(stage.nodes[0], "db", "copy", stage.other_url)
    if _there(stage.other_url, stage.world, stage.gone) or not rows(stage.other_url, Calls):
        raise AssertionError("a copy that is not one, or has them")


def _restored(stage: Stage) -> None:
    """The backup of before on a new disk, with the lists that are kept beside the backups."""
    node, on_sqlite = stage.nodes[0], stage.url.startswith("sqlite")
    backup.keep_lists(node.settings, stage.directory / "old")
    new = Node(
        stage.directory / "restored", f"sqlite:///{stage.directory}/restored/calls.db" if on_sqlite else stage.url
    )
    chosen = backup.verified(stage.old.path)
    backup.restore(new.settings, new.inbox, chosen, with_inbox=True, with_calls=on_sqlite, position=0)
    new.forward()
    wanted = _names_and_numbers(stage.world, stage.gone)
    left = [stored for stored in new.inbox.deliveries(limit=-1) if wanted.search(stored.delivery.body)]
    if left or _there(new.settings.database_url, stage.world, stage.gone):
        raise AssertionError(left[:3], _there(new.settings.database_url, stage.world, stage.gone)[:5])


def _there(url: str, world: World, gone: list[int]) -> list[str]:
    """Of whom of these any table has a row or a word."""
    wanted = _names_and_numbers(world, gone)
    found = []
    for table in TABLES:
        for row in rows(url, table):
            text = json.dumps(
                {key: value for key, value in row.items() if key != "id"}, default=str, ensure_ascii=False
            )
            if hit := wanted.search(text.encode()):
                found.append(f"{table._meta.table_name} {row['id']}: {hit[0].decode(errors='replace')}")
    return found


def _names_and_numbers(world: World, gone: list[int]) -> re.Pattern[bytes]:
    """Bytes that are one of these people."""
    gap = rb"(?:\\u[0-9a-f]{4}|%[0-9A-F]{2}|[^0-9A-Za-z]){0,8}"
    words = [world.name(who).encode() for who in gone if who < len(world.people)]
    words += [gap.join(bytes([ord(digit)]) for digit in world.people[who]) for who in gone if who < len(world.people)]
    return re.compile(
        rb"(?<![0-9])(?:(?:00|8"
        + gap
        + rb"10)?"
        + gap
        + rb"[78]"
        + gap
        + rb")?(?:"
        + rb"|".join(words)
        + rb")(?![0-9])"
    )


def _traces(directory: Path, nodes: list[Node], url: str, world: World, gone: list[int]) -> list[str]:
    """Files of both nodes and of the new backups, pages, in which one of them is."""
    wanted, found = _names_and_numbers(world, gone), []
    places = [node.settings.data_dir for node in nodes] + sorted(directory.glob("new-*"))
    log = traces.log_file(database.open_database(url))
    for path in [path for place in places for path in place.rglob("*")] + ([log] if log else []):
        if path.is_file():
            hits = {hit[0] for hit in wanted.finditer(path.read_bytes())}
            found += [f"{path}: {hit!r}" for hit in hits]
    for node in nodes:
        client = create_app(node.settings).test_client()
        for page in ("/", "/calls", "/inbox", "/dead", "/service"):
            answer = client.get(page, auth=("", "secret"))
            hits = {hit[0] for hit in wanted.finditer(answer.data)}
            found += [f"{page} {answer.status_code}: {hit!r}" for hit in hits]
    assert not any(Forgotten(node.settings.inbox_dir).known() < len(gone) for node in nodes)
    return found


def main() -> None:
    """The large one: 3,000 calls of 600 people, 20 forgotten, on both databases."""
    from tests.rig.mariadb import MariaDB

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    calls, people, forgotten = map(int, sys.argv[1:4]) if len(sys.argv) > 3 else (3000, 600, 20)
    failed = False
    with tempfile.TemporaryDirectory() as directory, MariaDB(Path(directory) / "mariadb") as server:
        for kind in ("sqlite", "mysql"):
            place = Path(directory) / kind
            place.mkdir()
            urls = [f"sqlite:///{place}/calllog/calls.db", f"sqlite:///{place}/copy/calls.db"]
            if kind == "mysql":
                urls = [server.create("forgetting"), server.create("forgetting_copy")]
            account = run(place, urls[0], urls[1], calls, people, forgotten)
            tell(f"{kind}: {account.counts}, {forgotten} of {people} forgotten, {account.seconds:.0f} s")
            for name in ("changed", "came_back", "traces"):
                wrong = getattr(account, name)
                failed = failed or bool(wrong)
                tell("\n    ".join([f"  {name}: {len(wrong)}", *wrong[:20]]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
