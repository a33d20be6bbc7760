"""The commands, on the real thing, as the sysadmin and the set-up person type them."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

import config
import models
import schemas
import setup
from cli import nginx
from inbox import DEAD, FORWARDED
from models import Calls
from schemas import event as words
from schemas.reading import Delivery, canonical
from setup import uis
from tests.rig.node import Node, end, ring
from tests.rig.service import UIS_KEY, Service

IN, REC = "/hs/UIScom/in", "/hs/UIScom/rec"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("commands")) as service:
        yield service.start()


def test_the_program_says_its_name_its_version_and_no_command_of_flask(tmp_path: Path) -> None:
    service = Service(tmp_path / "service")
    service.copy_code(tmp_path / "code", {})
    (tmp_path / "code" / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / "code" / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "code" / "pbx-connector")

    def run(*arguments: str) -> str:
        command = [str(tmp_path / "link"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=service.environment, capture_output=True, text=True).stdout

    assert run("--version") == f"pbx-connector {config.VERSION}\n"
    help = run("-h")
    assert "Usage: pbx-connector " in help
    assert "Usage: pbx-connector db " in run("db", "-h")
    assert not {"run", "shell", "routes"} & set(re.findall(r"(?m)^  (\w+)", help))
    run("db", "upgrade")
    run("backup", "copies")  # of the directory that one is in
    assert [path.name for path in (tmp_path / "copies").iterdir() if not path.name.startswith(".")]


def test_db_upgrade_and_status(tmp_path: Path) -> None:
    service = Service(tmp_path)
    before = service.flask("db", "status", check=False)
    assert before.returncode == 1
    assert "run pbx-connector db upgrade" in before.stderr
    assert "applied 0001_call_log" in service.flask("db", "upgrade").stdout
    assert "up to date" in service.flask("db", "upgrade").stdout
    assert "0001_call_log" in service.flask("db", "status").stdout


def test_check_says_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    service = Service(tmp_path, MGERM_KEY="")
    done = service.flask("check", check=False)
    assert done.returncode == 1
    assert "run pbx-connector db upgrade" in done.stdout
    service.flask("db", "upgrade")
    well = service.flask("check", "--offline")
    assert f"schema version {models.VERSION}" in well.stdout
    assert re.search("closed feeds .*mgerm", well.stdout)
    assert "nothing forwards it now" in well.stdout


def test_check_says_what_to_do_with_a_newer_call_log(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.flask("db", "upgrade")
    newer = models.VERSION + 1
    with closing(sqlite3.connect(service.data_dir / "calllog" / "calls.db")) as db, db:
        db.execute("UPDATE schema_info SET version = ?, readable_by = ?", (newer, newer))
    said = service.flask("check", "--offline", check=False).stdout
    assert (
        f"schema version {newer}, this release writes {models.VERSION}: it belongs to a newer release: install" in said
    )
    assert "db upgrade" not in said


def test_a_port_that_is_taken_is_told_with_the_settings_name(own: Service, tmp_path: Path) -> None:
    other = Service(tmp_path, BIND=f"127.0.0.1:{own.port}")
    with pytest.raises(AssertionError, match=f"BIND=127.0.0.1:{own.port} cannot be used .*: set another BIND"):
        other.start(upgrade=False)


OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")  # by a terminal


def test_no_command_prints_what_a_terminal_obeys_nor_without_end(own: Service) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"
    said = {"call_session_id": 8801, "contact_full_name": hostile, "tag": hostile * 200, hostile[:4]: "x"}
    assert own.post(IN, json.dumps(said, ensure_ascii=False)).ok
    own.post(IN, (hostile * 5000).encode())
    call, dead = own.call("8801"), own.deliveries(state=DEAD)[-1].delivery.id
    alive = own.deliveries(state=FORWARDED)[-1].delivery.id
    for command in (
        ["inbox", "list"],
        ["inbox", "list", "--json"],
        ["inbox", "show", str(dead)],
        ["inbox", "show", str(alive), "--json"],
        ["calls", "list"],
        ["calls", "list", "--json"],
        ["calls", "show", str(call["id"])],
        ["feeds", "doctor", "uis"],
        ["check"],
    ):
        done = own.flask(*command, check=False)
        found = OBEYED.findall(done.stdout + done.stderr)
        assert not found, (command, found[:5])
        assert len(done.stdout) < 200_000 or "--json" in command
    shown = own.flask("inbox", "show", str(dead)).stdout
    assert "‹U+001B›]0;owned‹U+0007›" in shown
    assert f"pbx-connector inbox show {dead} --json" in shown
    whole = json.loads(own.flask("inbox", "show", str(dead), "--json").stdout)
    assert whole["body"] == (hostile * 5000)


@pytest.mark.parametrize(
    ("line", "kept", "reason"),
    [
        (
            '[error] 7#7: *12 limiting connections by zone "pbx_sender", client: 192.0.2.7, server: _, request: "GET /?key',
            "limiting connections by zone, client 192.0.2.7",
            "too_many_connections",
        ),
        (
            "[alert] 7#7: 5 worker_connections are not enough",
            "5 worker_connections are not enough",
            "no_connections_left",
        ),
        (
            '[error] 7#7: *1 open() "/KEY, client: x" failed (2: No), client: 2001:db8::1, server: _, request: "GET /KEY"',
            "open(), client 2001:db8::1",
            "",
        ),
        (
            "[crit] 7#7: *1 connect() to unix:/s failed (2: No) while connecting to upstream, client: 192.0.2.7, server: K",
            "connect() to unix:/s failed (2: No) while connecting to upstream, client 192.0.2.7",
            "",
        ),
        ("key=KEY", "a line that is not nginx's", ""),
    ],
)
def test_of_a_line_of_nginx_nothing_is_kept_that_it_quotes(line: str, kept: str, reason: str) -> None:
    prefix = "" if line.startswith("key") else "<187>Nov 25 18:48:15 pbx_connector: 2026/11/25 18:48:15 "
    assert nginx.understood(f"{prefix}{line}".encode()) == (kept, reason)


def test_check_beside_a_running_service(own: Service) -> None:
    assert "forwarded by a running service" in own.flask("check").stdout


def test_calls_list_and_show_tell_why_a_row_says_what_it_says(own: Service) -> None:
    own.post(IN, json.dumps(ring("700", notification_name="Входящий звонок", cpn_region_name="Тула")))
    own.post(
        REC, json.dumps({**end("700"), "is_lost": True, "lost_reason": "Не дождался", "notification_name": "Конец"})
    )
    row = own.call("700", 2)
    assert "79201119613" in own.flask("calls", "list").stdout
    listed = [json.loads(line) for line in own.flask("calls", "list", "--json").stdout.splitlines()]
    assert listed[0]["disposition"] == "missed"
    shown = own.flask("calls", "show", str(row["id"])).stdout
    assert re.search(r"disposition +missed +event 2", shown)
    assert re.search(r"state +ended +event 2", shown)
    assert re.search(r"event 1: .* ringing uis «Входящий звонок».*delivery \d+ \(in\)", shown)
    assert re.search(r"event 2: .* ended uis «Конец».*delivery \d+ \(rec\)", shown)
    assert re.search(r"attributes\n.*\n.*cpn_region_name +Тула", shown)
    assert shown.index("event 1: ") < shown.index("event 2: ")
    gone = own.flask("calls", "show", "999", check=False)
    assert (gone.returncode, gone.stderr.strip()) == (1, "there is no call 999")


def test_inbox_list_and_show_give_the_body_as_it_came(own: Service) -> None:
    body = '{"call_session_id": 701, "x": "Ещё"}'
    own.post(IN, body)
    own.settled()
    (stored,) = [stored for stored in own.deliveries() if stored.delivery.body == body.encode()]
    listed = [
        json.loads(line) for line in own.flask("inbox", "list", "--json", "--status", FORWARDED).stdout.splitlines()
    ]
    assert body in [one["body"] for one in listed]
    shown = own.flask("inbox", "show", str(stored.delivery.id)).stdout
    assert body in shown
    assert "state: forwarded" in shown
    own.post(IN, "[")
    assert "bad_json" in own.flask("inbox", "list", "--status", DEAD, "--feed", "uis").stdout
    assert own.flask("inbox", "show", "99999", check=False).returncode == 1


def test_a_dead_letter_is_forwarded_after_replay(tmp_path: Path) -> None:
    """Dead for a fault of a broken release, replayed by the one that mends it."""
    service = Service(tmp_path)
    mended = service.root
    service.copy_code(
        tmp_path / "broken",
        {"calllog/fold.py": ('"""The call that these events', 'raise ValueError("a fault")\n    """')},
    )
    service.flask("db", "upgrade")
    with service:
        service.start()
        assert service.post(REC, json.dumps(end("702"))).json() == {"status": "accepted"}
        service.settled()
        (stored,) = service.deliveries(state=DEAD)
        assert "ValueError: a fault" in stored.outcome.detail
        assert service.rows(Calls) == []
        service.stop()
        service.root = mended
        service.start()
        assert "1 deliveries wait" in service.flask("inbox", "replay", "--status", DEAD).stdout
        assert service.call("702")["disposition"] == "answered"
        service.settled()
        assert [stored.outcome.state for stored in service.deliveries()] == [FORWARDED]


def test_purge_takes_only_what_is_past_its_days(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.flask("db", "upgrade")
    with service:
        service.start()
        service.post(IN, json.dumps(ring("703")))
        service.post(IN, "[")
        service.settled()
        assert "0 forwarded, 0 ignored, 0 dead deleted" in service.flask("purge").stdout
        assert "1 forwarded, 0 ignored, 1 dead would be" in purged(service, "--days", "0", "--dead", "--dry-run")
        assert acts(service) == []
        assert "1 forwarded, 0 ignored, 0 dead deleted" in purged(service, "--days", "0")
        assert [stored.outcome.state for stored in service.deliveries()] == [DEAD]
        assert "1 dead" in purged(service, "--days", "0", "--dead")
        assert service.deliveries() == []
        assert [act["counts"] for act in acts(service)] == [{"forwarded": 1}, {"dead": 1}]
        assert "старше 0 дн." in acts(service)[0]["why"]


def purged(service: Service, *options: str) -> str:
    return service.flask("purge", "--inbox", *options).stdout


def acts(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.flask("acts", "--json").stdout.splitlines()]


def test_a_purge_that_is_broken_off_has_its_record_all_the_same(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.flask("db", "upgrade")
    node = Node(service.data_dir, service.database_url)
    node.deliver("in", **ring("710"))
    node.forward()
    with closing(sqlite3.connect(service.data_dir / "inbox" / "inbox.db")) as db:
        db.execute("CREATE TRIGGER stuck BEFORE DELETE ON deliveries BEGIN SELECT RAISE(ABORT, 'a broken disk'); END")
    done = service.flask("purge", "--inbox", "--days", "0", check=False)
    assert (done.returncode, "not all was deleted, run it again" in done.stderr) == (1, True)
    assert "a broken disk" in done.stderr
    assert [(act["what"], act["whole"], act["counts"]) for act in acts(service)] == [("ended", False, {})]


def test_what_purged_the_inbox_without_a_record_names_what_does_it_with_one(tmp_path: Path) -> None:
    service = Service(tmp_path)
    old = service.flask("inbox", "purge", "--days", "3", "--dead", check=False)
    assert old.returncode == 1
    assert "pbx-connector purge --inbox --days 3 --dead deletes the same" in old.stderr
    alone = service.flask("purge", "--days", "3", check=False)
    assert (alone.returncode, alone.stderr) == (1, "--days and --dead are about deliveries: add --inbox\n")


def test_forward_once_without_a_service(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.flask("db", "upgrade")
    node = Node(service.data_dir, service.database_url)
    node.deliver("rec", **end("704"))
    node.deliver("in", **ring("187020303"))
    said = service.flask("forward", "--once").stdout
    assert "1 forwarded, 1 ignored, 0 dead" in said
    assert service.call("704")["state"] == "ended"


def rendered(template: str, **values: Any) -> str:
    """The template as UIS renders it: JSON values in place of the placeholders, null for what there is none of."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: json.dumps(values.get(found[1]), ensure_ascii=False), template)


def test_every_printed_template_is_understood_as_what_it_is_for(own: Service) -> None:
    printed = own.flask("feeds", "show", "uis").stdout
    kinds = {
        "Входящий звонок": words.RINGING,
        "Начало разговора": words.ANSWERED,
        "Потерянный звонок": words.LOST,
        "Исходящий звонок": words.RINGING,
        "Завершение звонка": words.ENDED,
        "Записанный разговор": words.RECORDING,
        "Ожидание ответа": words.LEG_RINGING,
    }
    values = {
        "call_session_id": 705,
        "direction": "in",
        "employee_phone_number": "79990000001",
        "finish_time": "2024-03-01 10:01:00",
        "is_lost": False,
        "file_link": "https://app.uiscom.ru/r/1",
        "leg_id": 7051,
    }
    for notification in uis.NOTIFICATIONS:
        assert notification.template in printed
        assert f"«Тип события»: {notification.event_type}" in printed
        path = f"/hs/UIScom/{notification.route}"
        address = f"{own.url}{path}?key={UIS_KEY}"
        assert f"«URL»: {address}\n" in printed
        body = rendered(notification.template, **values)
        assert requests.post(address, data=body.encode(), timeout=10).json() == {"status": "accepted"}
        delivery = Delivery("uis", notification.route, body.encode())
        assert schemas.understand(delivery, own_zone()).kind == kinds[notification.name]
    for key in ("notification_mnemonic", "notification_time", "app_id", "communication_id", "contact_phone_number"):
        assert printed.count(f'"{key}":') == len(uis.NOTIFICATIONS)
    assert '"talk_time_duration":{{talk_time_duration}}' in printed


def own_zone() -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo("Europe/Moscow")


@pytest.mark.parametrize("feed", [name for name, entered in setup.feeds().items() if entered.first_notification])
def test_the_printed_curl_of_every_feed_that_has_one_makes_a_first_call(feed: str, own: Service) -> None:
    assert f"{own.url}/" in own.flask("feeds", "show", feed).stdout
    curl = own.flask("feeds", "show", feed, "--curl").stdout
    found = re.search(r"-d '(.*)' '(http.*)'", curl)
    assert found, curl
    answer = requests.post(found[2], data=found[1].encode(), timeout=10)
    assert answer.json() == {"status": "accepted"}
    provider = schemas.feeds()[feed].provider
    key = canonical(schemas.feeds()[feed].form.call_id)
    (id,) = [value for name, value in json.loads(found[1]).items() if canonical(name) == key]
    assert own.call(str(id))["provider"] == provider


def test_a_key_with_signs_is_printed_so_that_it_works(tmp_path: Path) -> None:
    service = Service(tmp_path, UIS_KEY="a+b&c#d/é")
    assert "?key=a%2Bb%26c%23d%2F%C3%A9" in service.flask("feeds", "show", "uis").stdout


def test_an_unknown_feed_is_told_with_those_that_there_are(own: Service) -> None:
    done = own.flask("feeds", "show", "asterisk", check=False)
    assert done.returncode == 1
    assert "uis" in done.stderr
