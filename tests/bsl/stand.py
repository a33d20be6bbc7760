"""The connector in this process, for 1C's modules: its routes on a port, its forwarder driven by hand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

import schemas
from app import create_app
from calllog import database
from config import FeedSettings, Settings
from tests.bsl.client import Application, description
from tests.bsl.infobase import Infobase
from tests.rig import odbc
from tests.rig.fixtures import Request
from tests.rig.service import KEYS, RECORDING_HOSTS, free_port

API_KEY = "test-api-key"
CONTACTS = {
    "Ссылка": "Ссылка Справочник.Контрагенты",
    "Наименование": "Строка(150)",
    "ПометкаУдаления": "Булево",
    "Телефон": "Строка(50)",
}
PHONES = {"Ссылка": "Ссылка Справочник.Контрагенты", "НомерТелефона": "Строка(50)"}
OLD_CALLS = {"Период": "Дата", "ИдСессии": "Число(12)", "Входящий": "Булево"}
CATALOGS = {
    "Справочник.Контрагенты": CONTACTS,
    "Справочник.Контрагенты.КонтактнаяИнформация": PHONES,
    "РегистрСведений.ИсторияЗвонков": OLD_CALLS,
}


class Stand:
    """A node whose `url` answers while it is `up`."""

    def __init__(self, directory: Path, database_url: str) -> None:
        feeds = {n: FeedSettings(n, keys=(KEYS[n],), recording_hosts=RECORDING_HOSTS) for n in schemas.feeds()}
        self.database_url, self.port = database_url, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = Settings(data_dir=directory, database_url=database_url, feeds=feeds, api_key=API_KEY)
        database.upgrade(database_url, lambda _: None)
        self.app = create_app(settings)
        self.connector = self.app.extensions["connector"]
        self.connector.latest_changes.FRESH_SECONDS = -1.0  # a test does not wait for the tenth of a second
        self.connector.latest_changes.EMPLOYEES_SECONDS = -1.0
        self.client = self.app.test_client()
        self.connector.forwarder.tick(always=True)

    @contextmanager
    def up(self) -> Iterator[None]:
        """While this lasts, somebody listens on the port."""
        server = make_server("127.0.0.1", self.port, self.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def send(self, request: Request) -> None:
        """Post a fixture's request and forward it."""
        query = f"{'&' if '?' in request.target else '?'}key={KEYS[request.feed]}"
        answer = self.client.open(
            request.target + query, method=request.method, data=request.body, headers=list(request.headers)
        )
        assert answer.status_code == 200, answer.text
        self.connector.forwarder.once()

    def tell(self, route: str, **fields: Any) -> None:
        """Post what UIS would, not forwarded yet."""
        answer = self.client.post(f"/hs/UIScom/{route}?key={KEYS['uis']}", data=json.dumps(fields))
        assert answer.get_json() == {"status": "accepted"}

    def forward(self) -> None:
        self.connector.forwarder.once()

    def application(self, **edits: tuple[str, str]) -> Application:
        """A new base whose settings name this service, with the extension in it."""
        return application(self.url, self.database_url, **edits)


def application(url: str, database_url: str, **edits: tuple[str, str]) -> Application:
    """A new base whose settings name a service, with the extension in it."""
    base = Infobase(description(), lambda: odbc.connect(database_url), CATALOGS)
    base.constants |= {
        "АТС_АдресСлужбы": url,
        "АТС_КлючAPI": API_KEY,
        "АТС_СправочникКлиентов": "Контрагенты",
        "АТС_РеквизитТелефона": "Телефон",
    }
    return Application(base, edits)
