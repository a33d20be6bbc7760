"""Recordings are links only to hosts that their provider is known to use, in the call log and on the page."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

import schemas
from models import CallAttributes, CallRecordings
from schemas.fields import host_of, is_of
from tests.rig.node import end
from tests.rig.service import XVB_KEY, Service, until

PASSWORD = "a-long-password"
OURS = {f"{feed.upper()}_RECORDING_HOSTS": "" for feed in schemas.feeds()}


@pytest.mark.parametrize(
    "url",
    [
        "https://app.uiscom.ru/system/media/talk/1/a/",
        "http://uiscom.ru/a",
        "https://APP.UISCOM.RU:8443/a?b=c#d",
        "https://media6.uiscom.ru./a",
    ],
)
def test_a_host_is_one_of_a_domain_or_below_it(url: str) -> None:
    assert is_of(host_of(url), ("uiscom.ru",))


@pytest.mark.parametrize(
    "url",
    [
        "https://eviluiscom.ru/a",
        "https://uiscom.ru.evil.example/a",
        "https://app.uiscom.ru@evil.example/a",
        "https://evil.example\\@app.uiscom.ru/a",
        "https://evil.example#@app.uiscom.ru/a",
        "https://user:password@app.uiscom.ru/a",
        "https://app.uiscom.ru:443@evil.example/a",
        "https://app.uiscom.ru:port/a",
        "https://app.uisсom.ru/a",  # a Cyrillic с
        "https://app.uis%63om.ru/a",
        "https://xn--uiscom-9yf.ru/a",
        "https://evil.example\t.uiscom.ru/a",
        "https:///uiscom.ru/a",
        "https:uiscom.ru",
        "//uiscom.ru/a",
        "javascript://uiscom.ru/%0aalert(1)",
        "ftp://uiscom.ru/a",
        "https://[::1]/a",
        "https://.uiscom.ru/a",
        "",
    ],
)
def test_what_only_looks_like_it_is_not(url: str) -> None:
    assert not is_of(host_of(url), ("uiscom.ru",))


def recorded(service: Service, call: str, **said: object) -> dict[str, object]:
    service.post("/hs/UIScom/rec", json.dumps(end(call, **said)))
    return service.call(call, 1)


def look(service: Service, path: str) -> str:
    return requests.get(f"{service.url}{path}", auth=("", PASSWORD), timeout=30).text


def test_a_link_to_another_host_is_text_in_the_call_log_and_on_the_page(tmp_path: Path, database_url: str) -> None:
    ours, evil = "https://app.comagic.ru/system/media/talk/1/a/", "https://uiscom.ru.evil.example/a"
    with Service(tmp_path / "s", database_url, OPERATOR_PASSWORD=PASSWORD, **OURS) as service:
        service.start()
        good = recorded(service, "11", full_record_file_link=ours)
        assert good["recording_url"] == ours
        assert f'<a href="{ours}"' in look(service, f"/calls/{good['id']}")
        bad = recorded(service, "12", full_record_file_link=evil)
        assert bad["recording_url"] == ""
        assert [row["url"] for row in service.rows(CallRecordings, call_id=bad["id"])] == [""]
        attributes = {row["name"]: row["content"] for row in service.rows(CallAttributes, call_id=bad["id"])}
        assert attributes["recording_elsewhere"] == evil
        for path in (f"/calls/{bad['id']}", "/inbox/2"):
            assert evil in look(service, path)
            assert f'href="{evil}' not in look(service, path)
        service.logs("a recording is kept as text, its host 'uiscom.ru.evil.example' is not known")
        service.stop()
        service.start(UIS_RECORDING_HOSTS="evil.example")
        assert recorded(service, "13", full_record_file_link=evil)["recording_url"] == evil


def test_the_first_host_of_an_xvb_is_proposed_and_confirmed_once(tmp_path: Path) -> None:
    link = "https://pbx-7.example.org/rec/1.mp3"

    def completed(call: str, url: str = link) -> None:
        body = {"access_code": "10019", "cmd": "event", "event": "COMPLETED", "callid": call, "type": "in"}
        said = urlencode({**body, "phone": "79201119613", "status": "Success", "record_link": url})
        assert service.post("/crm-api", said, key=XVB_KEY).ok

    with Service(tmp_path / "s", OPERATOR_PASSWORD=PASSWORD, **OURS) as service:
        service.start()
        completed("call-1")
        assert service.call("call-1", 1)["recording_url"] == ""
        assert "pbx-7.example.org" in look(service, "/service")
        form, proof = {"feed": "xvb", "host": "pbx-7.example.org"}, {"Sec-Fetch-Site": "same-origin"}
        forged = {**form, "host": "evil.example"}
        for data, headers, status in ((form, {}, 403), (forged, proof, 400), (form, proof, 200)):
            answer = requests.post(
                f"{service.url}/recordings", data=data, headers=headers, auth=("", PASSWORD), timeout=30
            )
            assert answer.status_code == status
        until(lambda: service.call("call-1", 1)["recording_url"] == link, "the link that came before is one now")
        completed("call-2", "https://evil.example/2.mp3")
        assert service.call("call-2", 1)["recording_url"] == ""
        assert "evil.example" not in look(service, "/service").partition("Последние уведомления")[0]


def test_the_host_of_xvb_url_is_known(tmp_path: Path) -> None:
    with Service(tmp_path / "s", XVB_URL="https://pbx-7.example.org/commoncrm/1", **OURS) as service:
        service.start()
        body = {"access_code": "1", "cmd": "event", "event": "COMPLETED", "callid": "call-1", "type": "in"}
        link = "https://pbx-7.example.org/rec/1.mp3"
        assert service.post("/crm-api", urlencode({**body, "record_link": link}), key=XVB_KEY).ok
        assert service.call("call-1", 1)["recording_url"] == link
