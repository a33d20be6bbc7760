"""Who is to be called back, the figures, and what a worker keeps of a day (calllog/callbacks.py, statistics.py, days.py)."""

BACK, FIGURES = "tests/calllog/test_callbacks.py", "tests/calllog/test_statistics.py"
PLAIN = f"{BACK}::test_people_are_those_of_a_plain_recomputation"
KEPT = f"{BACK}::test_what_is_kept_of_a_day_is_right_again_after_every_change_of_it"
SUMS = f"{FIGURES}::test_figures_are_those_of_a_plain_recomputation"


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> dict[str, object]:
    return {"name": f"callbacks-{name}", "file": f"calllog/{file}.py", "old": old, "new": new, "tests": list(tests)}


MUTATIONS = [
    _fault("a-talk-before-the-missed-call", "callbacks", "if other.at > call.started_at:", "if True:", PLAIN),
    _fault(
        "an-internal-talk", "callbacks", "AND is_missed = 0 AND direction <> 'internal'", "AND is_missed = 0", PLAIN
    ),
    _fault(
        "the-talk-begins-with-the-call", "callbacks", "if answered and talked is not None else", "if False else", PLAIN
    ),
    _fault("hidden-numbers-are-a-client", "callbacks", "        if not call.hidden:\n", "        if True:\n", PLAIN),
    _fault("deleted-calls-are-kept", "days", "            self._forget_fewer(db, wanted)\n", "", KEPT),
    _fault("changed-calls-are-kept", "days", "self._forget(date.fromisoformat(day))", "pass", KEPT),
    {
        **_fault("a-talk-is-for-good", "days", "last is not None and last >= changed", "False", KEPT),
        "caught": False,
        "reason": "no test notices it yet",
    },
    {
        **_fault(
            "nothing-follows-for-good",
            "days",
            "            self._doubt_open({client for _, client in found})\n",
            "",
            KEPT,
        ),
        "caught": False,
        "reason": "no test notices it yet",
    },
    _fault(
        "another-log-is-the-same",
        "days",
        "log != self._log or not",
        "not",
        f"{BACK}::test_a_restored_call_log_is_another_one",
    ),
    _fault(
        "short-ones-are-missed",
        "statistics",
        '"missed": f"calls.is_missed = 1 AND NOT {_SHORT}"',
        '"missed": "calls.is_missed = 1"',
        SUMS,
    ),
    _fault(
        "twenty-seconds-are-late", "statistics", "calls.wait_seconds <= {LEVEL", "calls.wait_seconds < {LEVEL", SUMS
    ),
    _fault(
        "a-day-has-24-hours",
        "period",
        "until.replace(tzinfo=zone).timestamp() - since.replace(tzinfo=zone).timestamp()",
        "(until - since).total_seconds()",
        SUMS,
    ),
    _fault("who-got-through-was-called", "period", "elif outcome.talk.is_out:", "elif True:", SUMS),
]
