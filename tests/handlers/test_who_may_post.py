"""Who may post: keys, their rotation, allow-lists, proxies; a stranger is counted, logged, and leaves nothing else."""

import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from inbox import REFUSED
from tests.rig.service import UIS_KEY, Service, until
from tests.rig.surroundings import socket_directory

IN = "/hs/UIScom/in"
BODY = '{"call_session_id": 555, "direction": "in"}'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """uis: two keys and an allow-list; mgerm: open; hooktype: closed."""
    settings = {
        "UIS_KEY": "старый-ключ,new+key",
        "UIS_ALLOW": "192.0.2.0/24, 2001:db8::/32",
        "MGERM_KEY": "open",
        "HOOKTYPE_KEY": "",
        "TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
    }
    with Service(tmp_path_factory.mktemp("guarded"), **settings) as service:
        yield service.start()


def post(
    service: Service, key: str | None, forwarded: str | None = "192.0.2.7", **options: object
) -> requests.Response:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    params = {"key": key} if key else {}
    return requests.post(service.url + IN, params=params, data=BODY, headers=headers, timeout=10, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["старый-ключ", "new+key"])
def test_every_key_of_a_rotation_opens(key: str, guarded: Service) -> None:
    assert post(guarded, key).json() == {"status": "accepted"}


def test_the_key_may_be_the_password_of_http_basic(guarded: Service) -> None:
    assert post(guarded, None, auth=("кто угодно".encode(), b"new+key")).json() == {"status": "accepted"}
    assert post(guarded, None, auth=("x", "wrong")).status_code == 401


def test_a_delivery_keeps_the_beginning_of_its_keys_hash(guarded: Service) -> None:
    post(guarded, "старый-ключ")
    post(guarded, "new+key")
    post(guarded, None, auth=("кто угодно".encode(), b"new+key"))
    post(guarded, "wrong")
    requests.post(
        f"{guarded.url}/uis/call/ended?key=old-key", data=BODY, timeout=10
    )  # whoever opened the feed asks for no key
    old, new = (hashlib.sha256(key.encode()).hexdigest()[:8] for key in ("старый-ключ", "new+key"))
    *of_uis, of_mgerm = [stored.delivery for stored in guarded.deliveries()[-4:]]
    assert [one.key_hash for one in of_uis] == [old, new, new]
    assert (of_mgerm.feed, of_mgerm.key_hash) == ("mgerm", "")
    assert f"from: 192.0.2.7, by the key {new}" in guarded.flask("inbox", "show", str(of_uis[-1].id)).stdout
    assert re.search(rf"192\.0\.2\.7 +{old}", guarded.flask("inbox", "list", "--feed", "uis").stdout)


@pytest.mark.parametrize(("key", "code"), [("wrong", "wrong_key"), ("ключ\ud83d"[:4], "wrong_key"), (None, "no_key")])
def test_a_wrong_or_missing_key_is_401_and_nothing_is_kept(key: str | None, code: str, guarded: Service) -> None:
    before = len(guarded.deliveries())
    answer = post(guarded, key)
    assert (answer.status_code, answer.json()["error"]) == (401, code)
    assert "WWW-Authenticate" in answer.headers
    assert len(guarded.deliveries()) == before


def test_a_browser_is_shown_the_sentence_and_no_log_in_window(guarded: Service) -> None:
    headers = {"Accept": "text/html", "X-Forwarded-For": "192.0.2.7"}
    answer = requests.get(guarded.url + IN, headers=headers, timeout=10)
    assert answer.status_code == 401
    assert not answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "ключ" in answer.json()["message"].lower()


def test_a_closed_feed_is_403_and_the_log_says_which_setting_opens_it(guarded: Service) -> None:
    answer = requests.post(guarded.url + "/hooktype?key=x", data="{}", timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (403, "feed_closed")
    assert "HOOKTYPE_KEY" in answer.json()["message"]
    until(lambda: "set HOOKTYPE_KEY to open it" in guarded.log(), "the log says so")


def test_an_open_feed_takes_anyone(guarded: Service) -> None:
    answer = requests.post(guarded.url + "/uis/call/ended", data=BODY, timeout=10)
    assert answer.json() == {"status": "accepted"}


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.7", 200),
        ("2001:db8::5", 200),
        ("198.51.100.1, 192.0.2.7", 200),  # what the client wrote itself stands left of what the proxy saw
        ("192.0.2.7, 198.51.100.1", 403),
        ("192.0.2.7, 10.1.2.3", 200),  # a second trusted proxy
        ("::ffff:192.0.2.7", 200),
        ("rubbish", 403),
        ("", 403),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    forwarded: str, status: int, guarded: Service
) -> None:
    assert post(guarded, "new+key", forwarded).status_code == status


def test_refusals_are_counted_and_logged_without_the_key(guarded: Service) -> None:
    def counted() -> int:
        return sum(c[3] for c in guarded.inbox.counters() if c[:3] == ("uis", REFUSED, "wrong_key"))

    before = counted()
    for _ in range(3):
        post(guarded, "secret-guess")
    until(lambda: counted() >= before + 3, "three more refusals are counted")
    assert "secret-guess" not in guarded.log()
    assert "new+key" not in guarded.log()


def test_the_stored_query_never_has_the_key(guarded: Service) -> None:
    answer = requests.get(
        f"{guarded.url}{IN}?key=new%2Bkey&call_session_id=556&direction=in",
        headers={"X-Forwarded-For": "192.0.2.7"},
        timeout=10,
    )
    assert answer.json() == {"status": "accepted"}
    assert {stored.delivery.query for stored in guarded.deliveries() if stored.delivery.query} == {
        "call_session_id=556&direction=in"
    }
    assert {stored.delivery.client_address for stored in guarded.deliveries(feed="uis")} >= {"192.0.2.7"}


@pytest.mark.parametrize(
    "written", ["192.0.2.7:50312", "[192.0.2.7]:50312", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1"]
)
def test_an_address_that_a_proxy_writes_with_its_port_is_the_address(guarded: Service, written: str) -> None:
    assert post(guarded, "new+key", written).ok
    assert guarded.deliveries(feed="uis")[-1].delivery.client_address == "192.0.2.7"


def test_metrics_are_open_to_this_host_on_a_listener_of_both_families(tmp_path: Path) -> None:
    with Service(tmp_path, WORKERS="1") as service:
        service.environment["BIND"] = f"[::]:{service.port}"
        service.start()
        assert service.get("/metrics").ok  # the peer is ::ffff:127.0.0.1


def test_a_peer_on_a_unix_socket_is_a_trusted_proxy(tmp_path: Path) -> None:
    path = socket_directory() / "s"
    settings = {"BIND": f"unix:{path}", "PUBLIC_URL": "http://localhost", "UIS_ALLOW": "192.0.2.0/24"}

    def talk(forwarded: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            head = f"POST {IN}?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\n"
            connection.sendall(f"{head}Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n{BODY}".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    class OnSocket(Service):
        def _answers(self) -> bool:
            return path.exists() and " 403 " in talk("198.51.100.1").split("\r\n")[0]

    with OnSocket(tmp_path / "service", **settings) as service:
        service.start()
        assert '{"status": "accepted"}' in talk("192.0.2.7")
