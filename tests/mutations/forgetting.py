"""A person forgotten: his, and mentions; what finishes, what brings back, what is left in bytes."""

from typing import Any

TESTS = ["tests/upkeep/test_forget.py"]

MUTATIONS: list[dict[str, Any]] = [
    {
        "name": "forgetting-ids-are-numbers",
        "file": "upkeep/blanking.py",
        "old": "    return _IDS.fullmatch(canonical(key)) is not None\n",
        "new": "    return False\n",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-mention-is-his",
        "file": "upkeep/sweep.py",
        "old": "        found = {call: at for call, at in found.items() if call not in others}\n",
        "new": "",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-blanked-delivery-is-another-event",
        "file": "inbox/judge.py",
        "old": "        event = event._replace(event_key=delivery.event_key)\n",
        "new": "        pass\n",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-times-are-compared-at-first",
        "file": "upkeep/search.py",
        "old": "        if self.marks is not None and at == self.marks.at:\n",
        "new": "        if False:\n",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-bite-that-was-cut-off-is-not-counted",
        "file": "upkeep/unfinished.py",
        "old": "            if bite.done is not None or not later & bite.rows:\n",
        "new": "            if bite.done is not None:\n",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-bite-that-was-not-done-is-counted",
        "file": "upkeep/unfinished.py",
        "old": "            if bite.done is not None or not later & bite.rows:\n",
        "new": "            if True:\n",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-late-call-is-not-known-by-its-id",
        "file": "upkeep/keeper.py",
        "old": "        if found:\n            self._forget(db, found)\n",
        "new": "",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-other-nodes-are-not-asked",
        "file": "upkeep/exchange.py",
        "old": "        self._who.append(new)\n",
        "new": "",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-a-dump-is-not-noticed",
        "file": "upkeep/keeper.py",
        "old": "        if lacking:\n            yield from",
        "new": "        if False:\n            yield from",
        "tests": [*TESTS],
    },
    {
        "name": "forgetting-no-vacuum",
        "file": "inbox/file.py",
        "old": '            db.execute("VACUUM")\n',
        "new": "",
        "tests": [*TESTS],
    },
]
