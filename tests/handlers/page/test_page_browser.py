"""The operator page in real Chromium: it updates by itself, explains a refusal, replays, executes nothing it is sent."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By

import models
from inbox import DEAD, FORWARDED
from schemas.reading import canonical
from tests.rig import browser as rig
from tests.rig import needs
from tests.rig.browser import Browser, chromium
from tests.rig.fixtures import Request, fixture_calls
from tests.rig.service import KEYS, UIS_KEY, Service, until
from tests.rig.surroundings import code

PASSWORD = "пароль-страницы"
IN = "/hs/UIScom/in"
BROKEN = '{"notification_name":"Входящий звонок",\n"direction":"in"\n"call_session_id":%d}'
CALLS = {call.name: call for call in fixture_calls()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs.present(rig.missing())
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("page"), OPERATOR_PASSWORD=PASSWORD) as service:
        yield service.start()


@pytest.fixture
def service(open_service: Service, browser: Browser) -> Iterator[Service]:
    """The service with the operator logged in, on a desktop; no test may leave a complaint of the browser behind."""
    browser.size(1280, 900)
    log_in(browser, open_service)
    yield open_service
    assert browser.complaints() == []


def log_in(browser: Browser, service: Service) -> None:
    browser.get(service.url.replace("://", f"://operator:{PASSWORD}@") + "/")
    browser.complaints()


def shows(browser: Browser, text: str, seconds: float = 30) -> None:
    """Wait until the page shows the text."""

    def shown() -> bool:
        try:
            return text in browser.find_element(By.TAG_NAME, "body").text
        except (StaleElementReferenceException, WebDriverException):
            return False

    until(shown, f"the page shows {text!r}", seconds)


def click(browser: Browser, by: str, what: str) -> None:
    """Click the element, also when the page has just put a new one in its place."""

    def clicked() -> bool:
        try:
            browser.find_element(by, what).click()
        except StaleElementReferenceException:
            return False
        return True

    until(clicked, f"{what} is clicked")


def newest(service: Service) -> int:
    return service.deliveries()[-1].delivery.id


# ------------------------------------------------------------------------------------------------- it lives


def test_a_notification_is_seen_as_it_arrives_and_nothing_is_reloaded(service: Service, browser: Browser):
    browser.get(service.url + "/inbox")
    browser.execute_script("window.untouched = true")
    service.post(IN, '{"call_session_id":187020303,"notification_name":"Тест"}')
    shows(browser, "Тест UIS получен, «Входящий звонок», полей 2 из 17")
    assert browser.execute_script("return window.untouched")


def test_why_a_broken_notification_is_refused_is_found_from_the_page_alone(service: Service, browser: Browser):
    browser.get(service.url + "/service")
    service.post(IN, BROKEN % 501)
    until(lambda: browser.find_elements(By.LINK_TEXT, "что менять"), "the page tells that something is dead")
    click(browser, By.LINK_TEXT, "что менять")
    shows(browser, "перед этим полем не хватает запятой. Исправьте шаблон в поле «JSON для тела запроса».")
    click(browser, By.LINK_TEXT, str(newest(service)))
    shows(browser, "Почему отвергнуто: ошибка в JSON")
    assert browser.find_element(By.TAG_NAME, "mark").text == '"call_session_id"'
    shows(browser, "Исправьте указанное у провайдера и отправьте уведомление ещё раз.")


def test_a_dead_letter_is_replayed_after_the_fix(browser: Browser, tmp_path: Path):
    with Service(tmp_path / "service", OPERATOR_PASSWORD=PASSWORD) as service:
        fault = ("    return CallEvent(", "    raise KeyError('a fault')\n    return CallEvent(")
        service.copy_code(tmp_path / "broken", {"schemas/uis.py": fault})
        service.start()
        for call in (601, 602, 603):
            service.post(IN, json.dumps({"call_session_id": call, "direction": "in"}))
        service.settled()
        log_in(browser, service)
        browser.get(service.url + "/dead")
        shows(browser, "uis: ошибка коннектора")
        shows(browser, "KeyError: 'a fault'")
        assert not browser.find_elements(By.ID, "replay-3")  # too early: the fault is still there
        shows(browser, "Повторный разбор сейчас дал бы то же самое.")
        service.stop()
        service.root = code()
        service.start()
        browser.get(service.url + "/inbox/3")
        shows(browser, "Сейчас коннектор понимает его иначе")
        click(browser, By.ID, "replay-3")
        shows(browser, "звонок 1 целиком")  # by itself
        assert service.call("603")["state"] == "ringing"
        browser.get(service.url + "/dead")
        click(browser, By.ID, "replay-all-2")
        shows(browser, "Разобрано заново 2: в журнале звонков 2")
        shows(browser, "Отвергнутых нет.")
        assert service.call("601")["events_count"] == service.call("602")["events_count"] == 1
        browser.complaints()  # while it was stopped


def test_what_a_person_does_is_left_alone(service: Service, browser: Browser):
    service.post(IN, BROKEN % 502)
    service.post(IN, '{"call_session_id": 503, "direction": "in", "employee_ids": [1]}')
    call = service.call("503")["id"]
    browser.get(f"{service.url}/calls/{call}")
    browser.execute_script(
        "document.querySelectorAll('details').forEach((fold) => { fold.open = ['fields-1', 'audit'].includes(fold.id) })"
    )
    browser.execute_script("document.querySelector('#fields-1 summary').focus(); window.scrollTo(0, 300)")
    service.post(
        "/hs/UIScom/rec", '{"call_session_id": 503, "direction": "in", "talk_time_duration": 5, "is_lost": false}'
    )
    until(lambda: browser.find_elements(By.ID, "event-2"), "the new event is there")
    folds = browser.execute_script("return Array.from(document.querySelectorAll('details[id]'), f => [f.id, f.open])")
    assert dict(folds)["fields-1"] is True
    assert next(state for name, state in folds if name.startswith("came-")) is False
    assert browser.execute_script("return window.scrollY") > 100

    browser.get(service.url + "/inbox")
    browser.find_element(By.NAME, "feed").send_keys("x")
    browser.execute_script("const r = document.createRange(); r.selectNodeContents(document.querySelector('.reason'));"
                           "getSelection().removeAllRanges(); getSelection().addRange(r)")  # fmt: skip
    chosen = browser.execute_script("return String(getSelection())")
    asked = "return performance.getEntriesByType('resource').filter(e => e.initiatorType === 'fetch').length"
    service.post(IN, BROKEN % 504)
    before = browser.execute_script(asked)
    until(lambda: browser.execute_script(asked) >= before + 2, "the page asked twice")
    assert browser.execute_script("return String(getSelection())") == chosen != ""
    browser.execute_script("getSelection().removeAllRanges()")
    until(lambda: browser.find_elements(By.ID, f"delivery-{newest(service)}"), "what waited is shown")
    assert browser.find_element(By.NAME, "feed").get_attribute("value") == "xvb"


def test_a_lost_connection_is_said_and_mended(service: Service, browser: Browser):
    browser.get(service.url + "/service")
    browser.offline(True)
    try:
        shows(browser, "Нет связи с коннектором")
        assert browser.find_elements(By.ID, "feed-uis")
    finally:
        browser.offline(False)
    until(lambda: not browser.find_element(By.ID, "offline").is_displayed(), "it is back")
    assert all("ERR_INTERNET_DISCONNECTED" in said for said in browser.complaints())


def test_without_a_script_everything_still_works(service: Service, browser: Browser):
    service.post(IN, BROKEN % 505)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(service.url + "/dead")
        shows(browser, "uis: ошибка в JSON")
        browser.find_element(By.CSS_SELECTOR, "article button").click()
        shows(browser, "Новых отвергнутых нет.")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


# ------------------------------------------------------------------------------------------------- it tells


def send(service: Service, name: str) -> dict[str, Any]:
    """A fixture call, and its row."""
    call = CALLS[name]
    for request in call.requests:
        assert request.send(service)[0] == 200
    return service.call(call.call_id, events=int(call.rows["calls"].get("events_count", 1)))


def test_calls_are_filtered(service: Service, browser: Browser):
    lost, answered = send(service, "uis/incoming-lost"), send(service, "uis/outgoing-answered")
    browser.get(service.url + "/calls")
    number = answered["client_number"]
    browser.find_element(By.NAME, "sought").send_keys(f"+{number[0]} ({number[1:4]}) {number[4:7]}-{number[7:]}\n")
    until(lambda: "sought=" in browser.current_url, "the form is sent")
    rows = [row.get_attribute("id") for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert f"call-{answered['id']}" in rows
    assert f"call-{lost['id']}" not in rows
    browser.get(service.url + "/calls")
    browser.find_element(By.NAME, "result").send_keys("пропущен")
    click(browser, By.CSS_SELECTOR, ".filter button")
    until(lambda: "result=missed_all" in browser.current_url, "the form is sent")
    rows = [row.get_attribute("id") for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert f"call-{lost['id']}" in rows
    assert f"call-{answered['id']}" not in rows


def test_a_calls_whole_story_is_told(service: Service, browser: Browser):
    call = send(service, "uis/incoming-answered")
    browser.get(service.url + "/calls")
    click(browser, By.CSS_SELECTOR, f"#call-{call['id']} a")
    shows(browser, "Откуда взялась каждая колонка")
    recording = browser.find_element(By.CSS_SELECTOR, "h1 ~ .buttons")
    assert "запись" in recording.text.lower()
    assert recording.location["y"] < 400
    assert not browser.find_element(By.ID, "column-talk_seconds").is_displayed()
    click(browser, By.CSS_SELECTOR, "#audit > summary")
    row = browser.find_element(By.ID, "column-talk_seconds")
    assert "названо провайдером" in row.text or "от ответа до конца" in row.text
    row.find_element(By.CSS_SELECTOR, "td:nth-child(3) a").click()
    until(lambda: "#event-" in browser.current_url, "the event that gave it is shown")
    event = browser.find_element(By.CSS_SELECTOR, ":target")
    assert "Понято как" in event.text
    body = CALLS["uis/incoming-answered"].requests[0].body.decode()
    bodies = [pre.get_attribute("textContent") for pre in browser.find_elements(By.CSS_SELECTOR, "pre.body")]
    assert body in bodies


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_screen(width: int, service: Service, browser: Browser):
    call = send(service, "uis/incoming-answered")
    service.post(IN, json.dumps({"call_session_id": 777, "direction": "in", "scenario_name": "Ж" * 255}))
    service.post(IN, "W" * 3000)
    for path in (
        "/callbacks",
        "/statistics",
        "/service",
        "/calls",
        f"/calls/{call['id']}",
        "/inbox",
        f"/inbox/{newest(service)}",
        "/dead",
        "/setup",
        "/calls/999999999",
    ):
        browser.size(width, 800)
        browser.get(service.url + path)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, path
    browser.complaints()  # the 404


def test_the_keyboard_reaches_everything_and_everything_has_a_name(service: Service, browser: Browser):
    for path in ("/callbacks", "/statistics", "/service", "/calls", "/inbox", "/dead", "/setup"):
        browser.get(service.url + path)
        assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
        nameless = browser.execute_script(
            "return Array.from(document.querySelectorAll('a, button, input:not([type=hidden]), select'))"
            ".filter(e => !(e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert nameless == []
        assert (
            browser.execute_script("return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length") == 0
        )


def test_a_template_is_copied_with_one_press_and_a_lamp_lights_as_its_event_comes(service: Service, browser: Browser):
    browser.get(service.url + "/setup?feed=uis")
    click(browser, By.CSS_SELECTOR, "#entry-1 > summary")
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    click(browser, By.CSS_SELECTOR, "[data-copy=template-1]")
    shows(browser, "Скопировано")
    copied = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == browser.find_element(By.ID, "template-1").get_attribute("textContent")
    assert copied.startswith('{\n"notification_name":{{notification_name}},')
    service.post(IN, '{"call_session_id": 5501, "direction": "in", "leg_id": 7, "employee_ids": [1]}')
    lamp = "return document.getElementById('lamp-7').textContent"  # in one step: the page puts in a new one
    until(lambda: "приходит" in browser.execute_script(lamp), "the lamp lights")


# ------------------------------------------------------------------------------------------------- it is not fooled


def test_a_form_on_another_origin_presses_nothing(service: Service, browser: Browser):
    service.post(IN, BROKEN % 506)
    id = newest(service)
    settled = service.inbox.delivery(id).settled_at  # type: ignore[union-attr]

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<form method=post action="{service.url}/replay">'
            page += f"<input name=id value={id}><button id=go>go</button></form>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        try:
            for host in ("127.0.0.1", "localhost"):
                browser.get(f"http://{host}:{evil.server_port}/")
                browser.find_element(By.ID, "go").click()
                shows(browser, "Команда не выполнена")
                browser.get(f"http://{host}:{evil.server_port}/")
                browser.execute_script(
                    f"const f = document.createElement('iframe'); f.src = '{service.url}/'; document.body.append(f)"
                )
                until(
                    lambda: any("frame-ancestors" in said for said in browser.complaints()), "no frame around the page"
                )
        finally:
            evil.shutdown()
    stored = service.inbox.delivery(id)
    assert stored is not None
    assert (stored.outcome.state, stored.settled_at) == (DEAD, settled)
    browser.complaints()  # the 403s


ATTACKS = (
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "' autofocus onfocus='window.pwned=1",
    "</pre></td></table><svg onload=window.pwned=1>",
    "javascript:window.pwned=1//",
    "</style><style>body{display:none}</style>",
    "{{7*7}}{% raw %}${7*7}<!--",
    "abc\u202egpj.exe\u200b\u2066x",
    "&lt;b&gt;&#60;b&#62;",
    "Ы" * 5000,
)  # fmt: skip
# [whether anything ran, our own elements, elements that nobody but an attacker would make, what is read, how wide, seen]
LOOK = """
const strange = "img, svg, style, iframe, [onerror], [onload], [onfocus], [autofocus], [style], a[href^=javascript i]";
return [window.pwned, document.querySelectorAll("nav, script").length, document.querySelectorAll(strange).length,
        document.body.textContent + Array.from(document.querySelectorAll("input"), (field) => field.value).join(" "),
        document.documentElement.scrollWidth, getComputedStyle(document.body).display]
"""
STRUCTURE = {"callsessionid", "sessionid", "callid", "h323confid", "hooktype", "type", "cmd", "event", "direction"}


def leaves(said: Any, attack: str, every: bool, key: str = "") -> Any:
    """The body with the attack in place of each value, of the structure's too with `every`."""
    if isinstance(said, dict):
        return {name: leaves(value, attack, every, name) for name, value in said.items()}
    if isinstance(said, list):
        return [leaves(value, attack, every, key) for value in said]
    return said if canonical(key) in STRUCTURE and not every else attack


def attacked(request: Request, attack: str, every: bool) -> bytes:
    """A fixture's body, JSON or form, full of the attack."""
    try:
        return json.dumps(leaves(json.loads(request.body), attack, every), ensure_ascii=False).encode()
    except ValueError:
        pairs = [
            (k, v if canonical(k) in STRUCTURE and not every else attack) for k, v in parse_qsl(request.body.decode())
        ]
        return urlencode(pairs).encode()


def seen(text: str) -> str:
    """As the page writes what cannot be seen."""
    return re.sub("[\u200b\u202e\u2066]", lambda found: f"‹U+{ord(found[0]):04X}›", text)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_nothing_that_is_sent_is_executed_and_all_of_it_is_seen(attack: str, browser: Browser, tmp_path: Path):
    names = ("uis/incoming-answered", "mgerm/ended-alone", "hooktype/incoming-answered", "mtt/incoming-answered",
             "xvb/incoming-answered")  # fmt: skip
    with Service(tmp_path, OPERATOR_PASSWORD=PASSWORD) as service:
        service.start()
        for call in (CALLS[name] for name in names):
            for request in call.requests:
                for every in (False, True):
                    body = attacked(request, attack, every)
                    headers = {
                        "Content-Type": attack.encode("ascii", "ignore").decode() or "x",
                        "X-Forwarded-For": "192.0.2.1",
                    }
                    requests.post(
                        f"{service.url}{request.target}?key={KEYS[request.feed]}", body, headers=headers, timeout=30
                    )
        query = urlencode({"call_session_id": 808, "client_name": attack, attack: attack})
        requests.get(f"{service.url}{IN}?{query}&key={UIS_KEY}", timeout=30)  # 414 of gunicorn's own where it is long
        service.post(IN, attack)
        service.post(IN, '{"call_session_id":"%s' % attack)
        service.post(IN, attack.encode("utf-16"))
        service.post(IN, "{}", key=attack[:100])
        service.settled()
        log_in(browser, service)
        calls = [row["id"] for row in service.rows(models.Calls)]
        letters = [stored.delivery.id for stored in service.deliveries()]
        assert len(calls) >= 4
        states = {stored.outcome.state for stored in service.deliveries()}
        assert {DEAD, FORWARDED} <= states
        told = ""
        paths = [
            "/callbacks?since=2020-01-01&state=all",
            "/service",
            "/calls",
            "/inbox",
            "/dead",
            *(f"/calls/{id}" for id in calls),
            *(f"/inbox/{id}" for id in letters),
        ]
        for path in [
            *paths,
            "/calls?"
            + urlencode(
                dict.fromkeys(("sought", "employee", "since", "from", "line", "source", "provider", "before"), attack)
            ),
        ]:
            browser.size(360, 800)
            browser.get(service.url + path[:3500])
            found = browser.execute_script(LOOK)
            assert found[:3] == [None, 2, 0], path
            assert found[4] <= 360, path
            assert found[5] == "block"
            told += found[3]
        for length in (20, 200):  # columns cut it, bodies do not
            assert seen(attack[:length]) in told
        if len(attack) < 200:
            assert told.count(seen(attack)) > 10
        assert browser.complaints() == []
