"""deploy/nginx-front.conf: two nodes, each with its own nginx, behind a third one; whichever part of a node dies, no sender
notices."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas
from app import create_app
from config import FeedSettings, Settings
from tests.deploy.test_nginx import goes_on, nothing_failed
from tests.rig import needs, nginx
from tests.rig.deployed import Deployed
from tests.rig.nginx import Nginx
from tests.rig.node import ring
from tests.rig.service import ROOT, UIS_KEY
from tests.rig.traffic import traffic

API_KEY = "an-api-key-of-1c-xx"
FRONT = (ROOT / "deploy" / "nginx-front.conf").read_text(encoding="utf-8")
FROM = "127.0.0.9"  # a sender that is none of the proxies


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Deployed]]:
    needs.present(nginx.missing())
    directory = tmp_path_factory.mktemp("nodes")
    with Deployed(directory / "a", API_KEY=API_KEY) as first, Deployed(directory / "b", API_KEY=API_KEY) as second:
        for node in (first, second):
            (node.nginx.directory / "own" / "proxy.conf").write_text(
                "set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n"
            )
            node.start()
        yield [first, second]


@pytest.fixture(scope="module")
def front(nodes: list[Deployed], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    directory = tmp_path_factory.mktemp("front")
    text = FRONT.replace("listen [::]:80;", "").replace("listen 80;", "listen 127.0.0.1:%PORT%;")
    for address, node in zip(("10.0.0.11:80", "10.0.0.12:80"), nodes, strict=True):
        text = text.replace(address, f"127.0.0.1:{node.port}")
    with Nginx(
        directory,
        text.replace("/var/log/nginx", str(directory))
        .replace("fail_timeout=30s", "fail_timeout=1s")
        .replace("proxy_read_timeout 10s", "proxy_read_timeout 1s"),
    ) as made:
        yield made


def send(front: Nginx, method: str, path: str, body: object, key: str = "") -> tuple[int, str]:
    """A request of `FROM`, who says that he is somebody else."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60, source_address=(FROM, 0))
    headers = {"X-Forwarded-For": "203.0.113.7"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request(method, path, json.dumps(body), headers)
    found = connection.getresponse()
    text = found.read().decode()
    connection.close()
    return found.status, text


def test_no_sender_notices_the_death_of_a_connector_or_of_a_nodes_nginx(nodes: list[Deployed], front: Nginx) -> None:
    first, second = nodes
    own_url, first.url = first.url, front.url  # where traffic() sends
    hidden = second.socket_path.with_name("hidden")
    try:
        with traffic(first) as seen:
            goes_on(seen)
            assert second.deliveries()
            second.kill()  # systemd's socket holds what comes to it
            goes_on(seen, 100)
            second.socket_path.rename(hidden)  # its nginx answers 502
            goes_on(seen, 100)
            second.nginx.__exit__()  # nobody answers
            goes_on(seen, 100)
    finally:
        first.url = own_url
    hidden.rename(second.socket_path)
    second.start(upgrade=False)
    second.nginx.__enter__()
    nothing_failed(seen)
    assert len(first.deliveries()) + len(second.deliveries()) >= seen.count


def test_a_sender_has_his_own_address_through_two_proxies(nodes: list[Deployed], front: Nginx) -> None:
    assert send(front, "POST", f"/hs/UIScom/in?key={UIS_KEY}", ring("9001")) == (200, '{"status": "accepted"}\n')
    found = [stored for node in nodes for stored in node.deliveries() if b'"9001"' in stored.delivery.body]
    assert [stored.delivery.client_address for stored in found] == [FROM]
    assert UIS_KEY not in "".join(path.read_text(errors="replace") for path in front.directory.glob("*.log"))


def test_a_call_is_placed_by_one_node_and_never_by_both(nodes: list[Deployed], front: Nginx) -> None:
    first, second = nodes
    order = {"provider": "uis", "from": "301", "to": "79201119613"}
    assert send(front, "POST", "/api/make-call", order, API_KEY)[0] != 504
    asked = len(second.nginx_logs())
    hidden = first.socket_path.with_name("hidden")
    first.socket_path.rename(hidden)  # its nginx answers for it
    status, text = send(front, "POST", "/api/make-call", order, API_KEY)
    assert (status, json.loads(text)["error"]) == (504, "outcome_unknown")
    assert len(second.nginx_logs()) == asked
    assert send(front, "GET", "/api/changes?after=0", None, API_KEY)[0] == 200  # the other one
    hidden.rename(first.socket_path)


def test_every_page_of_the_operators_is_one_to_both_sites(tmp_path: Path) -> None:
    """What page.allow shuts, the rate is limited of and plain http is redirected from."""
    app = create_app(Settings(data_dir=tmp_path, feeds={name: FeedSettings(name) for name in schemas.feeds()}))
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("page.")]
    paths = [rule.rule.replace("<int:id>", "1") for rule in rules if rule.endpoint != "page.static"]
    assert len(paths) > 8
    site = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for pattern in (*re.findall(r'location ~ "(\S+)" ', site + FRONT), *re.findall(r'"~\^http(/\S+)"', site)):
        assert [path for path in paths if not re.search(pattern, path)] == [], pattern
