"""Acts of forgetting: of one number, of all the list knows once more, and of what a kill has broken off.

Each is a sweep with a destruction record that counts by bites (unfinished.py): whoever comes next finishes it.
"""

from collections.abc import Iterator

from inbox import now
from upkeep import acts, traces, unfinished
from upkeep.bites import Counts
from upkeep.exchange import give
from upkeep.forgotten import DONE, NUMBER, OWN, Fact, Forgotten
from upkeep.search import Marks, Place, marks
from upkeep.sweep import Sweep
from upkeep.unfinished import Unfinished

SWEPT = "forgotten_swept"  # a fact of the inbox: the size of the list whose every line was swept from it


def forget(place: Place, number: str, why: str, own: bool = False) -> Iterator[Counts]:
    """Forget a number, normalised (`own`: only as a client). Table -> how many, bite by bite."""
    who, db = Forgotten(place.settings.inbox_dir), place.db
    assert db is not None
    with who.held():
        there, key = marks(db, place.inbox, now()), who.key()
        digest = who.digest(number)
        fields = acts.fields(place.settings, place.inbox.node(), "forget", why, digest=digest)
        fact = Fact(key, OWN if own else NUMBER, digest, there.at)
        act = unfinished.begun(acts.directory(place.settings), fields, {"fact": fact, "marks": there})
        who.append([fact])
    try:
        give(db, [fact])  # other nodes are to know at once
        yield from _do(place, act, number)
    finally:
        act.close()


def again(place: Place, why: str, who: Forgotten | None = None) -> Iterator[Counts]:
    """Whatever is there of all who were forgotten, or of some of them."""
    fields = acts.fields(place.settings, place.inbox.node(), "again", why)
    act = unfinished.begun(acts.directory(place.settings), fields, {})
    try:
        yield from _do(place, act, of=who)
    finally:
        act.close()


def finish(place: Place) -> Iterator[Counts]:
    """Every act that a kill or an error has broken off, each under its own record."""
    for act in unfinished.left(acts.directory(place.settings)):
        if "fact" in act.aim:
            who, fact = Forgotten(place.settings.inbox_dir), Fact(*act.aim["fact"])
            with who.held():
                if fact not in who.facts():  # killed before it was there
                    who.append([fact])
        yield from _do(place, act)


def _do(place: Place, act: Unfinished, number: str = "", of: Forgotten | None = None) -> Iterator[Counts]:
    """One sweep, with its record; what it has swept is noted."""
    who = Forgotten(place.settings.inbox_dir)
    there, view = None, of or who
    if "fact" in act.aim:
        there = Marks(*act.aim["marks"])
        view = who.only([there.at], number)
    known, size = set(who.facts()), who.size()
    with acts.finished(place.settings, act) as record:
        if there is not None:
            record.begin()
        sweep = Sweep(place, view, record, there)
        yield from sweep.run()
        if there is None:
            digests = who.digests()
            record.fields["digests"] = sorted(digest for at in sweep.met for digest in digests.get(at, ()))
        with who.held():
            others = set(who.facts()) - known - sweep.added  # what somebody else has added meanwhile is swept next time
            _note(place, who, view, size if others else who.size())
        if there is not None:
            _over(place, who, Fact(*act.aim["fact"])._replace(kind=DONE))
        _clean(place, who, record, number)


def _clean(place: Place, who: Forgotten, record: acts.Record, number: str) -> None:
    """No bytes of it are left in our own files, or the record says so. The company's own number is in them all the same.
    Beside forwarding nothing is written anew, because deliveries would wait: pbx-connector purge does it at night."""
    own = bool(record.unfinished and record.unfinished.aim.get("fact", ["", ""])[1] == OWN)
    if not record.unfinished or not (number or record.unfinished.counts() or place.inbox.fact(traces.DUE)):
        return
    if not place.rewrite:
        place.inbox.remember(**{traces.DUE: "1"})
        record.fields["files"] = "переписывает заново ежедневная команда pbx-connector purge"
        return
    left, in_the_way = traces.remove(place.db, place.inbox, who, "" if own else number)
    found = ", ".join(f"{name} — {count}" for name, count in left.items() if count)
    words = [f"цифры номера ещё стоят, в идентификаторах или ссылках: {found}"] if found and not in_the_way else []
    words += [f"не очищены: {sentence}" for sentence in in_the_way]
    record.fields["files"] = "; ".join(words) or ("байтов номера нет" if number and not own else "переписаны заново")


def _note(place: Place, who: Forgotten, view: Forgotten, size: int) -> None:
    """The inbox is swept of the list as it was when it had this size, and the call log is."""
    swept = int(place.inbox.fact(SWEPT) or 0)
    if size > swept and view.covers(who.since(swept)):
        place.inbox.remember(**{SWEPT: str(size)})
    if place.db is not None and place.log:
        give(place.db, [fact for fact in who.facts() if view.covers({fact.at})])


def _over(place: Place, who: Forgotten, done: Fact) -> None:
    with who.held():
        if done not in who.facts():
            before = who.size()
            who.append([done])
            if int(place.inbox.fact(SWEPT) or 0) == before:
                place.inbox.remember(**{SWEPT: str(who.size())})
    if place.db is not None:
        give(place.db, [done])
