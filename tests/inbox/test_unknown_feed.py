"""A delivery of a feed that this release does not have (a rollback, two releases on one DATA_DIR) stops no other, is shown
and counted, loses nothing, and is taken up by itself by a release that has the feed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox import DEAD, FORWARDED, UNKNOWN_FEED, Outcome, now
from schemas.reading import Delivery
from tests.rig.mariadb import MariaDB
from tests.rig.node import end, ring
from tests.rig.service import ROOT, Service, until

PASSWORD = "operator"
NEWER = {"TELFIN_KEY": "telfin-key", "OPERATOR_PASSWORD": PASSWORD}


def hook(call: str, kind: str, **fields: str) -> bytes:
    """A notification of the feed that only the newer release has."""
    common = {"SessionID": call, "HookType": kind, "Caller": "79201119613", "Called": "74951234567"}
    return json.dumps(common | {"StartTime": "2024-03-01 10:00:00"} | fields).encode()


def arrived(service: Service, body: bytes) -> int:
    """Stored as a newer release would have, before it was rolled back; returns the delivery's id."""
    id = service.inbox.put(Delivery("telfin", "telfin", body, received_at=now()), Outcome())
    service.inbox.wake()
    return id


def newer_release(service: Service, target: Path) -> None:
    """The service runs a copy of the code that has one feed more: hooktype under another name."""
    service.copy_code(target, {})
    for room in ("schemas", "handlers", "setup"):
        for source in (ROOT / room).glob("hooktype.*"):
            text = source.read_text(encoding="utf-8")
            if room == "schemas":  # not the field of this name
                text = text.replace('PROVIDER = "hooktype"', 'PROVIDER = "telfin"').replace("/hooktype", "/telfin")
            else:
                text = text.replace("hooktype", "telfin")
            (target / room / source.name.replace("hooktype", "telfin")).write_text(text, encoding="utf-8")


def set_aside(service: Service, count: int) -> None:
    until(lambda: service.inbox.dead() == [("telfin", UNKNOWN_FEED, count)], "set aside, with the reason")


@pytest.fixture(params=["sqlite", "mysql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Running this release."""
    mariadb: MariaDB | None = request.getfixturevalue("mariadb") if request.param == "mysql" else None
    with Service(tmp_path / "service", mariadb.create("unknown") if mariadb else "", WORKERS="1", **NEWER) as service:
        yield service.start()


def test_it_is_set_aside_and_taken_up_by_a_release_that_knows_its_feed(service: Service, tmp_path: Path) -> None:
    began = arrived(service, hook("1", "CreateIncCall"))
    assert service.post("/hs/UIScom/in", json.dumps(ring("777"))).ok
    ended = arrived(service, hook("1", "EndIncCall", Duration="60", ResultCode="200"))
    assert service.post("/hs/UIScom/rec", json.dumps(end("777"))).ok
    service.call("777", events=2)
    set_aside(service, 2)
    stored = service.inbox.delivery(began)
    assert stored
    assert stored.delivery.body == hook("1", "CreateIncCall")
    # a replay by the release that does not know it is no harm
    service.flask("inbox", "replay", str(began))
    service.settled()
    set_aside(service, 2)

    service.stop()
    this = service.root
    newer_release(service, tmp_path / "newer")
    service.start()
    row = service.call("1", events=2)
    assert (row["provider"], row["state"], row["disposition"]) == ("telfin", "ended", "answered")
    assert service.inbox.dead() == []
    until(lambda: {stored.outcome.state for stored in service.deliveries()} == {FORWARDED}, "all of them")
    assert "2 deliveries wait again: this release knows their feed" in service.log()
    assert service.get("/readyz").json()["unknown_feeds"] == []

    # and back again, with its calls in the call log
    service.stop()
    service.root = this
    service.start(upgrade=False)
    arrived(service, hook("1", "AttemptIncCallEnd", Called="79991112233"))
    set_aside(service, 1)
    assert "0 of 2 calls would change" in service.flask("calls", "rebuild", "--dry-run").stdout
    assert "1" in service.flask("calls", "show", str(row["id"])).stdout
    assert service.get(f"/calls/{row['id']}", auth=("", PASSWORD)).ok
    assert service.get(f"/inbox/{ended}", auth=("", PASSWORD)).ok
    assert service.post("/hs/UIScom/in", json.dumps(ring("778"))).ok
    service.call("778")


def test_it_is_shown_and_counted_and_no_command_fails_on_it(service: Service, tmp_path: Path) -> None:
    id = arrived(service, hook("1", "CreateIncCall"))
    secret = arrived(service, hook("2", "CreateIncCall", Caller="79997776655"))
    set_aside(service, 2)

    for path in ("/service", "/inbox", "/inbox?feed=telfin", "/dead", f"/inbox/{id}"):
        page = service.get(path.partition("?")[0], params={"feed": "telfin"}, auth=("", PASSWORD))
        assert (page.status_code, "telfin" in page.text) == (200, True), path
    assert "поток не этой версии" in page.text
    assert "Делать ничего не нужно" in page.text
    assert "Ответ отправителю" not in page.text
    metrics = service.get("/metrics").text
    assert f'connector_dead_letters{{feed="telfin",reason="{UNKNOWN_FEED}"}} 2.0' in metrics
    ready = service.get("/readyz").json()
    assert (ready["status"], ready["dead"], ready["unknown_feeds"]) == ("ready", 2, ["telfin"])

    assert UNKNOWN_FEED in service.flask("inbox", "list", "--feed", "telfin").stdout
    assert f"state: {DEAD} {UNKNOWN_FEED}" in service.flask("inbox", "show", str(id)).stdout
    service.flask("feeds", "doctor", "uis", check=False)
    service.flask("calls", "rebuild")
    service.flask("purge")
    service.flask("check")
    service.flask("forward", "--once")
    service.flask("backup", str(tmp_path / "backups"))
    service.flask("forget", "79997776655", "--yes", "--why", "test")
    kept = service.inbox.delivery(secret)
    assert kept
    assert b"***" in kept.delivery.body
    assert b"79997776655" not in kept.delivery.body
    assert service.inbox.delivery(id)

    (backup,) = (tmp_path / "backups").glob("2*")
    with Service(tmp_path / "new", service.database_url) as new:
        new.flask("restore", str(backup), "--inbox")
        assert new.inbox.dead() == [("telfin", UNKNOWN_FEED, 2)]


def test_two_releases_side_by_side_do_not_fight_about_it(service: Service, tmp_path: Path) -> None:
    """The old one forwards until it goes; what it set aside waits for the new one's turn."""
    with Service(tmp_path / "beside", service.database_url, WORKERS="1", **NEWER) as newer:
        newer.data_dir = service.data_dir
        newer.environment |= {"DATA_DIR": str(service.data_dir)}
        newer_release(newer, tmp_path / "newer")
        until(service.forwarder, "the old one forwards")
        newer.start()
        assert newer.post("/telfin", hook("1", "CreateIncCall"), key="telfin-key").json() == {"status": "accepted"}
        set_aside(service, 1)
        assert newer.post("/hs/UIScom/in", json.dumps(ring("777"))).ok
        service.call("777")
        assert service.inbox.dead() == [("telfin", UNKNOWN_FEED, 1)]

        service.stop()
        assert newer.call("1")["provider"] == "telfin"
        service.start(upgrade=False)
        assert newer.post("/telfin", hook("2", "CreateIncCall"), key="telfin-key").ok
        assert newer.call("2")["provider"] == "telfin"
        assert newer.inbox.dead() == []
