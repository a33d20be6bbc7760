"""pbx-connector calls rebuild: better rules tell old calls anew; ids stay, change_no moves where something changed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calllog import database
from inbox import FORWARDED, Outcome, now
from models import CallAttributes, CallEvents, CallLegs, Calls
from tests.rig.fixtures import FOLDER, fixture_calls
from tests.rig.node import Node, end, ring
from tests.rig.service import MGERM_KEY, Service
from upkeep import rebuild

ROOT = Path(__file__).resolve().parents[2]
EMPLOYEE = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}
LINE = 'line_number=phone(said["virtual_phone_number"])'
WORSE = {"schemas/uis.py": (LINE, f'{LINE} and "?"')}


@pytest.fixture
def old(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """Calls 1 to 3 as a release with a worse rule has understood them; the better release is what runs now."""
    service = Service(tmp_path / "service", database_url)
    better = service.root
    service.copy_code(tmp_path / "worse", WORSE)
    with service:
        service.start()
        for call in ("1", "2"):
            service.post("/hs/UIScom/in", json.dumps(ring(call, **EMPLOYEE)))
            service.post("/hs/UIScom/rec", json.dumps(end(call, **EMPLOYEE)))
        service.post("/uis/call/ended", json.dumps({"callsessionid": "3", "direction": "in"}), key=MGERM_KEY)
        service.settled()
        service.stop()
        service.root = better
        yield service


def rows(service: Service) -> dict[str, dict[str, Any]]:
    return {row["provider_call_id"]: row for row in service.rows(Calls)}


def test_a_dry_run_says_what_would_change_and_changes_nothing(old: Service):
    before = (old.rows(Calls), old.rows(CallEvents), old.rows(CallLegs))
    said = old.flask("calls", "rebuild", "--dry-run").stdout
    assert "2 of 3 calls would change" in said
    ids = [rows(old)[call]["id"] for call in ("1", "2")]
    assert f"line_number: 2; call {ids[0]}: ? -> 74951234567; call {ids[1]}: ? -> 74951234567" in said
    assert (old.rows(Calls), old.rows(CallEvents), old.rows(CallLegs)) == before


def test_a_rebuild_keeps_ids_and_moves_change_no_only_where_something_changed(old: Service):
    before, legs = rows(old), old.rows(CallLegs)
    assert {row["line_number"] for row in before.values()} == {"?", ""}
    assert "2 of 3 calls changed" in old.flask("calls", "rebuild").stdout
    after = rows(old)
    for call in ("1", "2"):
        assert after[call]["id"] == before[call]["id"]
        assert after[call]["line_number"] == "74951234567"
        assert after[call]["change_no"] > max(row["change_no"] for row in before.values())
        changed = {name for name in after[call] if after[call][name] != before[call][name]}
        assert changed - {"updated_at"} == {"line_number", "change_no"}
    assert after["3"] == before["3"]
    assert [leg["id"] for leg in old.rows(CallLegs)] == [leg["id"] for leg in legs]
    assert all('"line_number":"?"' not in event["payload"] for event in old.rows(CallEvents))
    assert "0 of 3 calls changed" in old.flask("calls", "rebuild").stdout
    assert rows(old) == after


def test_calls_whose_bodies_are_gone_keep_all_they_have(old: Service):
    old.inbox.purge(before=now() + 1000)
    before = rows(old)
    assert "0 of 3 calls changed" in old.flask("calls", "rebuild").stdout
    assert rows(old) == before


def test_events_of_another_node_stay_and_are_folded_with_the_better_ones(old: Service):
    events = old.deliveries(feed="uis")
    assert all(stored.outcome.state == FORWARDED for stored in events)
    with old.inbox.file.writing() as db:  # the body of the ringing event of call 1 is gone
        db.execute("DELETE FROM deliveries WHERE id = (SELECT min(id) FROM deliveries)")
    old.flask("calls", "rebuild")
    row = rows(old)["1"]
    assert (row["line_number"], row["events_count"], row["started_at"] is not None) == ("74951234567", 2, True)


def test_since_and_feed_choose_the_calls(old: Service):
    assert "0 of 0 calls would change" in old.flask("calls", "rebuild", "--dry-run", "--since", "2099-01-01").stdout
    assert "0 of 1 calls would change" in old.flask("calls", "rebuild", "--dry-run", "--feed", "mgerm").stdout
    assert "2 of 2 calls would change" in old.flask("calls", "rebuild", "--dry-run", "--feed", "uis").stdout


def test_a_call_log_that_is_away_is_said(old: Service):
    done = old.flask("calls", "rebuild", check=False, DATABASE_URL="mysql://x:y@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "the call log does not answer" in done.stderr


def test_over_a_call_log_of_the_release_before_a_dry_run_names_the_columns_of_the_changelog(
    tmp_path: Path, database_url: str
) -> None:
    frozen = json.loads((FOLDER / "payloads_0.1.0.json").read_text(encoding="utf-8"))
    calls = {call.name: call for call in fixture_calls() if call.name in frozen}
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url, expire_hours=10**6)
    for name, call in calls.items():
        for request, payload in zip(call.requests, frozen[name]["payloads"], strict=False):  # our own event comes last
            node.inbox.put(request.delivery(payload["received_at"]), Outcome())
    node.forward()
    db = database.open_database(database_url)
    with db.connection_context():
        for before in frozen.values():  # the call log as 0.1.0 has left it
            row, payloads = before["calls"], before["payloads"]
            Calls.update(**row).where(Calls.provider_call_id == row["provider_call_id"]).execute(db)
            for payload in payloads:
                said = json.dumps(payload)
                CallEvents.update(payload=said).where(CallEvents.event_key == payload["event_key"]).execute(db)
        Calls.update(redirected_from="", employee_name="").execute(db)
        CallAttributes.delete().execute(db)
        found = rebuild.rebuild(db, node.inbox, node.settings, since=None, feed=None, dry_run=True)
        columns = {column for _, changes in found for changed in changes.values() for column in changed}
    assert columns == {"hangup_by", "redirected_from", "call_attributes"}
    since = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## 0.1.0")[0]
    assert [column for column in columns if f"{column}`" not in since] == []
