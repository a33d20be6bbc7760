"""Faults of the younger rooms, chosen after their tests were written: evidence, rescue, clock, reserve, rehearsal, held calls,
doors, attributes, the way back."""

from typing import Any

UIS, FOLD = "tests/schemas/test_uis.py", "tests/calllog/test_fold.py"
RESCUE = "tests/inbox/test_rescue.py::test_of_the_old_file_everything_comes_along_that_is_nowhere_else"
CLOCK = "tests/inbox/test_clock.py"
FULL = "tests/cli/test_full_disk.py::test_a_reserve_takes_no_room_that_is_needed_and_goes_only_when_there_is_less"
WRITTEN, LOCKED = "tests/calllog/test_cannot_be_written.py", "tests/calllog/test_locked.py"
DOORS, ATTRIBUTES = "tests/setup/test_doors.py", "tests/schemas/test_attributes.py"
BACK = "tests/calllog/test_way_back.py"
SOURCES = "calllog/sources.py"


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> dict[str, Any]:
    return {"name": f"room-{name}", "file": file, "old": old, "new": new, "tests": tests}


MUTATIONS = [
    _fault("two-digits-are-no-extension", SOURCES, "SHORT = range(2, 7)", "SHORT = range(3, 7)", f"{FOLD}::test_two_short_numbers_are_an_internal_call"),
    _fault(
        "a-stated-answer-may-be-a-minute-late", SOURCES, "    2000  # milliseconds", "    60_000  # milliseconds", UIS, FOLD
    ),
    _fault("an-employee-is-the-client", SOURCES, "return None if ours else found", "return found", UIS, FOLD),
    _fault(
        "a-menu-is-no-answer-that-nobody-gave", SOURCES, "facts.denial is None or served_by_a_menu(facts):",
        "facts.denial is None:", UIS, FOLD,
    ),
    _fault(
        "nobody-knows-is-missed", SOURCES, 'facts.row["disposition"] not in ("answered", "unknown")',
        'facts.row["disposition"] != "answered"', UIS, FOLD,
    ),
    _fault("rescue-leaves-dead-letters", "inbox/rescue.py", "state IN ('received', 'dead')", "state = 'received'", RESCUE),
    _fault(
        "rescue-gives-ids-again", "inbox/rescue.py",
        '        _continue_after(new, _one(old, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0])  # type: ignore[index]\n',
        "", RESCUE,
    ),
    _fault(
        "rescue-forgets-request-ids", "inbox/rescue.py", '("facts", "placements", "attempts", "counters")',
        '("facts", "counters")', RESCUE,
    ),
    {
        **_fault(
            "rescue-is-not-synced", "inbox/rescue.py", "    files.sync(part)\n    _remove_logs(path)\n",
            "    _remove_logs(path)\n",
            "tests/inbox/test_power_cut.py::test_an_inbox_that_was_written_anew_is_whole_after_a_power_cut",
        ),
        "caught": False,
        "reason": "equivalent: SQLite's own backup and change of journal mode sync the file that they write",
    },
    _fault("clock-half-an-hour-behind-is-right", "inbox/clock.py", "if away < -MINUTE:", "if away < -HOUR:", CLOCK),
    _fault("clock-years-ahead-after-a-restart-are-right", "inbox/clock.py", "if away > LONGEST_OFF:", "if False:", CLOCK),
    _fault("clock-a-moving-clock-is-believed", "inbox/clock.py", "since = known.since if steady else at.uptime",
           "since = known.since or at.uptime", CLOCK),
    _fault("reserve-takes-the-last-bytes", "inbox/reserve.py", ".free > 2 * size", ".free > size", FULL),
    _fault("reserve-is-given-up-for-nothing", "inbox/reserve.py", "if path.exists() and shutil.disk_usage(directory).free < size:",
           "if path.exists():", FULL),
    _fault("rehearsal-knows-the-indexes-of-calls-alone", "calllog/rehearsal.py", "    for table in WRITTEN:\n",
           "    for table in WRITTEN[:1]:\n", f"{WRITTEN}::test_a_night_without_a_call_log_makes_no_dead_letter"),
    _fault("rehearsal-leaves-its-call", "calllog/rehearsal.py", "            raise _RolledBack\n", "            pass\n", f"{WRITTEN}::test_what_is_tried_on_the_call_log_leaves_nothing_in_it"),
    _fault("held-calls-are-all-tried-at-once", "calllog/held.py", "(due if through else due[:1])", "due", f"{LOCKED}::test_of_locked_calls_one_at_a_time_is_tried_until_one_gets_through"),
    _fault("held-calls-are-tried-ever-so-often", "calllog/held.py", "self._tried[call] * 2", "self._tried[call]", f"{LOCKED}::test_a_locked_call_is_tried_ever_more_seldom"),
    _fault("doors-half-the-world-is-a-network", "setup/doors.py", "WIDEST = {4: 8, 6: 16}", "WIDEST = {4: 1, 6: 16}", DOORS),
    _fault("doors-who-may-write-is-not-named", "setup/doors.py", "(stat.S_IROTH | stat.S_IWOTH)", "stat.S_IROTH", DOORS),
    _fault("attributes-tell-an-authorization", "schemas/attributes.py", "secret|authorization)", "secret)", ATTRIBUTES),
    _fault("attributes-drop-nested-keys-of-fields", "schemas/attributes.py", "not nested and not parent and key in read",
           "not nested and key in read", ATTRIBUTES),
    _fault("back-while-somebody-writes", "calllog/database.py",
           "        SchemaInfo.update(version=0).where(SchemaInfo.id == 1).execute(db)\n        back:", "        back:", f"{BACK}::test_a_way_back_that_died_at_any_statement_is_finished_by_the_next"),
    _fault("back-and-only-the-newer-release-may-write", "calllog/database.py",
           "SchemaInfo.update(version=version, readable_by=version)", "SchemaInfo.update(version=version)", f"{BACK}::test_a_way_back_that_died_at_any_statement_is_finished_by_the_next"),
    _fault("a-cause-on-a-start-counts", "schemas/mtt.py", '(said["cause"] or cause_of_data) if hangup else ""',
           '(said["cause"] or cause_of_data)', "tests/schemas/test_mtt.py"),
    _fault("a-superscript-is-a-digit", "schemas/mtt.py", 're.fullmatch("[0-9]{1,5}", cause)', "cause.isdigit()",
           "tests/schemas/test_hostile.py::test_a_number_with_digits_of_another_script_is_never_our_own_fault"),
]  # fmt: skip
