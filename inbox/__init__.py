"""The inbox: store a delivery first, understand it second, lose it never.

A local SQLite database in DATA_DIR/inbox, with synchronous=FULL: when `put` returns, the delivery is on disk. The
forwarder marks what it has done; its marks need no sync of their own, since forwarding twice changes nothing.
"""

from pathlib import Path

from inbox.deliveries import (
    DEAD,
    FORGOTTEN,
    FORWARDED,
    IGNORED,
    OUR_FAULT,
    RECEIVED,
    REFUSED,
    REJECTED,
    UNKNOWN_FEED,
    Deliveries,
    Outcome,
    Stored,
    Text,
    now,
    read_position,
)
from inbox.file import LATE_CHANGE, REPLACED, TROUBLE, InboxFile
from inbox.looking import DeadGroup, Look, Looking, Row
from inbox.orders import Orders
from inbox.rejected import Rejecting, Rejection, Sender, Suspects
from inbox.writer import MOST_WAITING, STORED_WITHIN_SECONDS, Ticket, Unavailable, Writer

__all__ = [
    "DEAD",
    "FORGOTTEN",
    "FORWARDED",
    "IGNORED",
    "LATE_CHANGE",
    "MOST_WAITING",
    "OUR_FAULT",
    "RECEIVED",
    "REFUSED",
    "REJECTED",
    "REPLACED",
    "STORED_WITHIN_SECONDS",
    "TROUBLE",
    "UNKNOWN_FEED",
    "DeadGroup",
    "Inbox",
    "Look",
    "Outcome",
    "Rejection",
    "Row",
    "Sender",
    "Stored",
    "Suspects",
    "Text",
    "Ticket",
    "Unavailable",
    "now",
    "read_position",
]


class Inbox:
    """The inbox in `directory`. Safe for any number of threads and processes; opened lazily and anew after a fork.

    Its public names in one place; each is documented where it is defined."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = file = InboxFile(directory)
        self.path = file.path
        self.fact, self.remember, self.node = file.fact, file.remember, file.node
        self.wake, self.wait = file.wake, file.wait
        self.forwarding, self.has_turn, self.is_forwarding = file.forwarding, file.has_turn, file.is_forwarding
        self.use, self.alone = file.use, file.alone
        self.check, self.truncate_log, self.close = file.check, file.truncate_log, file.close

        writer = Writer(file)
        self.put, self.begin, self.probe, self.refuse = writer.put, writer.begin, writer.probe, writer.refuse

        life = Deliveries(file)
        self.waiting, self.settle, self.trouble = life.waiting, life.settle, life.trouble
        self.position, self.reach = life.position, life.reach
        self.requeue, self.take_up, self.replay = life.requeue, life.take_up, life.replay
        self.past, self.purge, self.erase = life.past, life.purge, life.erase
        self.blank, self.texts, self.put_texts = life.blank, life.texts, life.put_texts
        self.delivery, self.deliveries, self.with_event = life.delivery, life.deliveries, life.with_event
        self.pages, self.stream, self.latest = life.pages, life.stream, life.latest

        orders = Orders(file)
        self.claim, self.placement, self.placed = orders.claim, orders.placement, orders.placed
        self.not_allowed, self.attempts = orders.not_allowed, orders.attempts

        rejecting = Rejecting(file)
        self.senders, self.suspects, self.reject = rejecting.senders, rejecting.suspects, rejecting.reject
        self.rejected, self.rejected_by_feed = rejecting.rejected, rejecting.rejected_by_feed
        self.standing, self.make_room, self.still_rejected = (
            rejecting.standing, rejecting.make_room, rejecting.still_rejected
        )  # fmt: skip

        self.ask_to_reject, self.asked_to_reject = rejecting.ask_to_reject, rejecting.asked_to_reject
        self.rejection_done, self.last_rejection = rejecting.rejection_done, rejecting.last_rejection

        looking = Looking(file)
        self.browse, self.dead_groups, self.dead_like = looking.browse, looking.dead_groups, looking.dead_like
        self.received_until, self.states, self.taken_since = looking.received_until, looking.states, looking.taken_since
        self.counters, self.backlog, self.dead = looking.counters, looking.backlog, looking.dead
        self.count = looking.count
        self.waiting_by_feed, self.look = looking.waiting_by_feed, looking.look
