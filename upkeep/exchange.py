"""The list of the forgotten, exchanged through the call log: each node takes what others have added, and adds what is
lacking there.

A call log that lacks a fact of ours is one that this fact was not swept from: it was restored from a dump, or copied while
somebody was being forgotten. So facts of calls are added in the transaction that removes the calls, and a number's `done`
when its sweep is over.
"""

from collections.abc import Iterable

import peewee

from calllog import statements
from calllog.database import on_mysql, transaction
from models import ForgottenList, columns
from upkeep.forgotten import Fact, Forgotten

SOME = 1000  # facts in one statement


class Exchange:
    """Of one list with whatever call log it is given."""

    def __init__(self, who: Forgotten) -> None:
        self._who = who
        self._seen: tuple[int, int, int] | None = None
        self.lacking: list[Fact] = []  # in the call log, when it was looked at the last time

    def take(self, db: peewee.Database) -> list[Fact]:
        """Takes what the call log has and the list has not, and returns it. Call it in `held`; it costs one small query
        where neither has changed."""
        row = ForgottenList.select(peewee.fn.COUNT(ForgottenList.id), peewee.fn.MAX(ForgottenList.id)).tuples()
        count, last = next(iter(row.execute(db)))
        seen = (count, last or 0, self._who.size())
        if seen == self._seen:
            return []
        chosen = ForgottenList.select(
            ForgottenList.list_key, ForgottenList.kind, ForgottenList.digest, ForgottenList.forgotten_ms
        )
        theirs = [Fact(*row) for row in chosen.order_by(ForgottenList.id).tuples().execute(db)]
        mine = {fact[:3]: fact.at for fact in self._who.facts()}
        new = [fact for fact in theirs if mine.get(fact[:3], -1) < fact.at]
        self._who.append(new)
        there = set(theirs)
        self.lacking = [fact for fact in self._who.facts() if fact not in there]
        self._seen = (count, last or 0, self._who.size())
        return new


def give(db: peewee.Database, facts: Iterable[Fact]) -> None:
    """Add facts to the call log; those that are there stay."""
    wanted = list(facts)
    with transaction(db):
        for start in range(0, len(wanted), SOME):
            some = wanted[start : start + SOME]
            last = ForgottenList.select(peewee.fn.MAX(ForgottenList.id)).scalar(db) or 0
            ids = [None] * len(some) if on_mysql(db) else range(last + 1, last + 1 + len(some))
            rows = [(id, *fact) for id, fact in zip(ids, some, strict=True)]
            statements.insert(db, ForgottenList, columns(ForgottenList), rows, "keep")
