"""Acts of forgetting: of one number, of all the list knows once more, and of what a kill has broken off.

Each is a sweep with a destruction record that counts by bites (unfinished.py): whoever comes next finishes it.
"""

from collections.abc import Iterator

from inbox import now
from upkeep import acts, unfinished
from upkeep.bites import Counts
from upkeep.forgotten import NUMBER, OWN, Fact, Forgotten
from upkeep.sweep import Marks, Place, Sweep, marks
from upkeep.unfinished import Unfinished


def forget(place: Place, number: str, why: str, own: bool = False) -> Iterator[Counts]:
    """Forget a number, normalised (`own`: only as a client). Table -> how many, bite by bite."""
    who = Forgotten(place.settings.inbox_dir)
    assert place.db is not None
    with who.held():
        there, key = marks(place.db, place.inbox, now()), who.key()
        digest = who.digest(number)
        fields = acts.fields(place.settings, place.inbox.node(), "forget", why, digest=digest)
        fact = Fact(key, OWN if own else NUMBER, digest, there.at)
        act = unfinished.begun(acts.directory(place.settings), fields, {"fact": fact, "marks": there})
        who.append([fact])
    try:
        yield from _sweep(place, act, number)
    finally:
        act.close()


def again(place: Place, why: str) -> Iterator[Counts]:
    """Whatever is there of all who were forgotten."""
    fields = acts.fields(place.settings, place.inbox.node(), "again", why)
    act = unfinished.begun(acts.directory(place.settings), fields, {})
    try:
        yield from _sweep(place, act)
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
        yield from _sweep(place, act)


def _sweep(place: Place, act: Unfinished, number: str = "") -> Iterator[Counts]:
    who, there = Forgotten(place.settings.inbox_dir), None
    if "fact" in act.aim:
        there = Marks(*act.aim["marks"])
        who = who.only([there.at], number)
    with acts.finished(place.settings, act) as record:
        if there is not None:
            record.begin()
        sweep = Sweep(place, who, record, there)
        yield from sweep.run()
        if there is None:
            of = who.digests()
            record.fields["digests"] = sorted(digest for at in sweep.met for digest in of.get(at, ()))
