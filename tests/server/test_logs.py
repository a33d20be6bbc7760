"""Logs that a night call can be answered from without giving anybody away: of a full run, gunicorn's and nginx's too."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest
import requests

import models
from inbox import DEAD
from server import logs
from tests.rig import needs
from tests.rig import nginx as nginx_rig
from tests.rig.fixtures import fixture_calls
from tests.rig.nginx import Nginx
from tests.rig.node import end
from tests.rig.provider import echoes, provider, says
from tests.rig.service import KEYS, ROOT, UIS_KEY, Service, until

SECRETS = {
    "API_KEY": "api-key-c0ffee",
    "OPERATOR_PASSWORD": "operator-c0ffee",
    "XVB_TOKEN": "xvb-token-c0ffee",
    "UIS_API_TOKEN": "uis-token-c0ffee",
}
SPELLINGS = (
    "+7 (920) 222-33-44",
    "8-920-222-33-44",
    "тел9202223344",
    "8.920.222.33.44",
    "+7 920 2223344",
    "89202223344",
)
LINK = "https://app.uiscom.ru/system/media/talk/secret-recording"
SITE = """
log_format plain '$remote_addr [$time_local] "$request_method $uri" $status $body_bytes_sent';
server {
    listen 127.0.0.1:%PORT%;
    access_log access.log plain;
    error_log site.log crit;
    location / {
        proxy_pass http://127.0.0.1:%SERVICE%;
        proxy_set_header X-Forwarded-For $remote_addr;
    }
}
"""
BROKEN = {
    # each with the sender's words in the error: for the answer, for the forwarder, for a page, for a whole batch
    "schemas/mtt.py": ("def recognise(", "def recognise(delivery):\n    raise ValueError(delivery.body)\n\n\ndef _(", ),
    "schemas/hooktype.py": (
        "def understand(",
        "def understand(delivery, zone):\n    raise KeyError(delivery.body)\n\n\ndef _(",
    ),
    "handlers/contacts.py": ("sent = _list(kind, body)", "raise ValueError(body)"),
    "forwarder.py": (
        "            self._held.next_turn()\n",
        "            import os\n\n            if os.path.exists(os.environ['FAULT']) and self.inbox.waiting():\n"
        "                raise ValueError(str(self.inbox.waiting()))\n            self._held.next_turn()\n",
    ),
    "handlers/health.py": (
        'return answer(200, {"status": "alive"})',
        "import sys, threading, warnings\n\n"
        "    warnings.warn('a warning: +7 (920) 222-33-44')\n    print('a print: 8-920-222-33-44', file=sys.stderr)\n"
        "    threading.Thread(target=lambda: int('a thread: 89202223344')).start()\n"
        '    return answer(200, {"status": "alive"})',
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("GET /hs/UIScom/in?key=abc-def&x=1", "GET /hs/UIScom/in?***"),
        ("given key=abc-def", "given key=***"),
        ("call from 79201119613 to +74951234567", "call from 7920***9613 to +7495***4567"),
        ("+7 (920) 111-96-13, 8-920-111-96-13", "+7920***9613, 8920***9613"),
        ("8 (4812) 38-12-34, (4812) 38-12-34, 8.920.111.96.13", "8481***1234, 481***1234, 8920***9613"),
        ("495 123-45-67, 495-123-4567, (495) 123 45 67", "495***4567, 495***4567, 495***4567"),
        ("тел9201119613, x79201119613y, +49 30 12345678", "тел920***9613, x7920***9613y, +4930***5678"),
        ("%2B79201119613 %2B7%20%28920%29%20111-96-13 %2B7+(920)+111-96-13", " ".join(["+7920***9613"] * 3)),
        (f"from {LINK}?x", "from https://app.uiscom.ru/***"),
        (quote(LINK, safe=""), "https%3A%2F%2Fapp.uiscom.ru%2F***"),
        ("Listening at: http://127.0.0.1:8000 (1)", "Listening at: http://127.0.0.1:8000 (1)"),
        ("Invalid request from ip=1.2.3.4: Invalid method: '{x'", "Invalid request from ip=1.2.3.4: Invalid method: ***"),
        ("Ignored premature client disconnection. No: b'{'", "Ignored premature client disconnection. No: b***"),
        ("Can't connect to MySQL server on '192.168.10.20' ([Errno 111]", None),
        ("delivery 12345678 of call 70, 2026-11-21 11:08:31,123", None),
        ("2026-11-21T11:08:31+0300 INFO connector [12345] 250000 deliveries in 10.11.6", None),
        ("id 8f14e45fceea167a5a36dedd4bea2543", None),
    ],
)  # fmt: skip
def test_keys_links_and_numbers_are_masked(line: str, masked: str | None) -> None:
    assert logs.masked(line) == (line if masked is None else masked)


def test_the_journal_gets_priorities_and_a_senders_address_with_each_refusal_and_no_second_clock(
    tmp_path: Path,
) -> None:
    """`journalctl -u pbx-connector -p warning` is the night's reading. The log's file stands for the journal's stream."""
    service = Service(tmp_path, WORKERS="many")
    service.log_path.touch()
    found = service.log_path.stat()
    service.environment["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
    with pytest.raises(AssertionError, match="gunicorn ended"):
        service.start(upgrade=False)
    assert {line[:3] for line in service.log().splitlines()} == {"<3>"}
    service.environment |= {"WORKERS": "1", "MAX_BODY_BYTES": "2000", "OPERATOR_PASSWORD": "a-password"}
    with service:
        service.start()
        sender = {"X-Forwarded-For": "203.0.113.9"}
        sent = [
            ("[", UIS_KEY, 400),
            ("{}", UIS_KEY, 422),
            ("{}", "wrong", 401),
            ("{}", None, 401),
            ("x" * 3000, UIS_KEY, 413),
        ]
        for body, key, status in sent:
            assert service.post("/hs/UIScom/in", body, key, headers=sender).status_code == status
        service.get("/api/changes?after=0", headers=sender)
        service.get("/", auth=("", "wrong"), headers=sender)
        service.logs("the operator page refused")
    lines = service.log().splitlines()
    assert all(re.match(r"<[3-7]>(?!\d{4}-)", line) for line in lines)
    night = [line for line in lines if line.startswith("<4>") and "weak door" not in line]
    assert len(night) == len(sent) + 2
    assert [line for line in night if "203.0.113.9" not in line] == []


def site(service: Service, directory: Path) -> str:
    """deploy/nginx.conf with this test's addresses and directories."""
    path = ROOT / "deploy" / "nginx.conf"
    if not path.exists():
        return SITE.replace("%SERVICE%", str(service.port))
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"unix:\S+gunicorn\.sock", f"127.0.0.1:{service.port}", text)
    text = text.replace("/etc/nginx/pbx-connector", f"{directory}/own")
    text = re.sub(r"\blisten [^;]+;", "", text.replace("listen 80;", "LISTEN", 1))
    return re.sub(r"/(?:var/log|etc)/nginx/", f"{directory}/", text).replace("LISTEN", "listen 127.0.0.1:%PORT%;")


@pytest.fixture
def nginx_is_there() -> None:
    needs.present(nginx_rig.missing())


@pytest.fixture(params=["text-sqlite", "json-mysql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Not started yet, at LOG_LEVEL=debug."""
    log_format, _, database = request.param.partition("-")
    url = "" if database == "sqlite" else request.getfixturevalue("mariadb").create("logs")
    with Service(
        tmp_path / "service",
        url,
        LOG_FORMAT=log_format,
        LOG_LEVEL="debug",
        MAX_BODY_BYTES="4096",
        PYTHONWARNINGS="default",
        FAULT=str(tmp_path / "fault"),
        XVB_ACCESS_CODES="",
        **SECRETS,
    ) as service:
        yield service


class Sent:
    """All that went over the wire: what no log may show."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, said: bytes | str) -> None:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        self.texts += [text, unquote_plus(text)]

    def numbers(self) -> set[str]:
        """The last ten digits of every number, however it was spelled."""
        return {digits[-10:] for text in self.texts for digits in _numbers(text)}

    def fragments(self) -> set[str]:
        """Words of bodies and queries that are long enough to be told from chance; links are among them."""
        words = {word for text in self.texts for word in re.findall(r'[^\s"{}\[\],&=<>?\\]{9,}', text)}
        return {word for word in words if not re.fullmatch(r"[a-z_]+|[\d.:+-]+", word)}  # names of fields, and numbers


def _numbers(text: str) -> list[str]:
    return [re.sub(r"\D", "", found) for found in re.findall(r"\d(?:[\s().-]{0,3}\d){9,}", text)]


def raw(service: Service, request: bytes) -> None:
    """What no HTTP client would send."""
    with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def deliver(service: Service, through: Nginx, sent: Sent, seed: str) -> None:
    """Every fixture of every feed, half of them through nginx; strangers; what nobody understands."""
    for number, call in enumerate(fixture_calls()):
        for request in call.another(seed).requests:
            sent.add(request.target.partition("?")[2])
            sent.add(request.body)
            status, _ = request.send(service if number % 2 else through)
            assert status in (200, 400, 422), request.name
    body = json.dumps(end("800", full_record_file_link=LINK, contact_full_name="Иванова-Петрова"), ensure_ascii=False)
    get = f"/hs/UIScom/in?call_session_id=801&contact_phone_number={quote(SPELLINGS[0])}&link={quote(LINK, safe='')}"
    sent.add(body)
    sent.add(get.partition("?")[2])
    for address in (service.url, through.url):

        def post(path: str, data: str, key: str = UIS_KEY, address: str = address, **more: Any) -> int:
            return requests.post(f"{address}{path}?key={key}", data=data.encode(), timeout=30, **more).status_code

        assert post("/hs/UIScom/rec", body) == 200
        assert post("/hs/UIScom/rec", body + "}") == 400
        assert post("/hs/UIScom/rec", body.replace("call_session_id", "no_such_id")) == 422
        assert post("/hs/UIScom/rec", body, "wrong-" + UIS_KEY) == 401
        assert post("/hs/UIScom/rec", body * 20) == 413
        assert post("/hs/UIScom/nowhere", body) == 404
        assert requests.get(f"{address}{get}&key={UIS_KEY}", timeout=30).status_code == 200
        assert requests.get(f"{address}{get}", timeout=30).status_code == 401
        for path in ("/metrics", "/readyz", "/api/changes?after=0"):
            requests.get(address + path, headers={"Authorization": f"Bearer {SECRETS['API_KEY']}"}, timeout=30)
            requests.get(address + path, headers={"Authorization": "Bearer wrong-c0ffee"}, timeout=30)
        contacts = [{"client_number": number, "client_name": "Сидорова-Кац"} for number in SPELLINGS]
        sent.add(json.dumps(contacts, ensure_ascii=False))
        order = {"provider": "xvb", "from": "101", "to": SPELLINGS[0], "request_id": f"{seed}-{address}"}
        for how, path, said in (("PUT", "/api/contacts", contacts), ("POST", "/api/make-call", order)):
            asked = requests.request(
                how, address + path, json=said, headers={"Authorization": f"Bearer {SECRETS['API_KEY']}"}, timeout=30
            )
            assert asked.status_code in (200, 500, 502, 503), asked.text
    # a body longer than it says: its tail is read as the next request of the connection
    line = f"POST /hs/UIScom/rec?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"
    raw(service, line.encode() + body.encode())
    raw(service, f"{body}\r\n\r\n".encode())
    raw(service, f"GET /hs/UIScom/in?key={UIS_KEY}&phone=89202223344 HTTP/9.9\r\n\r\n".encode())
    raw(service, f"GET / HTTP/1.1\r\nAuthorization Bearer {SECRETS['API_KEY']}\r\n\r\n".encode())


@pytest.mark.usefixtures("nginx_is_there")
def test_no_log_of_a_full_run_has_a_key_a_number_a_link_or_a_body(service: Service, tmp_path: Path) -> None:
    sent = Sent()
    with ExitStack() as stack:
        there = stack.enter_context(provider())
        there.answer = echoes(400)
        service.environment |= {"XVB_URL": f"{there.url}/secret-address", "UIS_CALL_API_URL": f"{there.url}/v4.0"}
        through = stack.enter_context(Nginx(tmp_path / "nginx", site(service, tmp_path / "nginx")))
        service.start(upgrade=False)  # the call log is away
        deliver(service, through, sent, "away")
        until(lambda: "the call log is away" in service.log(), "the log says that the call log is away")
        service.flask("db", "upgrade")
        service.settled()
        there.answer = says(200, "OK 79202223344")
        deliver(service, through, sent, "well")
        service.settled()
        service.stop()
        requests.post(f"{through.url}/hs/UIScom/in?key={UIS_KEY}", data=sent.texts[0].encode(), timeout=30)  # 502

        service.copy_code(tmp_path / "broken", BROKEN)
        (tmp_path / "fault").touch()
        service.start(upgrade=False)
        deliver(service, through, sent, "broken")
        until(lambda: "forwarding failed for our own fault" in service.log(), "a batch failed for our own fault")
        (tmp_path / "fault").unlink()
        service.settled()
        letters = service.deliveries()
        service.stop()

    said = service.log()
    written = {path.name: path.read_text(errors="replace") for path in (tmp_path / "nginx").iterdir() if path.is_file()}
    assert written.pop("nginx.conf")
    assert "".join(written.values()).count("\n") > 100
    everything = "\n".join([said, *written.values()])
    password = service.database_url.partition("@")[0].rpartition(":")[2] if "@" in service.database_url else "c0ffee"
    for secret in (*KEYS.values(), *SECRETS.values(), "wrong-", "c0ffee", password, "secret-"):
        assert secret not in everything, secret
    numbers = "\n".join(_numbers(everything))
    assert [number for number in sent.numbers() if number in numbers] == []
    assert [word for word in sent.fragments() if word in everything] == []
    assert "89202223344"[1:] in sent.numbers()

    # what can be told is told: every delivery by its id, our own faults by their places
    for stored in letters:
        assert re.search(rf"delivery {stored.delivery.id}\b", said), stored.outcome
    faults = [stored for stored in letters if stored.outcome.reason == "our_fault"]
    assert {stored.delivery.feed for stored in faults} == {"mtt", "hooktype"}
    assert all(stored.outcome.state == DEAD for stored in faults)
    for what in (
        "a warning: +7920***3344",
        "a print: 8920***3344",
        "the thread ",
        "wrong key",
        "in step\n",
        "in put\n",
    ):
        assert what in said.replace("\\n", "\n"), what
    if service.environment["LOG_FORMAT"] == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        for line in lines:
            assert {"at", "level", "logger", "process", "message"} <= set(line)
            named = re.search(r"delivery (\d+)", line["message"])
            assert line.get("delivery") == (int(named[1]) if named else None)
        assert {"gunicorn.error", "py.warnings", "connector.webhook", "connector.forwarder"} <= {
            line["logger"] for line in lines
        }
    else:
        stamped = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} [A-Z]+ [\w.]+ \[\d+\] ")
        assert [line for line in said.splitlines() if not stamped.match(line) and not line.startswith("    ")] == []


def test_a_start_that_fails_says_why_in_words(tmp_path: Path) -> None:
    service = Service(tmp_path, LOG_FORMAT="json", TIMEZONE="Mars", THREADS="many")
    with pytest.raises(AssertionError, match="gunicorn ended"):
        service.start(upgrade=False)
    assert service.log().splitlines() == [
        "wrong settings:",
        "  THREADS: must be a whole number from 1 to 1000000",
        "  TIMEZONE: no such time zone: Mars (for example Europe/Moscow)",
    ]


# ------------------------------------------------------------------------------------------- whoever reads stderr stalls


class Piped(Service):
    """Its stderr is a pipe, as under systemd or Docker, that this test alone reads."""

    def __init__(self, directory: Path, **settings: str) -> None:
        super().__init__(directory, **settings)
        os.mkfifo(self.log_path)
        self.pipe = os.open(self.log_path, os.O_RDWR | os.O_NONBLOCK)
        self.came = b""

    def log(self) -> str:
        """All that it has logged; reading it is what makes room in the pipe."""
        with suppress(BlockingIOError):
            while part := os.read(self.pipe, 65536):
                self.came += part
        return self.came.decode()

    def start(self, upgrade: bool = True, *options: str, **environment: str) -> Service:
        self.flask("db", "upgrade")
        return super().start(False, *options, **environment)


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Piped]:
    """Not started yet, at LOG_LEVEL=debug, with a queue of few lines."""
    with Piped(tmp_path, LOG_LEVEL="debug", WORKERS="1") as service:
        service.copy_code(tmp_path / "code", {"server/logs.py": ("MOST_BYTES = 1 << 20", "MOST_BYTES = 1 << 15")})
        yield service
        service.kill()
        os.close(service.pipe)


def test_a_reader_of_stderr_that_stalls_holds_up_nobody_and_what_was_dropped_is_counted(piped: Piped) -> None:
    piped.start()
    piped.log()
    ids = range(2000)  # two lines each, a hundred bytes a line: several times what the pipe and the queue hold
    with requests.Session() as session:
        for number in ids:
            url = f"{piped.url}/hs/UIScom/in?key={UIS_KEY}"
            assert session.post(url, data=f'{{"call_session_id": 5{number}, "direction": "in"}}', timeout=10).ok
    assert piped.get("/healthz").ok
    piped.settled()
    assert len(piped.rows(models.Calls)) == len(ids)

    # it reads again: what was queued comes, and how much did not; and at the end of the process nothing is left behind
    def heard() -> int:
        dropped = sum(map(int, re.findall(r"(\d+) lines before this one were dropped", piped.log())))
        return dropped + piped.log().count(" accepted\n") + piped.log().count(" forwarded\n")

    assert piped.log().count(" accepted\n") < len(ids)
    assert piped.post("/hs/UIScom/in", '{"call_session_id": 7, "direction": "in"}').ok
    piped.logs("were dropped: whatever reads the log does not keep up")
    piped.settled()
    piped.stop()
    assert heard() >= 2 * len(ids)


def test_equal_lines_are_folded_into_one_with_a_count_and_say_who_was_refused(piped: Piped) -> None:
    piped.start()
    with requests.Session() as session:
        for number in range(200):
            sender = {"X-Forwarded-For": f"203.0.113.{number % 2}"}
            said = session.post(f"{piped.url}/hs/UIScom/in?key=wrong", data="{}", headers=sender, timeout=10)
            assert said.status_code == 401
    piped.stop()
    for address in ("203.0.113.0", "203.0.113.1"):
        line = rf"uis: refused {address}: wrong key(?: \(and (\d+) more times within a minute\))?\n"
        counts = re.findall(line, piped.log())
        assert len(counts) < 10
        assert len(counts) - 1 + sum(int(more) for more in counts if more) == 100


def test_a_line_that_cannot_be_formatted_prints_nothing_of_it() -> None:
    code = "from server import logs; logs.take_over('text', 'info'); logs.log.error('%d', 'secret')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "secret" in done.stdout + done.stderr) == (0, False)
