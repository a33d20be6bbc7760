"""The operator page through HTTP: who may see and press what, what each page says, and that it stays small work."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import models
import schemas
from app import create_app
from config import FeedSettings, Settings
from handlers.page import shown
from handlers.page import views as page
from handlers.page import words as russian
from handlers.page.guard import HEADERS, Guesses
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, REFUSED, Outcome, looking
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.node import Node
from tests.rig.service import ROOT, Service, until

PASSWORD = "пароль: страницы"
IN = "/hs/UIScom/in"
PAGES = (
    "/",
    "/callbacks",
    "/statistics",
    "/service",
    "/calls",
    "/inbox",
    "/dead",
    "/calls/1",
    "/inbox/1",
)
NO_COMMA = '{"direction":"in"\n"call_session_id":%d}'


STRANGE = (
    "x",
    "-1",
    "0",
    "9" * 30,
    "9" * 3000,
    "2024-13-77",
    "'; --",
    "%00",
    "\0",
    "\u202e",
    "9999-12-31_1",
    "_",
    "0001-01-01",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the page open, one call and one dead letter."""
    settings = {"OPERATOR_PASSWORD": PASSWORD, "TRUSTED_PROXIES": "127.0.0.1"}
    with Service(tmp_path_factory.mktemp("page"), **settings) as service:
        service.start()
        service.post(IN, '{"call_session_id": 4101, "direction": "in", "calling_phone_number": "79201119613"}')
        service.post(IN, NO_COMMA % 1)
        service.call("4101")
        yield service


def look(service: Service, path: str, password: str | None = PASSWORD, **options: Any) -> requests.Response:
    """A page, as somebody with this password sees it."""
    auth: Any = ("кто угодно".encode(), password.encode()) if password is not None else None
    return requests.request(options.pop("method", "GET"), service.url + path, auth=auth, timeout=30, **options)


def press(service: Service, headers: dict[str, str] | None = None, **form: str) -> requests.Response:
    """The answer to a form of the page, sent with just these headers about where it stood (none: from the page itself)."""
    origin = {"Origin": service.url} if headers is None else headers
    return look(service, "/replay", method="POST", headers=origin, data=form, allow_redirects=False)


# ------------------------------------------------------------------------------------------------- who may see


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_closed_until_the_password_is_set(path: str, sqlite_service: Service):
    said = look(sqlite_service, path)
    assert said.status_code == 403
    assert "OPERATOR_PASSWORD" in said.text


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("password", [None, "", "wrong", PASSWORD + " "])
def test_who_has_no_password_learns_nothing(path: str, password: str | None, service: Service):
    said = look(service, path, password, headers={"X-Forwarded-For": f"192.0.2.{PAGES.index(path) + 1}"})
    assert said.status_code == 401
    assert said.headers["WWW-Authenticate"].startswith("Basic ")
    assert not re.search("79201119613|4101|<nav|Отвергнутые", said.text)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_what_a_browser_may_do_with_it(path: str, service: Service):
    said = look(service, path)
    assert said.status_code == 200
    assert {name: said.headers[name] for name in HEADERS} == HEADERS
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=|javascript:", said.text)


CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
STATIC = {"page.css": "text/css", "page.js": "javascript", "icon.svg": "image/svg+xml"}


def test_style_and_script_are_kept_for_ever_under_their_digest(service: Service):
    assert look(service, "/").headers["Content-Security-Policy"] == CSP
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', look(service, "/").text)
    assert {re.split(r"[/?]", address)[2] for address in addresses} == set(STATIC)
    for address in addresses:
        name = re.split(r"[/?]", address)[2]
        kept = requests.get(service.url + address, timeout=10)
        assert (kept.status_code, kept.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        assert kept.content == (ROOT / "handlers" / "page" / "static" / name).read_bytes()
        assert STATIC[name] in kept.headers["Content-Type"]
        assert {name: kept.headers[name] for name in HEADERS if name != "Cache-Control"}.items() <= HEADERS.items()
        assert kept.headers["Content-Security-Policy"] == CSP
        other = requests.get(service.url + address[:-3], timeout=10)
        assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")
        again = requests.get(service.url + address, headers={"If-None-Match": kept.headers["ETag"]}, timeout=10)
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "page.py",
        "../views.py",
        "..%2fviews.py",
        "%2e%2e/views.py",
        "..%5cviews.py",
        "page.css/..%2f..%2fviews.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "page.css%00",
        "x" * 5000,
    ],
)
def test_no_other_file_is_static(path: str, service: Service):
    with socket.create_connection(("127.0.0.1", service.port), 10) as sock:  # as it is: requests would tidy the path
        sock.sendall(f"GET /static/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = sock.makefile("rb").read()
    assert answer.split()[1] in ((b"404", b"414", b"400") if len(path) > 4000 else (b"404",))
    assert b"Blueprint" not in answer
    assert b"root:" not in answer


def test_a_wrong_password_is_counted_and_its_value_is_nowhere(service: Service):
    look(service, "/", "s3cret-guess", headers={"X-Forwarded-For": "192.0.2.99"})

    def counted() -> Any:
        return {row[2] for row in service.inbox.counters() if row[:2] == ("operator", REFUSED)} >= {"wrong_password"}

    until(counted, "the refusal is counted")
    service.logs("the operator page refused 192.0.2.99: wrong_password")
    assert "s3cret" not in service.log()
    assert "неверный пароль этой страницы" in look(service, "/inbox").text
    assert "s3cret" not in look(service, "/inbox").text


def test_who_guesses_is_locked_out_and_nobody_else(service: Service):
    guesser, other = {"X-Forwarded-For": "192.0.2.200"}, {"X-Forwarded-For": "192.0.2.201"}
    for _ in range(2 * Guesses.MOST):  # two workers, each counts for itself
        look(service, "/", "guess", headers=guesser)
    for _ in range(2 * Guesses.MOST):
        if look(service, "/", "guess", headers=guesser).status_code == 429:
            break
    until(lambda: look(service, "/", "guess", headers=guesser).status_code == 429, "the guesser is locked out")
    for _ in range(2 * Guesses.MOST):  # each worker has counted his guesses by now
        look(service, "/", "guess", headers=guesser)
    assert {look(service, "/", headers=guesser).status_code for _ in range(6)} == {
        429
    }  # the right password does not help
    assert look(service, "/", headers=other).status_code == 200


RIGHT: Any = ("", PASSWORD.encode())


def browser(service: Service, address: str) -> requests.Session:
    """A browser at an address that has once given the right password."""
    session = requests.Session()
    session.headers["X-Forwarded-For"] = address
    assert session.get(service.url, auth=RIGHT, timeout=30).status_code == 200
    return session


def locked(service: Service, session: requests.Session, auth: Any = ("", "guess")) -> bool:
    """Whether the browser's guess is not even read, by any worker."""
    return all(session.get(service.url, auth=auth, timeout=30).status_code == 429 for _ in range(6))


def test_a_browser_that_once_gave_the_password_is_not_locked_by_a_stranger_beside_it(service: Service):
    known = browser(service, "192.0.2.210")
    stranger = requests.Session()
    stranger.headers["X-Forwarded-For"] = "192.0.2.210"
    until(lambda: locked(service, stranger), "the stranger is locked out")
    assert {known.get(service.url, auth=RIGHT, timeout=30).status_code for _ in range(6)} == {200}
    assert known.get(service.url, timeout=30).status_code == 401  # the cookie is no password
    forged = {"Cookie": f"connector={known.cookies.get('connector')}0"}
    assert stranger.get(service.url, auth=RIGHT, headers=forged, timeout=30).status_code == 429
    until(lambda: locked(service, known), "who guesses with the cookie is locked out as well")


def test_the_cookie_is_for_this_page_alone_and_void_under_another_password(tmp_path: Path):
    with Service(tmp_path / "s", OPERATOR_PASSWORD=PASSWORD, PUBLIC_URL="https://calls.example.ru") as service:
        service.start()
        answer = requests.get(service.url + "/service", auth=RIGHT, timeout=30)
        given = answer.headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/"):
            assert part in given
        cookie = {"Cookie": given.partition(";")[0]}
        again = requests.get(service.url + "/service", auth=RIGHT, headers=cookie, timeout=30)
        assert "Set-Cookie" not in again.headers
        assert "Set-Cookie" not in requests.get(service.url + "/service", auth=("", "x"), timeout=30).headers
        service.stop()
        service.environment["OPERATOR_PASSWORD"] = "another-password"
        service.start()
        again = requests.get(service.url + "/service", auth=("", "another-password"), headers=cookie, timeout=30)
        assert "Set-Cookie" in again.headers


# --------------------------------------------------------------------------------------------- who may press what


FORGED: dict[str, dict[str, str]] = {
    "nothing to prove it": {},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another site, our origin": {"Sec-Fetch-Site": "cross-site", "Origin": "OURS"},
    "another port": {"Sec-Fetch-Site": "same-site"},
    "an address typed": {"Sec-Fetch-Site": "none"},
    "an empty word": {"Sec-Fetch-Site": ""},
    "another origin": {"Origin": "http://evil.example"},
    "an origin that begins as ours": {"Origin": "OURS.evil.example"},
    "an origin of another scheme": {"Origin": "OURS-ftp"},
    "an opaque origin": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "an origin without a host": {"Origin": "http://"},
    "an origin that is none": {"Origin": "http://["},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_command_from_elsewhere_is_refused(case: str, service: Service):
    ours = {"OURS": service.url, "OURS.evil.example": f"{service.url}.evil.example"}
    ours["OURS-ftp"] = service.url.replace("http:", "ftp:")
    headers = {name: ours.get(value, value) for name, value in FORGED[case].items()}
    answer = press(service, headers, id="2", back="dead")
    assert answer.status_code == 403
    assert "Команда не выполнена" in answer.text
    assert service.inbox.delivery(2).outcome.state == DEAD  # type: ignore[union-attr]
    settled = service.inbox.delivery(2).settled_at  # type: ignore[union-attr]
    assert settled is None  # nobody looked at it again


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "OURS"}, {"Sec-Fetch-Site": "same-origin", "Origin": "OURS"}],
    ids=["Sec-Fetch-Site", "Origin", "both"],
)
def test_a_command_from_the_page_is_done(headers: dict[str, str], service: Service):
    headers = {name: value.replace("OURS", service.url) for name, value in headers.items()}
    answer = press(service, headers, id="999", back="dead")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dead?replayed=0")


def test_behind_a_proxy_the_page_is_known_by_public_url(tmp_path: Path):
    with Service(tmp_path, OPERATOR_PASSWORD=PASSWORD, PUBLIC_URL="https://pbx.example.com:8443/base") as service:
        service.start()
        for host in ("pbx.example.com", service.url.partition("://")[2]):  # whatever the proxy makes of Host
            own = {"Host": host, "Origin": "https://pbx.example.com:8443"}
            assert press(service, own, id="999").status_code == 303
            assert press(service, {"Host": host, "Origin": "https://evil.example"}, id="999").status_code == 403
        # a proxy that passes Host on is enough: the scheme is not seen on this side
        own = {"Host": "calls.example.com", "Origin": "https://calls.example.com"}
        assert press(service, own, id="999").status_code == 303


def test_without_the_password_no_origin_helps(service: Service):
    own = {"Origin": service.url, "Sec-Fetch-Site": "same-origin", "X-Forwarded-For": "192.0.2.77"}
    answer = look(service, "/replay", "wrong", method="POST", headers=own, data={"id": "2"}, allow_redirects=False)
    assert answer.status_code == 401


def test_a_command_is_a_post_and_small(service: Service):
    own = {"Sec-Fetch-Site": "same-origin"}
    assert look(service, "/replay", params={"id": "2"}, headers=own).status_code == 405
    assert press(service, own, id="2", back="x" * 20_000).status_code == 413


def test_understand_again_comes_back_to_where_the_button_was(service: Service):
    service.post(IN, NO_COMMA % 2)
    last = service.deliveries()[-1].delivery.id
    for back, where in (("delivery", f"/inbox/{last}?replayed=1"), ("dead", "/dead?replayed=1")):
        until(lambda: service.inbox.delivery(last).outcome.state == DEAD, "it is dead again")  # type: ignore[union-attr]
        answer = press(service, id=str(last), back=back)
        assert (answer.status_code, answer.headers["Location"]) == (303, where)
    assert "Разобрано заново 1: " in look(service, where).text


# ----------------------------------------------------------------------------------------------------- what it says


def test_a_call_that_another_node_took_names_the_node(service: Service, tmp_path: Path):
    other = Node(tmp_path, service.database_url)
    other.deliver(call_session_id=4190, direction="in")
    other.forward()
    id = service.call("4190")["id"]
    assert f"его принял узел <b>{other.inbox.node()}</b>" in look(service, f"/calls/{id}").text
    assert f"taken by {other.inbox.node()}, not in this inbox" in service.flask("calls", "show", str(id)).stdout


def test_a_call_of_the_last_day_is_found(service: Service):
    call = '{"call_session_id": 4102, "direction": "in", "start_time": "2024-05-31 23:59:58"}'
    service.post(IN, call)
    row = service.call("4102")
    for since, until_day, found in (("2024-05-31", "2024-05-31", True), ("2024-05-01", "2024-05-30", False)):
        text = look(service, "/calls", params={"since": since, "until": until_day}).text
        assert (f'id="call-{row["id"]}"' in text) is found


def test_a_search_says_how_many_it_found_and_reads_the_links_of_before(service: Service):
    text = look(service, "/calls", params={"sought": "9613"}).text
    assert "Найдено: <b>1</b>." in text
    assert look(service, "/calls", params={"ext": "105", "missed": "1"}).text.count("Таких звонков нет.") == 1
    strange = look(service, "/calls", params={"from": "25:00", "longer": "час", "since": "вчера"}).text
    for what in ("«25:00»", "«час»", "«вчера»"):
        assert f"{what} не учтено" in strange


def test_a_refused_notification_is_explained(service: Service):
    said = look(service, "/inbox/2").text
    assert "строка 2, столбец 1" in said
    assert "перед этим полем не хватает запятой" in said
    assert "<mark>&#34;call_session_id&#34;</mark>" in said
    assert "<b>400</b>" in said


def test_dead_letters_of_one_broken_template_are_one_group_until_somebody_has_dealt_with_them(tmp_path: Path):
    with Service(tmp_path, OPERATOR_PASSWORD=PASSWORD) as service:
        service.start()
        for number in range(9):
            service.post(IN, NO_COMMA % (number + 70_000))
        service.post(IN, "{}")
        said = look(service, "/dead").text
        assert said.count("<article") == 2
        assert "Понять заново" not in said.partition("<article")[2]  # it would be the same
        assert "Повторный разбор сейчас дал бы то же самое." in said
        assert '<b class="count">10</b>' in said
        answer = press(service, id="9", all="1", back="dead")
        assert answer.headers["Location"] == "/dead?replayed=9"
        service.settled()
        assert service.inbox.dead() == [("uis", "bad_json", 9), ("uis", "no_call_id", 1)]
        gave = "Разобрано заново 9: в журнале звонков 0, принято, не о звонке 0, снова отвергнуто 9."
        assert gave in look(service, "/dead?replayed=9").text

        def deal(**form: str) -> str:
            origin = {"Origin": service.url}
            done = look(service, "/dealt-with", method="POST", headers=origin, data=form, allow_redirects=False)
            assert done.status_code == 303
            return look(service, "/dead").text

        assert '<b class="count">1</b>' in deal(id="9")
        said = deal(id="10")
        assert "Новых отвергнутых нет." in said
        assert "Разобрано: 2" in said
        assert 'class="count">' not in said.partition("<main")[0]
        assert "10 — разобраны" in look(service, "/service").text
        service.post(IN, "{}")
        assert '<b class="count">2</b>' in look(service, "/dead").text  # the group is open again
        assert '<b class="count">11</b>' in deal(id="9", again="1")
        service.post(IN, '{"call_session_id": 70100, "direction": "in"}')
        assert "после него принято 1" in look(service, "/service").text


def test_without_a_call_log_the_page_shows_the_inbox(tmp_path: Path):
    with Service(tmp_path, OPERATOR_PASSWORD=PASSWORD) as service:
        service.start(upgrade=False)
        service.post(IN, '{"call_session_id": 1, "direction": "in"}')
        for path in ("/service", "/calls"):
            said = look(service, path)
            assert said.status_code == 200
            assert "Журнал звонков сейчас не отвечает" in said.text
        assert "/inbox/1" in look(service, "/service").text
        assert "Журнал звонков не отвечает" in look(service, "/calls/1").text
        until(lambda: "run pbx-connector db upgrade" in look(service, "/service").text, "the page says what to do")
        assert look(service, "/inbox/1").status_code == 200
        text = look(service, "/inbox").text
        assert re.search(r"Журнал звонков недоступен с [\d:. ]+</h2>", text.replace("\u00a0", " "))
        assert re.search(
            r"Ничего не теряется: .*>ждут передачи: 1</a>\. Передача стоит, следующая попытка в \d\d:", text
        )
        section = re.search(r'href="(/runbook/\w+)"', text)
        assert section is not None
        assert look(service, section[1]).status_code == 200
        assert "Время на странице — Europe/Moscow (UTC+3)." in text


def test_every_section_that_a_page_names_is_in_the_runbook(service: Service):
    for section in russian.RUNBOOK.values():
        answer = look(service, f"/runbook/{section}")
        assert (answer.status_code, "Что делать: " in answer.text) == (200, True)
    assert look(service, "/runbook/none").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/calls/999", "/inbox/999", "/calls/99999999999999999999", "/inbox/99999999999999999999", "/calls/-1", "/calls/x"],
)
def test_what_is_not_there_is_a_404(path: str, service: Service):
    assert look(service, path).status_code == 404


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize(
    ("path", "names"),
    [
        (
            "/calls",
            "sought employee since until from to longer shorter line result source direction provider missed before",
        ),
        ("/inbox", "state feed before sought at"),
        ("/calls/1", "from"),
        ("/callbacks", "since until line hours state ext from csv dialled"),
        ("/statistics", "since until hours csv"),
        ("/statistics/calls", "figure since until hours hour weekday line source name content ext number from csv"),
        ("/dead", "replayed"),
    ],
)
def test_no_parameter_breaks_a_page(path: str, names: str, value: str, service: Service):
    for name in names.split():
        assert look(service, path, params={name: value}).status_code == 200, name


def test_the_log_has_no_error_from_the_page(service: Service):
    for path in PAGES:
        look(service, path)
    assert "Traceback" not in service.log()


def test_tabs_leave_a_place_at_the_desk_for_1c(service: Service, tmp_path: Path):
    feeds = {name: FeedSettings(name, keys=("k",)) for name in schemas.feeds()}
    settings = Settings(data_dir=tmp_path, database_url=service.database_url, feeds=feeds, operator_password=PASSWORD)
    application = create_app(settings)
    client, here = application.test_client(), application.extensions["connector"]
    asked, answered = threading.Event(), threading.Event()

    def slow(database: Any) -> None:
        asked.set()
        answered.wait(30)

    def tab() -> None:
        with application.app_context():
            page.ask(slow)

    tabs = [threading.Thread(target=tab) for _ in range(4)]
    for thread in tabs:
        thread.start()
    try:
        assert asked.wait(30)
        assert here.desk.ask(lambda database: 5) == 5
        said = client.get("/service", auth=("", PASSWORD))
        assert "Журнал звонков сейчас не отвечает" in said.text
    finally:
        answered.set()
        for thread in tabs:
            thread.join()


@pytest.mark.parametrize("address", ["2001:db8::%d", "192.0.2.7", "::ffff:192.0.2.7", "not:an:address"])
def test_guesses_are_counted_for_whom_the_address_belongs_to(address: str):
    guesses = Guesses()
    for number in range(Guesses.MOST):
        guesses.wrong(address.replace("%d", str(number)))
    assert guesses.locked(address.replace("%d", "99"))
    assert not guesses.locked("203.0.113.5")
    assert not guesses.locked("::ffff:203.0.113.5")


def test_guesses_are_counted_within_their_seconds(monkeypatch: pytest.MonkeyPatch):
    guesses, clock = Guesses(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(Guesses.MOST):
        guesses.wrong("192.0.2.7")
        clock[0] += 1
    assert guesses.locked("192.0.2.7")
    clock[0] = 1000 + Guesses.SECONDS  # since the first of them
    assert not guesses.locked("192.0.2.7")


# ----------------------------------------------------------------------------------------------------------- words


def test_every_word_has_its_russian():
    assert set(russian.DIRECTIONS) == set(words.DIRECTIONS)
    assert set(russian.STATES) == set(words.STATES)
    assert set(russian.DISPOSITIONS) == set(words.DISPOSITIONS)
    assert set(russian.REASONS) == set(words.REASONS)
    assert set(russian.KINDS) == set(words.KINDS)
    assert set(russian.DELIVERIES) == {RECEIVED, FORWARDED, IGNORED, DEAD}


def test_every_column_has_its_rule_and_every_field_its_name():
    assert set(russian.WHY) == set(models.columns(models.Calls))
    named = set(models.columns(models.Calls)) | set(russian.FIELDS)
    assert set(CallEvent._fields) <= named
    assert set(russian.FIELDS) <= {*CallEvent._fields, "id"}


def test_every_reason_that_the_code_gives_has_its_russian():
    given = r"Refusal\(\s*4\d\d|Ignored\(|Outcome\(\s*(?:DEAD|IGNORED)|\.refuse\(\s*\w+|_refuse\(here|return 40\d"
    pattern = re.compile(rf'(?:{given}),?\s*"(\w+)"|code = "(\w+)"')
    sources = [
        ROOT / "forwarder.py",
        *(path for room in ("handlers", "schemas", "inbox") for path in ROOT.glob(f"{room}/**/*.py")),
    ]
    codes = {first or second for path in sources for first, second in pattern.findall(path.read_text("utf-8"))}
    assert codes - set(russian.CODES) == set()
    assert len(codes) > 20


# --------------------------------------------------------------------------------------------- what came, as it is seen


def test_what_cannot_be_seen_is_shown_by_its_code():
    assert shown.seen("a\u202e<b>\u200b\0\ud83d\n") == "a" + "".join(
        piece if piece == "&lt;b&gt;" else f'<span class="unseen">‹U+{piece}›</span>'
        for piece in ("202E", "&lt;b&gt;", "200B", "0000", "D83D")
    ) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("url", "followed"),
    [
        ("https://a.example/x", True),
        ("http://a.example", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//a.example/x", False),
        ("http:alert", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_web_links_are_links(url: str, followed: bool):
    assert bool(shown.link(url)) is followed


def test_a_body_that_is_no_utf8_is_also_read_as_windows_1251():
    body = shown.body(Delivery("uis", "in", "Привет".encode("cp1251")))
    assert "\\xcf" in body.raw
    assert body.other == "Привет"


def test_the_fragment_at_fault_is_shown_however_long_the_body_is():
    text = "{\n" + '"a":"b",\n' * 9000 + '"c" "d"}'
    body = shown.body(
        Delivery("uis", "in", text.encode()), "Тело запроса не JSON: строка 9002, столбец 5, у текста «…»"
    )
    assert body.cut
    assert "<mark>&#34;d&#34;</mark>" in body.raw
    assert len(body.raw) < 3 * shown.LONGEST


MOST_BYTES = 3_000_000  # of any page: a browser on a phone shows it


@pytest.mark.parametrize(
    "body",
    ["[" * 900 + "1," * 9000 + "1" + "]" * 900, '{"a":' + "\u202e" * 15_000, "\0" * 200_000],
    ids=["deep", "rtl", "nul"],
)
def test_a_page_of_a_hostile_body_is_no_flood(body: str, service: Service):
    sent = service.post(IN, body.encode())
    assert sent.status_code == 400
    (newest,) = service.inbox.deliveries(limit=1)
    page = look(service, f"/inbox/{newest.delivery.id}")
    assert (page.status_code, len(page.content) < MOST_BYTES) == (200, True), len(page.content)
    assert "…</pre>" in page.text
    assert len(look(service, "/inbox").content) < MOST_BYTES


def test_a_page_of_a_hostile_call_is_no_flood(service: Service):
    attributes = {f"name{number}": "\u202e" * 1000 for number in range(60)}
    links = [f"https://media6.uiscom.ru/{number}/{'x' * 900}" for number in range(20)]
    for number in range(50):
        said = {"call_session_id": 4242, "direction": "in", "notification_time": f"2024-03-01 10:00:{number:02}"}
        body = json.dumps({**said, **attributes, "record_file_links": links}, ensure_ascii=False)
        assert service.post("/hs/UIScom/rec", body.encode()).status_code == 200
    row = service.call("4242", events=50)
    page = look(service, f"/calls/{row['id']}")
    assert (page.status_code, len(page.content) < MOST_BYTES) == (200, True), len(page.content)
    assert "‹U+202E›" in page.text
    assert "\u202e" not in page.text


# ------------------------------------------------------------------------------------------------------ the inbox


def test_a_list_of_deliveries_looks_through_so_many_and_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(looking, "MOST_SEARCHED", 10)
    node = Node(tmp_path, "sqlite:///none.db")
    for number in range(25):
        feed = "xvb" if number == 2 else "uis"
        state = DEAD if number == 1 else FORWARDED
        node.inbox.put(
            Delivery(feed, "in", b"{}", received_at=number), Outcome(state, "bad_json" if state == DEAD else "")
        )
    box = node.inbox
    assert [row.id for row in box.browse()[0]] == list(range(25, 15, -1))
    assert box.browse(feed="xvb") == ([], 16)
    assert box.browse(feed="xvb", before=16) == ([], 6)
    rows, on = box.browse(feed="xvb", before=6)
    assert ([row.id for row in rows], on) == ([3], None)
    assert [row.id for row in box.browse(DEAD)[0]] == [2]  # they have an index: all are looked through
    assert box.browse(FORWARDED, limit=2)[1] == 24
    assert [row.id for row in box.browse(before=24, limit=2)[0]] == [23, 22]


def test_a_delivery_is_found_by_what_stands_in_it_and_by_its_time(tmp_path: Path):
    node = Node(tmp_path, "sqlite:///none.db")
    for number in range(1, 21):
        body = json.dumps({"call": 100 + number, "name": "Анна" if number == 7 else ""}, ensure_ascii=False).encode()
        node.inbox.put(
            Delivery("uis", "in", body, query=f"q={number}q", received_at=60_000 * number), Outcome(FORWARDED)
        )
    box = node.inbox
    assert [row.id for row in box.browse(text="107")[0]] == [row.id for row in box.browse(text="Анна")[0]] == [7]
    assert [row.id for row in box.browse(text="q=9q")[0]] == [9]
    assert box.browse(text="%") == ([], None)
    assert [box.received_until(60_000 * at) for at in (0, 1, 7, 99)] == [0, 1, 7, 20]
    assert box.received_until(60_000 * 7 + 59_999) == 7


def test_a_notification_is_found_by_number_call_and_time(service: Service):
    for sought in ("+7 (920) 111-96-13", "79201119613", "4101"):
        assert 'id="delivery-1"' in look(service, "/inbox", params={"sought": sought}).text
    assert "Таких уведомлений нет." in look(service, "/inbox", params={"sought": "4101", "state": "ignored"}).text
    assert 'id="delivery-1"' in look(service, "/inbox", params={"sought": "4101", "at": "2099-01-01T00:00"}).text
    assert 'id="delivery-1"' not in look(service, "/inbox", params={"sought": "4101", "at": "2020-01-01T00:00"}).text
