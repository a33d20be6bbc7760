"""Whom a call rings, as /api/changes tells each workplace, after every notification of the fixture calls of all feeds."""

from typing import Any

import pytest

from calllog.fold import fold
from calllog.workplace import Asker, known_employees, standing
from tests.rig.fixtures import FixtureCall, fixture_calls, name

CALLS = {call.name: call for call in fixture_calls()}
SHORT = {"ringing": "R", "talking": "T", "was_rung": "w", "unknown": "?"}


def steps(call: FixtureCall) -> list[dict[str, Any]]:
    """The call's row with its legs after each of its events."""
    events, rows = call.events(), []
    for number in range(1, len(events) + 1):
        folded = fold(events[:number])
        legs = [{"leg_key": key, **leg} for key, leg in folded.legs.items()]
        rows.append({**folded.columns, "legs": legs})
    return rows


def seen(call: FixtureCall, *names: str, employees: list[tuple[str, str, str]] = []) -> str:  # noqa: B006
    """What one workplace is told after each event: R rings, T talks, w was rung, ? nobody knows, - another's; ! closed."""
    asker = Asker.of(names, known_employees(employees))
    told = [standing(row, asker) for row in steps(call)]
    return " ".join("-" if one is None else SHORT[one.for_you] + ("!" if one.closed else "") for one in told)


NOBODY = "000"  # an extension that no fixture names
TABLE = [
    # UIS without «Ожидание ответа»: whom it rings is known when somebody has answered
    ("uis/incoming-answered", {"102": "? T w!", NOBODY: "? - -"}),
    ("uis/incoming-lost", {"102": "? ?! ?!"}),
    ("uis/transfer", {"102": "? T w! w!", "103": "? - T w!"}),
    # with it, at once
    ("uis/queue-parallel", {"101": "? R R w! w!", "102": "? - R T w!", NOBODY: "? - - - -"}),
    ("uis/queue-two-rounds-nobody", {"101": "? R R R w!", "102": "? - R R w!", NOBODY: "? - - - -"}),
    ("uis/outgoing-answered", {"102": "R w!", NOBODY: "- -"}),
    ("uis/own-templates-outgoing-answered", {"102": "R T w! w!"}),
    ("uis/internal", {"102": "R w!", NOBODY: "- -"}),
    # Mgerm: the end alone, and never who it rang
    ("mgerm/ended-alone", {"102": "?!"}),
    ("mgerm/beside-rec", {"102": "? ?! w!", NOBODY: "? ?! -"}),
    # hooktype: AttemptIncCallBegin names a number, in any spelling
    ("hooktype/incoming-answered", {"80052002651": "? R T w!", "+7 005 200-26-51": "? R T w!", NOBODY: "? - - -"}),
    ("hooktype/incoming-serial-legs", {"70052002642": "? R w! w! w! w!", "70052002651": "? - - R T w!"}),
    (
        "hooktype/incoming-parallel-legs-late-attempt-ends",
        {"70052002642": "? R R R w! w! w! w!", "70052002651": "? - R R T w! w! w!", NOBODY: "? - - - - - - -"},
    ),
    ("hooktype/parallel-attempt-end-lost", {"70052002651": "? R R w! w!", "70052002642": "? - R T w!"}),
    ("hooktype/outgoing-answered", {"70052002651": "R w!", NOBODY: "- -"}),
    # MTT: `o` names a number
    ("mtt/document", {"79684881033": "? ? R T T T T w!", NOBODY: "? ? - - - - - -"}),
    ("mtt/parallel-legs", {"79684881033": "R R w! w! w!", "79684881044": "- R T T w!"}),
    ("mtt/serial-legs-second-answers", {"79684881033": "R w! w! w! w!", "79684881044": "- - R T w!"}),
    ("mtt/redial-same-employee-talking", {"79684881033": "R w! R T"}),
    # XVB: a queue's agents are named when they have not answered, or have
    ("xvb/incoming-answered", {"100": "? T w!", NOBODY: "? - -"}),
    ("xvb/queue-second-agent-answered", {"101": "? w! w! w!", "102": "? ? T w!", NOBODY: "? ? - -"}),
    ("xvb/outgoing-answered", {"100": "R w!", NOBODY: "- -"}),
]


@pytest.mark.parametrize(("which", "expected"), TABLE, ids=[which for which, _ in TABLE])
def test_a_workplace_is_told_of_its_calls_as_soon_as_the_feed_makes_it_known(which: str, expected: dict[str, str]):
    assert {asker: seen(CALLS[which], asker) for asker in expected} == expected


@pytest.mark.parametrize("call", CALLS.values(), ids=name)
def test_a_card_is_open_at_one_who_is_named_and_at_nobody_after_the_end(call: FixtureCall):
    rows = steps(call)
    names = {n for row in rows for part in (row, *row["legs"]) for n in (part["employee_ext"], part["employee_number"])}
    for row in rows:
        told = {asker: standing(row, Asker.of([asker], {})) for asker in (*names - {""}, NOBODY)}
        talking = {asker for asker, one in told.items() if one and one.for_you == "talking"}
        open_at = {asker for asker, one in told.items() if one and not one.closed}
        called = [part for part in (row, *row["legs"]) if talking & {part["employee_ext"], part["employee_number"]}]
        assert len({(part["employee_ext"], part["employee_number"]) for part in called}) <= 1
        assert row["state"] != "ended" or not open_at
        assert not any(one and one.for_you in ("ringing", "talking") for one in [told[NOBODY]])


def test_a_workplace_may_have_several_names_and_employees_add_what_a_name_stands_for():
    call = CALLS["mtt/incoming-answered"]
    assert seen(call, "102") == "- - -"
    assert seen(call, "102", "89684881033") == "R T w!"
    assert seen(call, "102", employees=[("102", "8 968 488-10-33", "")]) == "R T w!"
    assert seen(call, "102", employees=[("102", "8 968 488-10-33", ""), ("102", "79990000000", "")]) == "- - -"
    by_number = CALLS["uis/incoming-answered"]
    assert seen(by_number, "79160000000", employees=[("102", "+79160000000", "7")]) == "? T w!"


def test_whom_the_provider_names_by_an_id_alone_is_known_from_employees():
    call = CALLS["uis/answered-employee-id-only"]
    (row,) = steps(call)
    (leg,) = row["legs"]
    assert (leg["employee_ext"], leg["employee_number"]) == ("", "")
    assert seen(call, "102") == "?!"
    assert seen(call, "102", employees=[("102", "", leg["leg_key"])]) == "w!"
    assert seen(call, "103", employees=[("103", "", "1")]) == "-"


LEG: dict[str, Any] = {
    "leg_key": "",
    "employee_ext": "",
    "employee_number": "",
    "started_at": None,
    "answered_at": None,
    "ended_at": None,
}
ROW: dict[str, Any] = {
    "direction": "in",
    "state": "ringing",
    "employee_ext": "",
    "employee_number": "",
    "employee_ids": "",
}
ROW |= {"answered_at": None}


@pytest.mark.parametrize(
    ("row", "legs", "expected"),
    [
        # 101 talks, and after that the phone of 102 rings: a transfer to him
        (
            {"state": "talking", "employee_ext": "101", "answered_at": 5},
            [{"employee_ext": "101", "answered_at": 5}, {"employee_ext": "102", "started_at": 9}],
            ("ringing", False),
        ),
        # both were rung, 101 has answered, and nobody told that 102 is not rung any more
        (
            {"state": "talking", "employee_ext": "101", "answered_at": 5},
            [{"employee_ext": "101", "answered_at": 5}, {"employee_ext": "102", "started_at": 1}],
            ("was_rung", True),
        ),
        # somebody of the two has answered, nobody says who
        (
            {"state": "talking", "answered_at": 5},
            [{"employee_ext": "101", "started_at": 1}, {"employee_ext": "102", "started_at": 1}],
            ("unknown", False),
        ),
        # his leg answered, the row names nobody
        ({"state": "talking", "answered_at": 5}, [{"employee_ext": "102", "answered_at": 5}], ("talking", False)),
        # he hung up after a talk that goes on with somebody unknown
        (
            {"state": "talking", "employee_ext": "102", "answered_at": 5},
            [{"employee_ext": "102", "answered_at": 5, "ended_at": 9}],
            ("was_rung", True),
        ),
    ],
)
def test_while_somebody_talks(row: dict[str, Any], legs: list[dict[str, Any]], expected: tuple[str, bool]):
    call = {**ROW, **row, "legs": [{**LEG, **leg} for leg in legs]}
    assert standing(call, Asker.of(["102"], {})) == expected


def test_an_outgoing_call_that_names_nobody_is_nobodys_notice():
    assert standing({**ROW, "direction": "out", "legs": []}, Asker.of(["102"], {})) is None
    assert standing({**ROW, "direction": "in", "legs": []}, Asker.of(["102"], {})) == ("unknown", False)
