"""Two feeds that nothing names: one that does all of the protocol, and a relative of XVB's. Both have the key in the body,
and nothing shows it."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from inbox import DEAD, IGNORED
from models import Calls
from schemas.body_key import split_body
from tests.rig.service import Service

TOYS = Path(__file__).resolve().parent.parent / "toys"
KEY = 'тайна/"7+'
PASSWORD = "operator-password"
CONTRIBUTING = (TOYS.parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
GUIDE = re.findall(r"(?ms)^```python\n(.*?)^```", CONTRIBUTING)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose code has the toys' files, and no other change."""
    directory = tmp_path_factory.mktemp("toys")
    keys = {"TOY_KEY": KEY, "VATS_KEY": KEY, "ACME_KEY": "try", "OPERATOR_PASSWORD": PASSWORD}
    keys["VATS_RECORDING_HOSTS"] = "vats.example"
    with Service(directory / "service", **keys) as service:
        service.copy_code(directory / "code", {})
        for file in TOYS.glob("*/*"):
            if file.suffix in (".py", ".txt") and file.stem != "__init__":
                shutil.copy(file, directory / "code" / file.parent.name / file.name)
        for name, text in zip(("schemas/acme.py", "handlers/acme.py"), GUIDE, strict=True):
            (directory / "code" / name).write_text(text, encoding="utf-8")
        yield service.start()


def post(service: Service, path: str, key: str | None = KEY, **fields: Any) -> requests.Response:
    """A toy's event, its key in the body."""
    field = {"toy": "secret", "vats": "crm_token"}[path.split("/")[1]]
    body = {**fields, **({field: key} if key is not None else {})}
    return requests.post(service.url + path, json=body, timeout=10)


def nowhere(service: Service, *texts: str) -> None:
    """The key is in none of the texts, nor in the log, nor in the inbox's files."""
    service.settled()
    spelled = [KEY, quote(KEY), json.dumps(KEY)[1:-1], json.dumps(KEY, ensure_ascii=False)[1:-1]]
    for text in (*texts, service.log()):
        assert not any(one in text for one in spelled)
    for file in (service.data_dir / "inbox").glob("inbox.db*"):
        assert not any(one.encode() in file.read_bytes() for one in spelled)


def test_a_toy_feed_from_its_first_notification_to_the_row(service: Service) -> None:
    curl = service.flask("feeds", "show", "toy", "--curl").stdout
    found = re.search(r"-d '(.*)' '(http.*)'", curl)
    assert found
    assert found[2] == f"{service.url}/toy/call"
    assert requests.post(found[2], data=found[1].encode(), timeout=10).json() == {"status": "accepted"}
    fields = json.loads(found[1])
    assert post(service, "/toy/end", **{**fields, "what": "end", "secret": KEY}).json() == {"status": "accepted"}
    row = service.call(fields["id"], 2)
    assert (row["provider"], row["state"], row["client_number"]) == ("toy", "ended", "79000000000")
    hashes = {stored.delivery.key_hash for stored in service.deliveries(feed="toy")}
    assert hashes == {hashlib.sha256(KEY.encode()).hexdigest()[:8]}
    shown = [
        service.flask("inbox", "show", str(stored.delivery.id)).stdout for stored in service.deliveries(feed="toy")
    ]
    with requests.Session() as person:
        person.auth = ("", PASSWORD)
        pages = [
            person.get(f"{service.url}/inbox/{stored.delivery.id}", timeout=10).text
            for stored in service.deliveries(feed="toy")
        ]
    nowhere(service, *shown, *pages, service.flask("calls", "show", str(row["id"])).stdout)


def test_the_key_is_asked_for_and_may_change_without_a_second_event(service: Service) -> None:
    event = {"id": "again", "what": "ring", "at": "2024-03-01 10:00:00", "client": "79000000000"}
    for wrong in ("wrong", "", "тайна", "\ud800", None):
        body = json.dumps({**event, **({} if wrong is None else {"secret": wrong})})
        answer = requests.post(f"{service.url}/toy/call", data=body, timeout=10)
        assert (answer.status_code, "secret" in answer.json()["message"]) == (401, True)
    assert post(service, "/toy/call", **event).ok
    in_url = requests.post(
        f"{service.url}/toy/call?key={quote(KEY)}", json={**event, "secret": "what else"}, timeout=10
    )
    assert in_url.json() == {"status": "accepted"}
    as_password = requests.post(
        f"{service.url}/toy/call", json=event, auth=("", KEY.encode().decode("latin-1")), timeout=10
    )
    assert as_password.json() == {"status": "accepted"}
    assert service.call("again")["events_count"] == 1


def test_a_body_that_cannot_be_read_is_kept_without_its_key(service: Service) -> None:
    broken = f'{{"secret": {json.dumps(KEY)}, "id": "x" "what": "ring"}}'
    answer = requests.post(f"{service.url}/toy/call", data=broken.encode(), timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_json")
    stored = next(stored for stored in service.deliveries(feed="toy") if stored.outcome.state == DEAD)
    assert '"secret": ""' in stored.delivery.body.decode()
    nowhere(service, answer.text, stored.outcome.detail, service.flask("inbox", "show", str(stored.delivery.id)).stdout)


def test_the_two_files_of_contributing_make_a_row(service: Service) -> None:
    found = re.search(r"curl -d '(.*)' 'http://127.0.0.1:8000(.*)'", CONTRIBUTING)
    assert found
    assert requests.post(service.url + found[2], data=found[1].encode(), timeout=10).json() == {"status": "accepted"}
    row = service.call("1")
    assert (row["provider"], row["state"], row["client_number"]) == ("acme", "ringing", "79000000000")
    assert str(row["started_at"]) == "2026-03-01 10:00:00"
    assert "pbx-connector inbox show" not in service.flask("feeds", "doctor", "acme", check=False).stderr


def test_the_page_of_a_toy_is_its_text(service: Service) -> None:
    shown = service.flask("feeds", "show", "toy").stdout
    assert f"«Адрес»: {service.url}/toy/{{}}\n" in shown
    assert f'"secret": "{KEY}"\n' in shown
    assert '"id": {{id}},' in shown
    generic = service.flask("feeds", "show", "vats").stdout
    assert generic == f"«Адрес вашей CRM»: {service.url}/vats\nКлюч (crm_token в теле запроса): {KEY}\n"


def test_the_doctor_knows_what_the_toys_module_knows(service: Service) -> None:
    for number in range(3):
        post(service, "/toy/end", id=f"d{number}", what="ring", at="{{at}}")
    post(service, "/toy/call", id="d3", what="ring")
    service.settled()
    done = service.flask("feeds", "doctor", "toy", "--json", check=False).stdout
    found = {one["code"]: one for one in map(json.loads, done.splitlines())}
    assert found["wrong_url"]["paste"] == "…/toy/call"
    assert '"at": "{{at}}"' in found["left"]["paste"]
    assert found["wrong_url"]["notification"] == "без названия (тип события «Начало», адрес …/end)"
    assert found["no_client"]["paste"] == '"client": {{client}}'
    assert "pbx-connector feeds show toy" in found["refused.wrong_key"]["where"]
    assert "secret в теле запроса" in found["refused.no_key"]["where"]
    assert "Способ" not in done
    assert KEY not in done
    assert "vats" in service.flask("feeds", "doctor", "vats", check=False).stdout


def test_a_toy_is_tested_through_its_address(service: Service) -> None:
    others = {f"{name.upper()}_KEY": "" for name in ("hooktype", "mgerm", "mtt", "uis", "xvb", "vats", "acme")}
    said = service.flask("check", "--offline", "--send", check=True, **others).stdout
    assert f"self-test: POST {service.url}/toy/call (toy)" in said
    assert "of this inbox" in said
    assert service.deliveries(feed="toy")[-1].outcome.state == IGNORED
    nowhere(service, said)


def test_a_relative_of_xvbs_is_understood_and_asks_whose_contact_calls(service: Service) -> None:
    event = {"cmd": "event", "callid": "v1", "phone": "79201119613", "diversion": "74951234567", "ext": "101"}
    for kind in ("INCOMING", "ACCEPTED", "COMPLETED"):
        answer = requests.post(f"{service.url}/vats", data={**event, "type": kind, "crm_token": KEY}, timeout=10)
        assert answer.json() == {"status": "accepted"}
    history: dict[str, Any] = {
        **event,
        "cmd": "history",
        "type": "in",
        "status": "Success",
        "duration": 20,
        "start": "20240401T090000Z",
    }
    assert post(service, "/vats", **history, link="https://vats.example/1.mp3").json() == {"status": "accepted"}
    row = service.call("v1", 4)
    assert (row["provider"], row["direction"], row["line_number"]) == ("vats", "in", "74951234567")
    assert (row["disposition"], row["talk_seconds"], row["employee_ext"]) == ("answered", 20, "101")
    assert row["recording_url"] == "https://vats.example/1.mp3"
    assert post(service, "/vats", cmd="contact", phone="79201119613").json() == {}
    assert post(service, "/vats", "wrong", cmd="contact", phone="79201119613").status_code == 401
    get = requests.get(
        f"{service.url}/vats", params={**event, "type": "OUTGOING", "callid": "v2", "crm_token": KEY}, timeout=10
    )
    assert get.json() == {"status": "accepted"}
    assert service.call("v2")["direction"] == "out"
    assert len(service.rows(Calls, provider="vats")) == 2
    nowhere(service)


def test_a_wrong_feed_stops_the_start_with_one_sentence(service: Service, tmp_path: Path) -> None:
    with Service(tmp_path / "service") as wrong:
        wrong.copy_code(tmp_path / "code", {"schemas/mtt.py": ('ADDRESS = "/mtt/events"', 'ADDRESS = "mtt/events"')})
        done = wrong.flask("check", check=False)
        assert done.returncode != 0
        assert "schemas/mtt.py: ADDRESS must begin with /" in done.stderr
        assert "Traceback" not in done.stderr
        with pytest.raises(AssertionError, match=r"schemas/mtt\.py: ADDRESS must begin with /"):
            wrong.start(upgrade=False)
        wrong.process = None  # it has ended
        assert "Traceback" not in wrong.log()
        (tmp_path / "code" / "handlers" / "xvb.py").unlink()
        (tmp_path / "code" / "schemas" / "mtt.py").unlink()
        (tmp_path / "code" / "setup" / "mtt.py").unlink()
        (tmp_path / "code" / "handlers" / "mtt.py").unlink()
        assert "handlers/xvb.py is missing" in wrong.flask("check", check=False).stderr


@pytest.mark.parametrize(
    ("body", "left", "keys"),
    [
        ('{"a": 1, "crm_token": "k", "b": 2}', '{"a": 1, "crm_token": "", "b": 2}', ["k"]),
        ('{"CrmToken":12}', '{"CrmToken":""}', ["12"]),
        ('{"crm\\u005ftoken":"\\u006b\\""}', '{"crm\\u005ftoken":""}', ['k"']),
        ('{"x": {"crm_token": "k"}, "crm_token": "l"}', '{"x": {"crm_token": ""}, "crm_token": ""}', ["k", "l"]),
        ('{"crm_token": "k', '{"crm_token": ""', ["k"]),
        ("a=1&crm_token=%6B&b=2", "a=1&b=2", ["k"]),
        ("crm%5Ftoken=k", "", ["k"]),
        ('{"crm_token": null}', '{"crm_token": ""}', ["null"]),
        ('{"crm_tokens": "k"}', '{"crm_tokens": "k"}', []),
        ("", "", []),
    ],
)
def test_the_key_is_taken_out_of_a_body_however_it_is_written(body: str, left: str, keys: list[str]) -> None:
    assert split_body(body.encode(), "crm_token") == (left.encode(), keys)


def test_bytes_that_are_no_text_are_kept_as_they_came() -> None:
    assert split_body(b'{"a": "\xff\xfe", "k": "\xff"}', "k")[0] == b'{"a": "\xff\xfe", "k": ""}'
    assert split_body(b"\x00\xff", "k") == (b"\x00\xff", [])
