"""deploy/nginx.conf and the unit's commands, with real nginx and real gunicorn: nothing of a restart reaches a sender,
nothing of a bad sender reaches a worker, and nothing secret reaches a log."""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from inbox import REFUSED
from models import Calls
from tests.handlers.test_make_call import API_KEY, XVB_TOKEN, settings
from tests.rig import needs, nginx
from tests.rig.deployed import Deployed
from tests.rig.node import end, ring
from tests.rig.provider import provider
from tests.rig.service import ROOT, UIS_KEY, until
from tests.rig.traffic import Traffic, traffic

NUMBER = "79201119613"
LINK = "https://records.example.ru/secret-record.mp3"


@pytest.fixture(scope="module", autouse=True)
def _nginx() -> None:
    needs.present(nginx.missing())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A service behind the site, for tests that restart nothing."""
    with Deployed(tmp_path_factory.mktemp("deployed"), API_KEY=API_KEY) as service:
        yield service.start()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Deployed]:
    """One of the test's own."""
    with Deployed(tmp_path, API_KEY=API_KEY) as service:
        yield service.start()


def head(path: str, *headers: str) -> bytes:
    """A request's head."""
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: pbx.example.ru", *headers, "", "")).encode()


def connected(service: Deployed) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60)


def whole(peer: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := peer.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def goes_on(seen: Traffic, answers: int = 20) -> None:
    """Wait until so many more requests are answered."""
    enough = seen.count + answers
    until(lambda: seen.count >= enough, f"requests are answered: {seen.refused[:5]}, {seen.broken} broken")


def nothing_failed(seen: Traffic) -> None:
    assert (seen.refused, seen.broken) == ([], 0)
    assert seen.count > 0


# -------------------------------------------------------------------------------------------------------- bad senders


def test_a_delivery_reaches_the_call_log_under_any_base_name(deployed: Deployed) -> None:
    for number, base in enumerate(("", "/buh", f"/{quote('Торговля')}/{quote('база 1')}")):
        call = f"510{number}"
        answer = requests.post(f"{deployed.url}{base}/hs/UIScom/in?key={UIS_KEY}", json=ring(call), timeout=30)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        assert deployed.call(call)["client_number"] == NUMBER
    told = requests.get(f"{deployed.url}/hs/UIScom/in?key={UIS_KEY}?call_session_id=5109&direction=in", timeout=30)
    assert told.status_code == 200, told.text
    assert deployed.call("5109")["direction"] == "in"
    assert "/hs/UIScom/in 200" in (deployed.nginx.directory / "pbx-connector.log").read_text()


def test_a_cut_body_never_reaches_a_worker(deployed: Deployed) -> None:
    body = json.dumps(ring("5200")).encode()
    before = len(deployed.deliveries())
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        with connected(deployed) as peer:
            peer.sendall(head(f"/hs/UIScom/in?key={UIS_KEY}", f"Content-Length: {len(body)}") + body[:cut])
            peer.shutdown(socket.SHUT_WR)
            assert b" 200 " not in whole(peer)
    assert deployed.post("/hs/UIScom/in", json.dumps(ring("5201"))).status_code == 200
    assert len(deployed.deliveries()) == before + 1


def test_slow_senders_occupy_no_worker_and_are_let_go_in_time(deployed: Deployed) -> None:
    threads = 2 * int(deployed.settings["THREADS"])
    slow = []
    for _ in range(2 * threads):
        slow.append(connected(deployed))
        slow[-1].sendall(head(f"/hs/UIScom/in?key={UIS_KEY}", "Content-Length: 100") + b"{")
        slow.append(connected(deployed))
        slow[-1].sendall(b"POST /hs/UIScom/in HTTP/1.1\r\nHost:")
    for number in range(20):  # more than all threads are held by slow senders, and nobody waits
        assert deployed.post("/hs/UIScom/in", json.dumps(ring(f"530{number}"))).status_code == 200
    for peer in slow:
        assert b" 200 " not in whole(peer)
        peer.close()


def test_a_thousand_connections_at_once_are_all_answered(deployed: Deployed) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(connected(deployed)) for _ in range(1000)]
        for number, peer in enumerate(peers):
            body = json.dumps(ring(f"54{number:04}")).encode()
            length = f"Content-Length: {len(body)}"
            peer.sendall(head(f"/hs/UIScom/in?key={UIS_KEY}", length, "Connection: close") + body)
        assert {whole(peer).split(b" ", 2)[1] for peer in peers} == {b"200"}
    deployed.settled()
    assert sum(row["provider_call_id"].startswith("54") for row in deployed.rows(Calls)) == 1000


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_told_so_in_our_words(deployed: Deployed, chunked: bool) -> None:
    limit = int(re.findall(r"client_max_body_size (\d+);", (deployed.nginx.directory / "nginx.conf").read_text())[0])
    fits, large = b" " * limit, b" " * (limit + 1)
    assert deployed.post("/hs/UIScom/in", fits).status_code == 400  # the connector's own word: it is not JSON
    data = iter([large]) if chunked else large
    answer = requests.post(f"{deployed.url}/hs/UIScom/in?key={UIS_KEY}", data=data, timeout=30)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json()["error"] == "too_large"
    assert "MAX_BODY_BYTES" in answer.json()["message"]


def test_contacts_may_be_a_megabyte(deployed: Deployed) -> None:
    contacts = [{"client_number": f"7920{n:07}", "client_name": "я" * 100, "responsible_ext": ""} for n in range(1000)]
    answer = requests.put(
        f"{deployed.url}/api/contacts", json=contacts, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60
    )
    assert len(answer.request.body or b"") > 262144
    assert answer.json() == {"written": 1000}


def test_a_sender_cannot_say_where_it_comes_from(tmp_path: Path) -> None:
    with Deployed(tmp_path, UIS_ALLOW="192.0.2.7") as service:
        service.start()
        for forwarded in ("192.0.2.7", "192.0.2.7, 127.0.0.1", "192.0.2.7, 192.0.2.7"):
            answer = service.post("/hs/UIScom/in", json.dumps(ring("5500")), headers={"X-Forwarded-For": forwarded})
            assert (answer.status_code, answer.json()["error"]) == (403, "address_not_allowed")
        service.write_settings(UIS_ALLOW="127.0.0.1")
        service.restart()
        assert service.post("/hs/UIScom/in", json.dumps(ring("5501"))).status_code == 200


def slow(service: Deployed, address: str, part: bytes) -> socket.socket:
    """A sender at this address that has sent the beginning of a request, and sends no more."""
    peer = socket.create_connection(("127.0.0.1", service.port), 60, (address, 0))
    peer.sendall(part)
    return peer


def closed(peer: socket.socket) -> bool:
    """Whether nginx has closed the connection, without an answer."""
    peer.setblocking(False)  # with a timeout MSG_DONTWAIT waits
    try:
        return peer.recv(100) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def metric(service: Deployed, reason: str) -> float:
    """How often nginx closed or could not accept a connection."""
    name = f'connector_refusals_total{{feed="nginx",reason="{reason}"}}'
    (count,) = re.findall(rf"{re.escape(name)} (\S+)", service.get("/metrics").text)
    return float(count)


SLOW_BODY = head(f"/hs/UIScom/in?key={UIS_KEY}", "Content-Length: 100") + b"{"
SLOW_HEAD = f"POST /hs/UIScom/in?key={UIS_KEY} HTTP/1.1\r\nHost:".encode()


def test_an_address_has_a_thousand_requests_at_once_and_the_rest_is_closed_and_counted(own: Deployed) -> None:
    with ExitStack() as stack:
        stack.enter_context(own.nginx_read())
        greedy = [stack.enter_context(slow(own, "127.0.0.2", SLOW_BODY)) for _ in range(1200)]
        until(lambda: sum(map(closed, greedy)) >= 200, "what is above the thousand is closed")
        assert sum(map(closed, greedy)) == 200
        known = [stack.enter_context(slow(own, "127.0.0.1", SLOW_BODY)) for _ in range(1200)]
        said = json.dumps(ring("6100")).encode()
        length = f"Content-Length: {len(said)}"
        part = head(f"/hs/UIScom/in?key={UIS_KEY}", length, "Connection: close") + said
        other = stack.enter_context(slow(own, "127.0.0.3", part))
        assert whole(other).split(b" ", 2)[1] == b"200"
        assert not any(map(closed, known))
        until(lambda: 0 < metric(own, "too_many_connections") <= 200, "counted: nginx drops a line that finds no room")
        lines = (own.directory / "nginx-read.log").read_text()
        assert "limiting connections by zone, client 127.0.0.2" in lines
        assert UIS_KEY not in lines
    own.nginx.__exit__()
    assert (own.nginx.directory / "pbx-connector.log").read_text().count("/hs/UIScom/in 444 ") == 200


def test_8200_half_heads_of_one_address_refuse_no_honest_post(own: Deployed) -> None:
    with ExitStack() as stack:
        for _ in range(8200):
            stack.enter_context(slow(own, "127.0.0.2", SLOW_HEAD))
        for number in range(20):
            assert own.post("/hs/UIScom/in", json.dumps(ring(f"61{number:02}"))).status_code == 200


def test_that_nginx_has_no_connections_left_is_counted(tmp_path: Path) -> None:
    with Deployed(tmp_path) as service, ExitStack() as stack:
        main = service.nginx.directory / "nginx.conf"
        main.write_text(main.read_text().replace("worker_connections 16384;", "worker_connections 64;"))
        service.start()
        stack.enter_context(service.nginx_read())
        for _ in range(200):
            with suppress(ConnectionResetError, BrokenPipeError):
                stack.enter_context(slow(service, "127.0.0.2", SLOW_HEAD))

        def counted() -> bool:
            return any(row[:3] == ("nginx", REFUSED, "no_connections_left") for row in service.inbox.counters())

        until(counted, "it is counted")
        assert UIS_KEY not in (service.directory / "nginx-read.log").read_text()


def test_400_posts_of_one_address_during_a_restart_are_all_accepted(own: Deployed) -> None:
    with ExitStack() as stack:
        own.stop()
        peers = []
        for number in range(400):
            body = json.dumps(ring(f"62{number:03}")).encode()
            peers.append(stack.enter_context(slow(own, "127.0.0.2", head(
                f"/hs/UIScom/in?key={UIS_KEY}", f"Content-Length: {len(body)}", "Connection: close") + body)))  # fmt: skip
        own.start(upgrade=False)
        assert {whole(peer).split(b" ", 2)[1] for peer in peers} == {b"200"}


def test_behind_a_front_the_senders_are_told_apart_by_its_word(tmp_path: Path) -> None:
    with Deployed(tmp_path, {"limit_conn pbx_sender": "2"}, API_KEY=API_KEY) as service:
        front = "set_real_ip_from 127.0.0.2;\nreal_ip_header X-Forwarded-For;\n"  # as docs/operations.md has it
        (service.nginx.directory / "own" / "proxy.conf").write_text(front)
        service.start()
        with ExitStack() as stack:

            def through(sender: str) -> socket.socket:
                part = head("/hs/UIScom/in", "Content-Length: 9", f"X-Forwarded-For: {sender}")
                return stack.enter_context(slow(service, "127.0.0.2", part))

            same = [through("2001:db8:1:2:3::1"), through("2001:db8:1:2::2"), through("2001:db8:1:2:ffff::3")]
            other = [through(sender) for sender in ("2001:db8:1:3::1", "192.0.2.1", "192.0.2.2", "192.0.2.3")]
            until(lambda: sum(map(closed, same)) == 1, "a sender's /64 is one sender")
            assert not any(map(closed, other))


def test_metrics_are_for_this_host(deployed: Deployed) -> None:
    assert deployed.get("/metrics").status_code != 403
    with socket.create_connection(("127.0.0.1", deployed.port), 30, ("127.0.0.2", 0)) as peer:
        peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert whole(peer).startswith(b"HTTP/1.1 403 ")


# ------------------------------------------------------------------------------------------------- restarts and deaths


def test_a_restart_under_load_fails_no_request(own: Deployed) -> None:
    with traffic(own) as seen:
        for _ in range(3):
            own.restart()
            goes_on(seen)
    nothing_failed(seen)
    own.settled()
    assert {row["provider_call_id"]: row["events_count"] for row in own.rows(Calls)} == seen.accepted


def test_an_upgrade_and_a_rollback_under_load_fail_no_request(own: Deployed) -> None:
    first = (own.directory / "current").resolve()
    with traffic(own) as seen:
        goes_on(seen)
        own.release(
            "second", {"handlers/health.py": ('{"status": "alive"}', '{"status": "alive", "release": "second"}')}
        )
        assert "release" not in own.get("/healthz").json()
        own.restart()
        assert own.get("/healthz").json() == {"status": "alive", "release": "second"}
        goes_on(seen)
        (own.directory / "back").symlink_to(first)
        (own.directory / "back").rename(own.directory / "current")
        own.restart()
        assert own.get("/healthz").json() == {"status": "alive"}
        goes_on(seen)
    nothing_failed(seen)


def test_workers_that_are_killed_under_load_fail_no_delivery(own: Deployed) -> None:
    log = own.nginx.directory / "pbx-connector.log"

    def repeated() -> int:
        return len(re.findall(r" 200 \d+ [\d.]+ (?:502|-), 200$", log.read_text(), re.MULTILINE))

    with traffic(own, senders=16, pause=0) as seen:
        deadline = time.monotonic() + 60
        while repeated() < 5 and time.monotonic() < deadline:
            for pid in own.workers():  # all at once
                os.kill(pid, signal.SIGKILL)
            goes_on(seen, 50)
    assert repeated() >= 5  # workers did die with requests in their hands
    nothing_failed(seen)
    own.settled()
    assert {row["provider_call_id"]: row["events_count"] for row in own.rows(Calls)} == seen.accepted


def test_a_call_whose_worker_dies_is_not_placed_again(tmp_path: Path) -> None:
    with provider() as there, Deployed(tmp_path, None, **settings(there)) as service:
        there.answer = there.hangs
        service.start()
        answers: list[requests.Response] = []

        def order() -> None:
            said = {"provider": "xvb", "from": "100", "to": NUMBER}
            headers = {"Authorization": f"Bearer {API_KEY}"}
            answers.append(requests.post(f"{service.url}/api/make-call", json=said, headers=headers, timeout=60))

        caller = threading.Thread(target=order)
        caller.start()
        there.was_asked(1)
        killed = service.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        caller.join()
        assert (answers[0].status_code, answers[0].json()["error"]) == (504, "outcome_unknown")
        until(lambda: service.post("/hs/UIScom/in", json.dumps(ring("5600"))).ok, "new workers answer")
        assert len(there.asked) == 1
        assert XVB_TOKEN not in service.nginx_logs()


# ------------------------------------------------------------------------------------------------------------- reloading


def test_a_reload_with_wrong_settings_leaves_the_running_service_alone(own: Deployed) -> None:
    until(lambda: len(own.workers()) == 3, "two that answer are born, and one that forwards")
    workers = own.workers()
    own.write_settings(WORKERS="many", TIMEZONE="Moscow", UIS_KEY="another")
    with traffic(own) as seen:
        done = own.reload()
        goes_on(seen)
        assert own.workers() == workers
        for pid in workers:  # those born after it have the settings in force, not the file's
            os.kill(pid, signal.SIGKILL)
        goes_on(seen)
    nothing_failed(seen)
    assert done.returncode != 0
    assert "WORKERS" in done.stderr
    assert "TIMEZONE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reload_puts_new_settings_in_force_and_fails_no_request(own: Deployed) -> None:
    old = own.workers()
    with traffic(own) as seen:
        goes_on(seen)
        # BIND does not move a service that systemd gave its socket
        own.write_settings(UIS_KEY=f"{UIS_KEY},another", WORKERS="3", BIND="127.0.0.1:1", LOG_LEVEL="debug")
        assert own.reload().returncode == 0
        until(lambda: len(own.workers()) == 4 and not set(old) & set(own.workers()), "new workers")
        goes_on(seen)
    nothing_failed(seen)
    assert own.post("/hs/UIScom/in", json.dumps(ring("5700")), key="another").status_code == 200
    own.write_settings(UIS_KEY="another")
    assert own.reload().returncode == 0
    until(lambda: own.post("/hs/UIScom/in", json.dumps(ring("5701"))).status_code == 401, "the old key is refused")


# ------------------------------------------------------------------------------------------------- what nginx says alone


def test_a_service_that_is_gone_is_502_with_retry_after(own: Deployed) -> None:
    own.stop()
    own.listener.close()
    for gone in (False, True):  # nobody listens; no such socket, which nginx calls critical and logs in full
        if gone:
            own.socket_path.unlink()
        answer = own.post("/hs/UIScom/in", json.dumps(ring("5800")))
        assert (answer.status_code, answer.json()["error"]) == (502, "away")
        assert int(answer.headers["Retry-After"]) > 0
        assert "Повторите" in answer.json()["message"]
    assert UIS_KEY not in own.nginx_logs()


def test_a_service_that_hangs_is_504_with_retry_after(tmp_path: Path) -> None:
    with Deployed(tmp_path, edits={"proxy_read_timeout": "1s"}) as service:
        service.start()
        until(lambda: len(service.workers()) == 3, "all are born")
        for pid in service.workers():
            os.kill(pid, signal.SIGSTOP)
        answer = service.post("/hs/UIScom/in", json.dumps(ring("5900")))
        assert (answer.status_code, answer.json()["error"]) == (504, "late")
        assert int(answer.headers["Retry-After"]) > 0


def test_no_key_number_or_link_is_in_any_log_of_nginx(own: Deployed) -> None:
    said = json.dumps(end("6000", full_record_file_link=LINK))
    stray = [
        f"/hs/UIScom/in%3Fkey={UIS_KEY}",
        f"/hs/UIScom/in/{UIS_KEY}X1",
        f"/{NUMBER}",
        f"/records/{quote(LINK, safe='')}",
        f"//hs/UIScom/in?key={UIS_KEY}",
    ]
    target = f"/hs/UIScom/rec?key={UIS_KEY}&contact_phone_number={NUMBER}&link={quote(LINK)}"

    def errors() -> None:
        own.post("/hs/UIScom/rec", said)
        own.post("/hs/UIScom/rec", said, key=f"{UIS_KEY}-wrong")
        own.post("/hs/UIScom/rec", said, headers={"Referer": f"{own.url}{target}", "User-Agent": UIS_KEY})
        own.post("/hs/UIScom/rec", b" " * 300_000)
        requests.get(f"{own.url}{target}", auth=("any", UIS_KEY), timeout=30)
        for path in stray:
            own.post(path, said)
        for raw in (
            head(target, "Content-Length: 100") + b"{",  # cut
            head(target, "Content-Length: many"),  # 400
            head(target, f"X-Long: {'x' * 70_000}"),  # a head too large
            head(target + "&" + "x" * 70_000),  # 414
            f"POST {target}\r\n\r\n".encode(),  # HTTP/0.9
            f"BAD~ {target} HTTP/1.1\r\n\r\n".encode(),
            f"POST {target} HTTP/9.9\r\n\r\n".encode(),
            head(target).replace(b"\r\nHost: pbx.example.ru", b""),  # no Host
            head(target, "Transfer-Encoding: chunked") + b"zz\r\n",
            head(target, "Upgrade: h2c", "Content-Length: 0"),
        ):
            with connected(own) as peer:
                try:
                    peer.sendall(raw)
                    peer.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                whole(peer)

    errors()
    own.stop()
    own.listener.close()
    errors()  # 502
    own.socket_path.unlink()
    errors()
    own.nginx.__exit__()  # all is written
    logs = own.nginx_logs()
    assert logs.count(" 502 ") > 10
    assert logs.count(" 200 ") > 0
    for secret in (UIS_KEY, NUMBER, NUMBER[1:], LINK, "records.example.ru", "secret-record"):
        assert secret not in logs


def test_guessing_the_operators_password_is_slowed_down_and_deliveries_are_not(deployed: Deployed) -> None:
    with requests.Session() as session:
        pages = {session.get(f"{deployed.url}/calls", timeout=30).status_code for _ in range(200)}
        assert 429 in pages
        answers = {session.post(f"{deployed.url}/hs/UIScom/in", data=b"{}", timeout=30).status_code for _ in range(200)}
        assert answers == {401}


# ----------------------------------------------------------------------------------------------------- what nginx.conf says

CONF = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


def test_slow_senders_and_takers_are_let_go_after_ten_seconds() -> None:
    for directive in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        assert re.findall(rf"(?m)^ +{directive} (.*);", CONF) == ["10s"]
