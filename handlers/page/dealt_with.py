"""Which groups of dead letters somebody has dealt with, so that the page's red goes out; a new one lights it again."""

import json

from inbox import Inbox, Stored
from inbox.looking import MOST_SEARCHED, DeadGroup

FACT = "dead_dealt_with"  # of the inbox: group -> the newest dead letter that it had when somebody pressed «Разобрано»
MOST = 500  # groups that are remembered


def sorted_out(inbox: Inbox) -> tuple[list[DeadGroup], list[DeadGroup]]:
    """The groups that somebody is to look at, and those that he has."""
    groups = inbox.dead_groups(MOST_SEARCHED)
    known = _known(inbox) if groups else {}
    still = [group for group in groups if group.examples[0] > known.get(group.key, 0)]
    return still, [group for group in groups if group.examples[0] <= known.get(group.key, 0)]


def open_count(inbox: Inbox) -> int:
    """How many dead letters somebody is to look at."""
    total = sum(count for _, _, count in inbox.dead())
    return sum(group.size for group in sorted_out(inbox)[0]) if total and _known(inbox) else total


def mark(inbox: Inbox, stored: Stored, again: bool = False) -> None:
    """The group of this dead letter is dealt with up to it; `again`: it is open once more."""
    known, outcome = _known(inbox), stored.outcome
    key = DeadGroup.key_of(stored.delivery.feed, outcome.reason, outcome.detail)
    known.pop(key, None)
    if not again:
        known[key] = stored.delivery.id
    inbox.remember(**{FACT: json.dumps(dict(list(known.items())[-MOST:]))})


def _known(inbox: Inbox) -> dict[str, int]:
    found: dict[str, int] = json.loads(inbox.fact(FACT) or "{}")
    return found
