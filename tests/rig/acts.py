"""Acts that say "done" to a sysadmin or a provider, and what must hold of each wherever it stops: for the walk over crash
points and for power cuts."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from calllog import database
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Outcome, now
from inbox.judge import DAY
from models import CallEvents, CallLegs, CallRecordings, Calls
from schemas.reading import Delivery
from tests.rig.crash import AFTER, BEFORE, DIED, ERROR, POST, Crashes, Done
from tests.rig.node import Node, end, ring
from tests.rig.service import Service
from upkeep import backup
from upkeep.forgotten import Forgotten

FAR = 4_000_000_000_000  # far ahead: nothing expires meanwhile
PERSON, OTHER = "79201119613", "79035550101"
EMPLOYEE = {"employee_phone_number": "79990000001", "extension_phone_number": "101"}


class Site(NamedTuple):
    """What an act works on: DATA_DIR and call log of a service that is not started, and a directory beside them."""

    service: Service
    directory: Path

    def calls(self) -> set[str]:
        return {row["provider_call_id"] for row in self.rows(Calls)}

    def rows(self, table: Any) -> list[dict[str, Any]]:
        return self.service.rows(table)

    def states(self) -> list[str]:
        return [stored.outcome.state for stored in self.service.deliveries()]

    def acts(self) -> list[dict[str, Any]]:
        path = self.service.data_dir / "acts" / "acts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def content(site: Site) -> list[Any]:
    """What 1C sees, but for our own clock and the numbers that a repeated batch may draw anew."""
    hidden = {"id", "call_id", "change_no", "updated_at", "node"}
    db = database.open_database(site.service.database_url)
    with db.connection_context():
        numbers = [number for (number,) in Calls.select(Calls.change_no).tuples().execute(db)]
        assert sorted(set(numbers)) == sorted(numbers)
        return [
            sorted(str({k: v for k, v in row.items() if k not in hidden}) for row in table.select().dicts().execute(db))
            for table in (Calls, CallLegs, CallRecordings, CallEvents)
        ]


class Act(NamedTuple):
    """A command; what it finds, what holds wherever it has stopped, and what is there once it has run again."""

    command: tuple[str, ...]
    prepare: Callable[[Site, Node], None]
    whole: Callable[[Site], Any]
    after: Callable[[Site], None] = lambda site: None
    settings: dict[str, str] = {}
    sizes: dict[str, int] = {}


# ------------------------------------------------------------------------------------------------------------ forwarding


def batch_of_everything(site: Site, node: Node) -> None:
    """A batch that touches every table: new calls, a known one, a repeat, an ignored one, a refused one."""
    node.deliver("in", received_at=FAR, **ring("1"))
    node.forward()
    at = iter(range(FAR + 1, FAR + 100))
    node.deliver("in", received_at=next(at), **ring("1", **EMPLOYEE))
    node.deliver("rec", received_at=next(at), **end("1", **EMPLOYEE, full_record_file_link="https://app.uiscom.ru/r/1"))
    node.deliver("rec", received_at=next(at), **end("2"))
    node.deliver("in", received_at=FAR - 5, **ring("1"))
    node.deliver("in", received_at=next(at), **ring("187020303"))
    node.deliver("in", received_at=next(at), direction="in")


def forwarded(site: Site) -> Any:
    assert site.states() == [FORWARDED] * 5 + [IGNORED, DEAD]
    return content(site)


def restored_call_log(site: Site, node: Node) -> None:
    """The call log is that of before call 2 and of the end of call 1, whose deliveries are marked forwarded."""
    path = Path(database.parse_url(site.service.database_url)[0])
    node.deliver("in", received_at=FAR, **ring("1"))
    node.forward()
    node.forwarder.close()
    shutil.copytree(path.parent, site.directory / "older")
    node.deliver("rec", received_at=FAR + 1, **end("1"))
    for number in range(2, 6):
        node.deliver("rec", received_at=FAR + number, **end(str(number)))
    node.forward()
    node.forwarder.close()
    shutil.rmtree(path.parent)
    (site.directory / "older").rename(path.parent)


def mended(site: Site) -> Any:
    assert site.states() == [FORWARDED] * 6
    seen = 6  # a reader has seen so many changes before the restore
    assert min(row["change_no"] for row in site.rows(Calls)) > seen - 1
    return content(site)


def forwarded_deliveries(site: Site, node: Node) -> None:
    for number in range(1, 4):
        node.deliver("rec", received_at=FAR, **end(str(number)))
    node.forward()


def replayed(site: Site) -> Any:
    return site.states() == [RECEIVED] * 3 and content(site)


def none_lost(site: Site) -> None:
    assert len(site.states()) == 3


LIAR = "192.0.2.9"


def what_a_liar_sent(site: Site, node: Node) -> None:
    """Beside the provider's: a call of the liar's own, and a lie about another."""
    for number, address in ((1, ""), (2, ""), (2, LIAR), (3, LIAR)):
        body = json.dumps(end(str(number), comment=address)).encode()
        node.inbox.put(Delivery("uis", "rec", body, received_at=now(), client_address=address), Outcome())
    node.forward()


def rejected(site: Site) -> Any:
    assert site.states() == [FORWARDED] * 2 + [DEAD] * 2
    voids = {row["provider_call_id"] for row in site.rows(Calls) if row["disposition"] == "void"}
    assert (site.calls(), voids) == ({"1", "2", "3"}, {"3"})
    assert [row["events_count"] for row in site.rows(Calls)][:2] == [1, 1]
    return content(site)


# -------------------------------------------------------------------------------------------------------------- deleting


def parts_are_whole(site: Site) -> None:
    """No part is left of a call that is gone, and nothing goes that no destruction record tells of."""
    there = {row["id"] for row in site.rows(Calls)}
    for table in (CallEvents, CallLegs, CallRecordings):
        assert {row["call_id"] for row in site.rows(table)} <= there


def people(site: Site, node: Node) -> None:
    """Calls of two people, of some of which no delivery is left, and a dead letter that mentions the first."""
    for number in range(1, 9):
        client = {"calling_phone_number": PERSON if number % 2 else OTHER}
        node.deliver("in", **ring(str(number), **EMPLOYEE, **client))
        node.deliver("rec", **end(str(number), **EMPLOYEE, **client))
    node.forward()
    node.inbox.erase(list(range(9, 17)))
    node.deliver("in", direction="in", calling_phone_number="8 (920) 111-96-13")
    chat = f"chat_id=5&text={quote('+7 (920) 111-96-13')}".encode()
    node.inbox.put(Delivery("uis", "in", chat, received_at=now()), Outcome())
    node.forward()


def whoever_is_gone_is_known(site: Site) -> None:
    parts_are_whole(site)
    assert site.calls() >= {"2", "4", "6", "8"}
    who = Forgotten(site.service.data_dir / "inbox")
    gone = {"1", "3", "5", "7"} - site.calls()
    known = {call for call in gone if who.when_call("uis", call) >= 0}
    assert known == gone  # a late delivery without a number brings none back
    if gone or len(site.states()) < 10:
        assert site.acts()
        assert who.known() == 1


def forgotten(site: Site) -> Any:
    whoever_is_gone_is_known(site)
    assert (site.calls(), site.states()) == ({"2", "4", "6", "8"}, [FORWARDED] * 4)
    assert [act["whole"] for act in site.acts() if act["what"] == "ended"][-1]
    for path in site.service.data_dir.rglob("*"):
        assert not path.is_file() or PERSON[1:].encode() not in path.read_bytes(), path
    done = [act["counts"] for act in site.acts() if act["what"] == "ended"]  # whoever finished it has counted all
    assert [sum(counts.get(name, 0) for counts in done) for name in ("calls", "call_events", "deliveries")] == [4, 8, 6]
    return content(site)


def aged(site: Site, node: Node) -> None:
    """Ended calls of 100 days ago, and one of now."""
    old = now() - 100 * DAY
    for number in range(1, 6):
        node.deliver("rec", old, **end(str(number), **EMPLOYEE))
    node.deliver("rec", **end("99"))
    node.forward()


def the_new_one_stays(site: Site) -> None:
    parts_are_whole(site)
    assert "99" in site.calls()
    assert site.states()[-1:] == [FORWARDED]
    assert site.acts() or (len(site.calls()), len(site.states())) == (6, 6)


def purged(site: Site) -> Any:
    the_new_one_stays(site)
    assert (site.calls(), site.states()) == ({"99"}, [FORWARDED])
    return content(site)


# --------------------------------------------------------------------------------------------------------------- copying


def an_older_backup(site: Site, node: Node) -> None:
    forwarded_deliveries(site, node)
    made = backup.make(node.settings, node.inbox, site.directory / "copies", lambda *_: None)
    made.path.rename(made.path.with_name("20240101T000000Z"))


def copies_are_whole(site: Site) -> None:
    """Whatever bears a backup's name can be restored, and there always is one."""
    named = [path for path in (site.directory / "copies").iterdir() if backup.STAMP.fullmatch(path.name)]
    assert named
    for path in named:
        assert backup.verified(path).manifest["files"]["inbox.db"]["deliveries"] == 3


ACTS = {
    "mending": Act(("forward", "--once"), restored_call_log, mended, sizes={"inbox.deliveries.PAGE": 2}),
    "replay": Act(("inbox", "replay", "--status", "forwarded"), forwarded_deliveries, replayed, none_lost),
    "reject": Act(
        ("inbox", "reject", "--feed", "uis", "--since", "2020-01-01", "--until", "2090-01-01", "--address", LIAR, "--yes"),
        what_a_liar_sent, rejected, sizes={"upkeep.reject.BITE": 1},
    ),
    "forget": Act(
        ("forget", PERSON, "--yes"), people, forgotten, whoever_is_gone_is_known,
        sizes={"upkeep.bites.BITE": 1, "upkeep.sweep.ROWS": 3, "upkeep.mentions.ROWS": 3, "inbox.deliveries.PAGE": 6},
    ),
    "purge": Act(
        ("purge", "--yes"), aged, purged, the_new_one_stays, {"CALLS_DAYS": "30", "INBOX_DAYS": "30"},
        {"upkeep.retention.BITE": 2, "inbox.deliveries.BITE": 2},
    ),
}  # fmt: skip
BACKUP = Act(("backup", "copies", "--keep", "1"), an_older_backup, copies_are_whole, copies_are_whole)
BATCH = Act(("forward", "--once"), batch_of_everything, forwarded)


ORDER = "order 1"


def an_order(provider_url: str) -> Act:
    """Click to call through a stand-in of the provider's."""
    body = json.dumps({"provider": "xvb", "from": "101", "to": PERSON, "request_id": ORDER})
    settings = {"API_KEY": "k", "XVB_URL": f"{provider_url}/commoncrm/1", "XVB_TOKEN": "t"}
    command = (POST, "/api/make-call", body, "k")
    return Act(command, lambda site, node: node.inbox.probe(), lambda site: None, settings=settings)


class Walk:
    """Runs an act again and again on what it found, and lets it stop at another write each time."""

    def __init__(self, act: Act, tmp_path: Path, url: str = "", put_back: Callable[[], Any] = lambda: None) -> None:
        place = tmp_path / "site"
        self.act, self.put_back = act, put_back
        settings = {"UIS_KEY": "open", "DATA_DIR": str(place / "data"), **act.settings}
        self.service = Service(tmp_path / "service", url or f"sqlite:///{place}/data/calllog/calls.db", **settings)
        self.service.data_dir = place / "data"
        self.site, self.template = Site(self.service, place), tmp_path / "template"
        place.mkdir()

    def prepare(self) -> None:
        """What the act finds."""
        database.upgrade(self.service.database_url, lambda line: None)
        node = Node(self.service.data_dir, self.service.database_url, expire_hours=100_000)
        self.act.prepare(self.site, node)
        node.forwarder.close()
        node.inbox.close()
        shutil.copytree(self.site.directory, self.template, ignore=shutil.ignore_patterns("wake"))

    def crashes(self) -> Crashes:
        return Crashes(self.service.root, self.service.environment, self.act.sizes)

    def run(self, crashes: Crashes, mode: str = BEFORE, at: int = 0) -> Done:
        """The act, on what it finds."""
        shutil.rmtree(self.site.directory)
        shutil.copytree(self.template, self.site.directory)
        self.put_back()
        return self.again(crashes, mode, at)

    def again(self, crashes: Crashes, mode: str = BEFORE, at: int = 0) -> Done:
        """The act, on what is there."""
        command = [str(self.site.directory / word) if word == "copies" else word for word in self.act.command]
        return crashes.run(*command, mode=mode, at=at)

    def points(self, done: Done, every_failure: bool) -> Iterator[tuple[str, int]]:
        """Where it dies, and where a write fails."""
        yield from ((BEFORE, at) for at in done.lasting)
        yield AFTER, done.lasting[-1]
        yield from ((ERROR, at) for at in (range(1, done.writes + 1) if every_failure else done.lasting))

    def whole(self, crashes: Crashes, every_failure: bool = False) -> int:
        """Wherever it stops, what is left is right, and the act again gives what an undisturbed one gives. How many
        points there were."""
        undisturbed = self.run(crashes)
        assert undisturbed.code == 0, undisturbed.output
        wanted = self.act.whole(self.site)
        points = list(self.points(undisturbed, every_failure))
        for how, at in points:
            done = self.run(crashes, how, at)
            assert done.code == DIED if how != ERROR else done.writes >= at, (how, at, done)
            self.act.after(self.site)
            again = self.again(crashes)
            assert again.code == 0, (how, at, again.output)
            found = self.act.whole(self.site)
            assert found == wanted, f"{how} write {at}: {done.output[-2000:]}"
        return len(points)
