"""The tables of the docs against what the code does, in both directions: codes, words, statuses."""

import json
import re
from zoneinfo import ZoneInfo

import schemas
from calllog.fold import fold
from calllog.overdue import own_event
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.service import ROOT

ZONE = ZoneInfo("Europe/Moscow")
DOCS = ROOT / "docs"
NOW = 1_732_000_000_000


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows below the heading row that begins so."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?m)^\| {re.escape(heading)}.*\n\| ---.*\n((?:\|.*\n)+)", text)
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in found.splitlines()]


def marked(cell: str) -> list[str]:
    """The words in code marks."""
    return re.findall(r"`([^`]+)`", cell)


def understood(feed: str, route: str, **body: object) -> CallEvent:
    """What a delivery with this body says."""
    return schemas.understand(Delivery(feed, route, json.dumps(body).encode(), received_at=NOW), ZONE)


def outcome(feed: str, route: str, **body: object) -> tuple[str, str]:
    """(reason, disposition) of a call of which only this is known."""
    columns = fold([understood(feed, route, **body)]).columns
    return columns["reason"], columns["disposition"]


def test_a_cause_of_mtt_is_what_its_page_calls_it() -> None:
    rows = {cause: row[1:] for row in table("feeds/mtt.md", "`cause` (ISUP") for cause in row[0].split(", ")}
    assert {"17", "127", "другое"} <= rows.keys()
    for cause in [*map(str, range(128)), "999"]:
        if cause in ("16", "31", "26"):
            continue  # by who hung up, and what ends no call: below
        reasons, disposition = rows.get(cause, rows["другое"])
        found = outcome("mtt", "events", h323_conf_id="1A 2B 3C 4D", event={"type": "h"}, cause=cause, side="A")
        assert found == (marked(reasons)[0], marked(disposition)[0]), cause
    leg_only = understood("mtt", "events", h323_conf_id="1A 2B 3C 4D", event={"type": "h"}, cause="26", side="A")
    assert leg_only.reason == marked(rows["26"][0])[0]
    assert marked(rows["16"][0]) == ["normal", "cancelled_by_caller", "no_answer"]
    for cause in ("16", "31"):
        body = {"h323_conf_id": "1A 2B 3C 4D", "event": {"type": "h"}, "cause": cause}
        assert outcome("mtt", "events", **body, side="A") == ("cancelled_by_caller", "missed")
        hangup = understood("mtt", "events", **body, side="B", redirect_number="79161234567")
        call = fold([hangup, own_event(words.SETTLED, [hangup], after=60_000)]).columns
        assert (call["reason"], call["disposition"]) == ("no_answer", "missed")


def test_a_result_code_of_hooktype_is_what_its_page_calls_it() -> None:
    rows = {code: row for row in table("feeds/hooktype.md", "`ResultCode`") for code in marked(row[0])}
    other = table("feeds/hooktype.md", "`ResultCode`")[-1]
    assert other[0].startswith("другое")
    assert len(rows) == 12
    for code in [*map(str, range(100, 700)), "603-S", "603-s", ""]:
        row = rows.get(code.upper(), other)
        for hook, column in (("EndIncCall", 2), ("EndOutCall", 3)):
            found = outcome("hooktype", "hooktype", SessionID="1", HookType=hook, ResultCode=code)
            assert found == (marked(row[-1])[0], marked(row[column])[0]), (code, hook)
    assert marked(other[2]) == ["unknown", "MissedIncCall", "missed"]
    missed = {"SessionID": "1", "HookType": "MissedIncCall", "ResultCode": "777"}
    assert outcome("hooktype", "hooktype", **missed) == ("unknown", "missed")


ASTERISK = ("CHANUNAVAIL", "CONGESTION", "NOANSWER", "BUSY", "ANSWER", "CANCEL", "DONTCALL", "TORTURE", "INVALIDARGS")


def test_a_status_of_xvb_is_what_its_page_calls_it() -> None:
    rows = {word.lower(): row for row in table("feeds/xvb.md", "`status`") for word in marked(row[0])}
    other = table("feeds/xvb.md", "`status`")[-1]
    source = (ROOT / "schemas" / "crm.py").read_text(encoding="utf-8")
    ours = re.findall(r'(?m)^    "(\w+)": Status\(', source)
    assert sorted(ours) == sorted(rows)
    for word in [*rows, *map(str.lower, ASTERISK), "", "success2"]:
        row = rows.get(word, other)
        for direction, column in (("in", 1), ("out", 2)):
            found = outcome("xvb", "xvb", cmd="event", event="COMPLETED", type=direction, callid="1", status=word)
            assert found == (marked(row[3])[0], marked(row[column])[0]), (word, direction)


def test_a_kind_of_event_is_on_its_page() -> None:
    hooks = {word for row in table("feeds/hooktype.md", "`HookType`") for word in marked(row[0])}
    source = (ROOT / "schemas" / "hooktype.py").read_text(encoding="utf-8")
    assert {hook.lower() for hook in hooks} == set(re.findall(r'(?m)^    "(\w+)": Hook\(', source))
    events = {word for row in table("feeds/mtt.md", "`event`") for word in marked(row[0])}
    source = (ROOT / "schemas" / "mtt.py").read_text(encoding="utf-8")
    assert events == set(re.findall(r'(?m)^    "(\w+)": words\.', source))


# ------------------------------------------------------------------------------------------------------------- statuses

STATUS_OF_CODE = {
    "empty": 400, "bad_json": 400, "not_json": 400, "not_object": 400, "too_deep": 400, "not_text": 400,
    "cut_short": 400, "no_call_id": 422, "bad_call_id": 422, "no_event_type": 422, "no_key": 401, "wrong_key": 401,
    "other_feeds_key": 401, "blanks_in_key": 401,
    "feed_closed": 403, "address_not_allowed": 403, "not_found": 404, "method_not_allowed": 405, "too_large": 413,
    "unavailable": 503,
}  # fmt: skip
# The beginning of a row of section 1 of the contract -> its answer's. tests/handlers hold the code to the same numbers.
STATUS_OF_ROW = {
    "stored and understood": "200", "stored; an event": "200", "stored; of a call": "200", "stored; our own": "200",
    "empty, not JSON": "400", "no call id": "422", "wrong or missing key": "401; 403", "body over": "413",
    "the inbox could not": "503", "unknown path": "404 / 405", "a request line": "400, 414, 431",
    "nginx itself": "413; 502, 504",
}  # fmt: skip


def test_a_refusal_has_the_status_that_the_pages_tell() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "schemas").glob("*.py")))
    raised = re.findall(r"Refusal\(\s*(\d{3}),\s*(.{0,60})", sources)
    found = {(code, int(status)) for status, rest in raised for code in re.findall(r'"([a-z_]+)"', rest)}
    assert len(found) > 8
    assert {(code, status) for code, status in found if STATUS_OF_CODE.get(code, status) != status} == set()
    told = {marked(row[1])[0]: int(row[0]) for row in table("feeds/uis.md", "ответ | код") if row[0] != "400, 414"}
    assert told | {"accepted": 200, "ignored": 200} == {
        **{code: status for code, status in STATUS_OF_CODE.items() if code != "no_event_type"},
        "accepted": 200,
        "ignored": 200,
    }
    beginnings = {"Нет": "422", "Тело запроса": "400", "Тело запроса больше": "413", "Уведомление": "503"}
    for feed in ("mtt", "hooktype", "xvb"):
        for row in table(f"feeds/{feed}.md", "ответ | что сказано"):
            begins = [beginning for beginning in beginnings if row[1].startswith(f"«{beginning}")]
            assert not begins or row[0] == beginnings[max(begins, key=len)], (feed, row)


def test_the_contract_has_the_answers_row_by_row() -> None:
    rows = table("contract.md", "what happened | answer")
    assert len(rows) == len(STATUS_OF_ROW)
    for row in rows:
        (beginning,) = [beginning for beginning in STATUS_OF_ROW if row[0].startswith(beginning)]
        statuses = re.match(r"\d{3}(?:(?:, | / |; )\d{3})*", re.sub(r" `\{.*?\}`", "", row[1]))
        assert statuses, row
        assert statuses[0] == STATUS_OF_ROW[beginning], row


def test_terms_are_what_the_pages_tell() -> None:
    """Numbers of the pages that a constant or a unit has, too."""
    contract = (DOCS / "contract.md").read_text(encoding="utf-8")
    asks = (ROOT / "providers" / "http.py").read_text(encoding="utf-8")
    assert "ANSWER_SECONDS = 3, 4\n" in asks
    assert "\nREAD_SECONDS = 6 " in asks  # the last byte's four come on top: ten
    assert re.search(r"within\s+2 s and 10 s, and never", contract)
    (kept,) = re.findall(r"--keep (\d+)", (ROOT / "deploy" / "pbx-connector-daily.service").read_text(encoding="utf-8"))
    told = re.findall(r"--keep (\d+)", (DOCS / "operations.md").read_text(encoding="utf-8"))
    assert set(told) == {kept} == {"14"}
