"""A connector node without HTTP: an inbox and a forwarder on a call log, for what does not depend on the network."""

import json
from pathlib import Path
from typing import Any

import models
import schemas
from calllog import database
from config import FeedSettings, Settings
from forwarder import Forwarder, Tally
from inbox import Inbox, Outcome, now
from models import Calls
from schemas.reading import Delivery
from tests.rig.service import RECORDING_HOSTS


class Node:
    """One DATA_DIR and its forwarder, driven by hand."""

    def __init__(self, directory: Path, database_url: str, **settings: Any) -> None:
        feeds = {name: FeedSettings(name, open=True, recording_hosts=RECORDING_HOSTS) for name in schemas.feeds()}
        self.settings = Settings(data_dir=directory, database_url=database_url, feeds=feeds, **settings)
        self.inbox = Inbox(self.settings.inbox_dir)
        self.forwarder = Forwarder(self.settings, self.inbox)

    def deliver(self, route: str = "in", received_at: int | None = None, **said: Any) -> Delivery:
        """Store what UIS would post to /hs/UIScom/<route>."""
        body = json.dumps(said, ensure_ascii=False).encode()
        delivery = Delivery("uis", route, body, received_at=now() if received_at is None else received_at)
        self.inbox.put(delivery, Outcome())
        return delivery

    def forward(self) -> Tally:
        """Forward all that waits."""
        return self.forwarder.once()

    def rows(self, table: type[models.Table] = Calls) -> list[dict[str, Any]]:
        """The table's rows by id."""
        return rows(self.settings.database_url, table)


def rows(url: str, table: type[models.Table]) -> list[dict[str, Any]]:
    """The table's rows by id, over a connection of its own."""
    db = database.open_database(url)
    with db.connection_context():
        return list(table.select().order_by(table.id).dicts().execute(db))


def ring(call: str, **more: Any) -> dict[str, Any]:
    """«Входящий звонок»."""
    return {
        "call_session_id": call,
        "direction": "in",
        "start_time": "2024-03-01 10:00:00",
        "calling_phone_number": "79201119613",
        "virtual_phone_number": "74951234567",
        **more,
    }


def end(call: str, **more: Any) -> dict[str, Any]:
    """«Завершение звонка» of an answered call, for /rec."""
    return ring(
        call,
        finish_time="2024-03-01 10:01:00",
        total_time_duration=60,
        wait_time_duration=10,
        finish_reason="subscriber_disconnects",
        is_lost=False,
        **more,
    )
