"""check --send: posted through PUBLIC_URL as a provider would, followed into the inbox; each failure says what to
mend."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import setup
from config import Stop
from inbox import IGNORED
from models import Calls
from setup import selftest
from tests.rig import needs, nginx
from tests.rig.nginx import Nginx
from tests.rig.node import Node
from tests.rig.service import KEYS, UIS_KEY, Service, free_port

PASS = "server {{ listen 127.0.0.1:%PORT%{tls}; location / {{ proxy_pass http://127.0.0.1:{port}; {more} }} }}"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("self-test")) as service:
        yield service.start()


@pytest.fixture
def _nginx() -> None:
    needs.present(nginx.missing())
    needs.program("openssl", "openssl")


ONLY_UIS = {f"{name.upper()}_KEY": "" for name in KEYS if name != "uis"}


def failed(service: Service, **environment: str) -> str:
    """What `pbx-connector check --send` finds wrong; it prints no key."""
    done = service.flask("check", "--offline", "--send", check=False, **{**ONLY_UIS, **environment})
    assert done.returncode == 1
    assert UIS_KEY not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("self-test: WRONG: ")]
    return line.removeprefix("self-test: WRONG: ")


def test_a_service_that_is_well_is_told_so_and_no_call_appears(own: Service) -> None:
    before = len(own.deliveries())
    said = own.flask("check", "--offline", "--send", check=True, **ONLY_UIS).stdout
    assert f"self-test: POST {own.url}/hs/UIScom/in?key=*** (uis)" in said
    assert UIS_KEY not in said
    (stored,) = own.deliveries()[before:]
    assert f"it is delivery {stored.delivery.id} of this inbox" in said
    assert "the way from the provider is not tested" in said
    assert stored.outcome.state == IGNORED
    own.settled()
    assert own.rows(Calls) == []


@pytest.mark.parametrize("feed", [name for name, entered in setup.feeds().items() if entered.self_test])
def test_every_feed_that_has_a_self_test_can_be_tested_so(feed: str, own: Service) -> None:
    others = {f"{name.upper()}_KEY": "" for name in KEYS if name != feed}
    said = own.flask("check", "--offline", "--send", check=True, **others).stdout
    assert f"({feed})" in said
    assert "of this inbox" in said
    own.settled()
    assert own.deliveries(feed=feed)[-1].outcome.state == IGNORED
    assert own.rows(Calls) == []


def test_check_alone_sends_nothing(own: Service) -> None:
    before = len(own.deliveries())
    assert "self-test:" not in own.flask("check").stdout
    assert len(own.deliveries()) == before


def test_what_is_set_wrong_at_our_own_side_is_said(own: Service, tmp_path: Path) -> None:
    assert "another key is asked for there: restart the service after a change of UIS_KEY" in failed(
        own, UIS_KEY="other"
    )
    closed = failed(own, **{f"{name.upper()}_KEY": "" for name in KEYS})
    assert closed == f"no open feed has a self-test: set one of {', '.join(f'{name.upper()}_KEY' for name in KEYS)}"
    nobody = failed(own, PUBLIC_URL=f"http://127.0.0.1:{free_port()}")
    assert "nobody listens at 127.0.0.1" in nobody
    assert "is not found in DNS" in failed(own, PUBLIC_URL="https://connector.invalid")
    assert "no TLS is spoken there" in failed(own, PUBLIC_URL=own.url.replace("http:", "https:"))
    with Service(tmp_path, UIS_KEY="", UIS_ALLOW="192.0.2.0/24") as other:
        other.start()
        assert "403 feed_closed: the feed is closed there" in failed(own, PUBLIC_URL=other.url)
        other.stop()
        other.start(UIS_KEY=UIS_KEY)
        assert "UIS_ALLOW does not list the address" in failed(own, PUBLIC_URL=other.url)


def test_an_address_of_another_node_is_noticed(own: Service, tmp_path: Path) -> None:
    with Service(tmp_path) as other:
        other.start()
        said = failed(own, PUBLIC_URL=other.url)
    assert "it was answered, but it is not in this inbox" in said
    assert "PUBLIC_URL leads to another node" in said


# ------------------------------------------------------------------------------------------------------ a proxy in front


@pytest.mark.usefixtures("_nginx")
def test_through_nginx(own: Service, tmp_path: Path) -> None:
    with Nginx(tmp_path / "well", PASS.format(port=own.port, tls="", more="")) as proxy:
        assert (
            "of this inbox"
            in own.flask("check", "--offline", "--send", check=True, **ONLY_UIS, PUBLIC_URL=proxy.url).stdout
        )
    with Nginx(tmp_path / "away", PASS.format(port=free_port(), tls="", more="")) as proxy:
        said = failed(own, PUBLIC_URL=proxy.url)
        assert said.startswith("502 from nginx/")
        assert "the proxy answers, the connector behind it does not" in said
    with Nginx(tmp_path / "other", "server { listen 127.0.0.1:%PORT%; location / { return 404; } }") as proxy:
        said = failed(own, PUBLIC_URL=proxy.url)
        assert "404 from nginx/" in said
        assert "PUBLIC_URL leads to another site, or the proxy does not pass /" in said
    moved = "server { listen 127.0.0.1:%PORT%; location / { return 301 https://$host$request_uri; } }"
    with Nginx(tmp_path / "moved", moved) as proxy:
        said = failed(own, PUBLIC_URL=proxy.url)
        assert said.startswith("301, a redirect to https://127.0.0.1/hs/UIScom/in: no provider follows one")
    password = PASS.format(port=own.port, tls="", more="deny all;")
    with Nginx(tmp_path / "refuses", password) as proxy:
        assert "the proxy itself asks for a password or refuses" in failed(own, PUBLIC_URL=proxy.url)
    dropped = f"server {{ listen 127.0.0.1:%PORT%; location / {{ proxy_pass http://127.0.0.1:{own.port}$uri; }} }}"
    with Nginx(tmp_path / "dropped", dropped) as proxy:
        assert "401 no_key: the key did not arrive" in failed(own, PUBLIC_URL=proxy.url)


@pytest.mark.usefixtures("_nginx")
def test_a_certificate_that_nobody_knows_is_named(own: Service, tmp_path: Path) -> None:
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    tls = f"ssl_certificate {tmp_path}/cert.pem; ssl_certificate_key {tmp_path}/key.pem;"
    with Nginx(tmp_path / "tls", tls + PASS.format(port=own.port, tls=" ssl", more="")) as proxy:
        said = failed(own, PUBLIC_URL=proxy.url.replace("http://127.0.0.1", "https://localhost"))
    assert said.startswith("TLS: the certificate is not trusted: self-signed certificate")


# ---------------------------------------------------------------------------------------------- a server of another kind


@contextlib.contextmanager
def stranger(status: int, body: str, content_type: str = "text/html") -> Iterator[str]:
    """A web server that answers every POST so; its address."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "Stranger", ""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            200,
            "<html><title>Наш\x1b[31m сайт</title></html>",
            "200 from Stranger «Наш [31m сайт»: not the connector's answer",
        ),
        (200, '{"status": "ok"}', "200 from Stranger: not the connector's answer"),
        (200, "[]", "PUBLIC_URL leads to another site"),
        (500, "", "500 from Stranger: not the connector's answer"),
        (503, "busy", "the proxy answers, the connector behind it does not"),
        (503, '{"error": "unavailable", "message": "…"}', "the inbox there does not store"),
        (418, '{"error": "teapot", "message": "звоните 79201119613"}', "418 teapot: звоните 7920***9613"),
        (413, "<html>", "client_max_body_size"),
    ],
)
def test_another_ones_answer_is_told_from_ours(status: int, body: str, sentence: str, own: Service) -> None:
    with stranger(status, body) as url:
        assert sentence in failed(own, PUBLIC_URL=url)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = Node(tmp_path, "sqlite:///none", public_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Stop, match=r"no answer from 127\.0\.0\.1 within 0\.3 s: a firewall"):
            list(selftest.send(node.settings, node.inbox))


def test_an_answer_that_breaks_off_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        node = Node(tmp_path, "sqlite:///none", public_url=f"http://127.0.0.1:{rude.getsockname()[1]}")

        def hang_up() -> None:
            connection, _ = rude.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Stop, match=r"127\.0\.0\.1 broke the connection off"):
            list(selftest.send(node.settings, node.inbox))
        thread.join()
