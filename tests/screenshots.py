"""python -m tests.screenshots: the operator page over fixture traffic, as docs/images/*.png."""

import random
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import models
from calllog import database
from tests.rig.browser import chromium
from tests.rig.fixtures import fixture_calls
from tests.rig.service import ROOT, Service

PASSWORD = "screenshots"
TOLD = ("uis/incoming-answered", "uis/incoming-lost", "uis/outgoing-answered", "uis/still-ringing", "mtt/parallel-legs",
        "hooktype/incoming-busy", "xvb/incoming-missed", "uis/internal")  # fmt: skip
NAMES = {"101": "Анна Котова", "102": "Пётр Лунин", "103": "Вера Ким", "105": "Олег Рудь"}
LINES = ("74951234567", "74951234567", "78121234567")
BROKEN = """{"notification_name":"Входящий звонок",
"direction":"in"
"call_session_id":2846103901,
"calling_phone_number":"79031112233"}"""
SHOTS = (
    ("callbacks", "/callbacks", 1280, 900, False),
    ("callbacks-phone", "/callbacks", 390, 844, False),
    ("statistics", "/statistics", 1280, 1500, False),
    ("statistics-dark", "/statistics", 1280, 1500, True),
    ("service", "/service", 1280, 900, False),
    ("service-phone", "/service", 390, 844, True),
    ("letter", "/inbox/{broken}", 1280, 740, False),
    ("dead", "/dead", 1280, 600, False),
    ("call", "/calls/{call}", 1280, 700, False),
    ("call-phone", "/calls/{call}", 390, 844, False),
    ("calls", "/calls?employee=102", 1280, 700, False),
    ("setup", "/setup?feed=uis", 1280, 900, False),
    ("setup-phone", "/setup?feed=uis", 390, 844, True),
)


def two_weeks(url: str) -> None:
    """Calls of two weeks of a small company, straight into the call log: a night that nobody answered, and callbacks."""
    dice, db = random.Random(3), database.open_database(url)
    now = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None, microsecond=0)
    people, at = [f"79{dice.randrange(10**9):09d}" for _ in range(260)], now - timedelta(days=14)
    rows: list[dict[str, Any]] = []
    while at < now:
        open_now = 9 <= at.hour < 20
        at += timedelta(
            seconds=int(dice.expovariate((6 * open_now * (1 if at.weekday() < 5 else 0.3) + 0.5) / 5760)) + 1
        )
        out, wait = dice.random() < 0.35 * open_now, int(dice.expovariate(1 / 14)) + 1
        ok = dice.random() < (0.65 if out else 0.86 if open_now else 0.1)
        call = {"direction": "out" if out else "in", "state": "ended", "is_answered": int(ok), "wait_seconds": wait,
                "is_missed": int(not ok and not out), "client_number": dice.choice(people),
                "line_number": dice.choice(LINES), "call_source": dice.choice(("call_tracking", "sip", "va")),
                "employee_ext": dice.choice(sorted(NAMES)) if ok else "", "started_at": at, "first_event_at": at,
                "answered_at": at + timedelta(seconds=wait) if ok else None,
                "talk_seconds": int(dice.expovariate(1 / 150)) if ok else None}  # fmt: skip
        rows.append(call)
    with db.connection_context():
        for id, row in enumerate(rows[:-1], 1_000_000):
            key = {"id": id, "change_no": id, "provider": "uis", "provider_call_id": f"shown-{id}"}
            models.Calls.insert(**key, **row).execute(db)
            leg = {"id": id, "call_id": id, "leg_key": "1", "employee_ext": dice.choice(sorted(NAMES))}
            if row["direction"] == "in":
                models.CallLegs.insert(**leg, answered_at=row["answered_at"]).execute(db)
        for id, (ext, name) in enumerate(NAMES.items()):
            models.Employees.insert(id=9000 + id, employee_ext=ext, employee_name=name).execute(db)
        models.ChangeCounter.update(change_no=2_000_000, last_id=2_000_000).execute(db)


def main(target: Path) -> None:
    """Start a service, tell it of calls, look at it."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with Service(directory, OPERATOR_PASSWORD=PASSWORD) as service, chromium(directory / "browser") as browser:
            service.start()
            for told in (told for told in fixture_calls() if told.name in TOLD):
                for request in told.requests:
                    request.send(service)
            for body in (
                BROKEN,
                BROKEN.replace("3901", "3902"),
                '{"direction":"in"}',
                "{}",
                '{"call_session_id":187020303}',
            ):
                service.post("/hs/UIScom/in", body)
            service.post("/hs/UIScom/in", "{}", key="a-stranger")
            service.settled()
            two_weeks(service.database_url)
            broken = service.deliveries(state="dead")[0].delivery.id
            call = next(
                row["id"] for row in service.rows(models.Calls) if row["talk_seconds"] and row["provider"] == "uis"
            )
            browser.get(service.url.replace("://", f"://operator:{PASSWORD}@") + "/")
            for name, path, width, height, dark in SHOTS:
                browser.size(width, height, dark)
                browser.get(service.url + path.format(broken=broken, call=call))
                browser.save_screenshot(str(target / f"{name}.png"))
            assert browser.complaints() == []


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
