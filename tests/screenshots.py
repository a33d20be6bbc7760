"""python -m tests.screenshots: the operator page over fixture traffic, as docs/images/*.png."""

import sys
import tempfile
from pathlib import Path

import models
from tests.rig.browser import chromium
from tests.rig.fixtures import fixture_calls
from tests.rig.service import ROOT, Service

PASSWORD = "screenshots"
TOLD = ("uis/incoming-answered", "uis/incoming-lost", "uis/outgoing-answered", "uis/still-ringing", "mtt/parallel-legs",
        "hooktype/incoming-busy", "xvb/incoming-missed", "uis/internal")  # fmt: skip
BROKEN = """{"notification_name":"Входящий звонок",
"direction":"in"
"call_session_id":2846103901,
"calling_phone_number":"79031112233"}"""
SHOTS = (
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
