"""A hostile key holder: he has a right key of one feed and lies by it, beside the faults. After one `inbox reject` of what
came by his key the account is the one that the honest senders alone would have given."""

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import requests

from handlers.access import key_hash
from models import CallRecordings, Calls
from tests.rig.fixtures import FixtureCall, Request, fixture_calls
from tests.rig.provider import Provider
from tests.rig.service import KEYS, Service
from tests.torture.stream import Sender
from tests.torture.tormentor import Fault, Tormentor

FEED, KEY = "uis", "the-leaked-key"
HASH = key_hash(KEY)
NUMBER, HOST = "88299912345678", "evil.test"  # that he wants dialled, and clicked
API_KEY, EXT, HONEST_ID = "torture-api-key", "101", "482911"
WHOLE_PERIOD = ("--since", "2000-01-01", "--until", "2090-01-01")
JSON = (("Content-Type", "application/json"),)


def settings(provider: Provider) -> dict[str, str]:
    """Of a service that he lies to: his key is one of the feed's, and click to call goes to a stand-in."""
    return {
        f"{FEED.upper()}_KEY": f"{KEYS[FEED]}, {KEY}",
        "API_KEY": API_KEY,
        "UIS_CALL_API_URL": f"{provider.url}/v4.0",
        "UIS_API_TOKEN": "token",
        "UIS_VIRTUAL_NUMBER": "74951234567",
        "MAKE_CALL_EXT_LIMIT": "10000, 10000",
        "MAKE_CALL_TOTAL_LIMIT": "10000, 10000",
    }


class Liar(Tormentor):
    """Each lie is a method. `journal` is the honest generator's: he knows every call of theirs."""

    def __init__(self, chance: random.Random, pause: float, service: Service, addresses: Path, journal: Path) -> None:
        super().__init__(chance, pause)
        self.service, self.addresses, self.journal = service, addresses, journal
        self.calls = {call.name: call for call in fixture_calls()}
        self.mine = [call for call in self.calls.values() if {request.feed for request in call.requests} == {FEED}]

    def faults(self) -> list[Fault]:
        return [self.flood, self.repeat, self.forge, self.fill, self.bloat, self.future, self.claim, self.ask]

    def post(self, *requests: Request) -> None:
        """Whatever becomes of it."""
        sender = Sender(self.addresses, self.chance, {FEED: KEY})
        for request in requests:
            sender.send(request)
        sender.close()

    def tell(self, call: str, **fields: Any) -> Request:
        """Whatever he likes of a call."""
        body = {"call_session_id": call, "direction": "in", "calling_phone_number": NUMBER, **fields}
        return Request("lie", "POST", "/hs/UIScom/rec", JSON, json.dumps(body).encode())

    def honest(self) -> FixtureCall:
        """One of the newest calls that the honest generator tells of, by this feed."""
        with self.journal.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200_000))
            lines = file.read().splitlines()[1:]
        calls = [json.loads(line) for line in lines if line.startswith(b'["call"')]
        told = [(name, seed) for _, _, _, _, name, seed in calls if name in {call.name for call in self.mine}]
        name, seed = self.chance.choice(told or [(self.mine[0].name, "none")])
        return self.calls[name].another(seed)

    def new(self) -> str:
        """A call that never was."""
        return str(self.chance.getrandbits(60))

    def flood(self) -> None:
        """a liar floods his feed with calls that never were"""
        for _ in range(50):
            self.post(*self.chance.choice(self.mine).another(self.new()).requests)

    def repeat(self) -> None:
        """a liar tells the very bytes of honest calls, before or after they are told"""
        for _ in range(5):
            self.post(*self.honest().requests)

    def forge(self) -> None:
        """a liar tells honest calls otherwise"""
        for _ in range(5):
            lost = {"is_lost": True, "finish_reason": "no_operation", "finish_time": "2024-03-01 10:00:00"}
            self.post(self.tell(self.honest().call_id, employee_phone_number=NUMBER, **lost))

    def fill(self) -> None:
        """a liar fills an honest call with all that a call may have"""
        call = self.honest().call_id
        links = [f"https://{HOST}/{part}/{self.new()}/{'0' * 900}" for part in range(30)]
        self.post(*(self.tell(call, record_file_links=links, n=number) for number in range(10)))

    def bloat(self) -> None:
        """a liar sends big bodies of deep and many fields"""
        deep: Any = "я"
        for _ in range(50):
            deep = [deep, {"я": deep}] if len(str(deep)) < 20_000 else [deep]
        many = {f"key_{number}": "<script>\x1b[2J" * 20 for number in range(400)}
        self.post(self.tell(self.new(), deep=deep), self.tell(self.new(), **many))

    def future(self) -> None:
        """a liar dates calls from 2099"""
        moments = {"start_time": "2099-01-01 00:00:00", "finish_time": "2099-01-01 00:01:00", "is_lost": True}
        self.post(*(self.tell(self.new(), **moments) for _ in range(10)), self.tell(self.honest().call_id, **moments))

    def claim(self) -> None:
        """a liar claims an extension, and its employee clicks"""
        parties = {"extension_phone_number": EXT, "employee_phone_number": NUMBER, "employee_id": int(NUMBER)}
        self.post(*(self.tell(self.new(), **parties) for _ in range(3)))
        with contextlib.suppress(requests.RequestException):
            order(self.service)

    def ask(self) -> None:
        """a liar asks for calls, contacts and the page by his key"""
        for path in ("/api/changes?after=0", "/api/contacts", "/"):
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(
                    f"{self.service.url}{path}", headers={"Authorization": f"Bearer {KEY}"}, timeout=10
                )
                assert answer.status_code in (401, 403, 404, 405, 429, 503), (
                    f"{path} answers a liar {answer.status_code}"
                )


def order(service: Service) -> requests.Response:
    """A click in 1C."""
    body = {"provider": "uis", "from": EXT, "to": "79201119613"}
    return requests.post(
        f"{service.url}/api/make-call", json=body, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
    )


def wanted(service: Service, provider: Provider) -> list[str]:
    """What he has got of what he wanted, in sentences; to be asked when all is well again and he is still believed."""
    found = []
    employee = [{"employee_ext": EXT, "provider_employee_id": HONEST_ID}]
    headers = {"Authorization": f"Bearer {API_KEY}"}
    requests.put(f"{service.url}/api/employees", json=employee, headers=headers, timeout=30).raise_for_status()
    if not order(service).ok or HONEST_ID.encode() not in provider.asked[-1].body:
        found.append("the employee's own click reaches nobody")
    if dialled := [asked for asked in provider.asked if NUMBER.encode() in asked.body]:
        found.append(f"a liar's number was dialled {len(dialled)} times")
    if links := sum(HOST in row["url"] for row in service.rows(CallRecordings)):
        found.append(f"{links} links to a liar's host in call_recordings")
    if links := sum(HOST in row["recording_url"] for row in service.rows(Calls)):
        found.append(f"{links} links to a liar's host in calls")
    return found


def reject(service: Service, **environment: str) -> str:
    """Take out all that he sent; returns what the command says of it."""
    done = service.flask(
        "inbox", "reject", "--feed", FEED, *WHOLE_PERIOD, "--key", HASH, "--yes", check=True, **environment
    )
    return done.stdout.splitlines()[-1]
