"""Faults of a wrong clock, of purges that take too much, of full disks and of files that only grow."""

CLOCK = ["tests/inbox/test_wrong_clock.py"]
FULL = ["tests/cli/test_full_disk.py"]

MUTATIONS = [
    {
        "name": "clock-purge-deletes-while-it-is-doubted",
        "file": "cli/purge.py",
        "old": "    if not dry_run:\n        _refuse_by_clock(inbox)\n",
        "new": "",
        "tests": CLOCK,
    },
    {
        "name": "clock-too-old-while-it-is-doubted",
        "file": "forwarder.py",
        "old": "at = self._believed_now() if days and taken else None",
        "new": "at = now() if days and taken else None",
        "tests": CLOCK,
    },
    {
        "name": "clock-calls-are-over-while-it-is-doubted",
        "file": "forwarder.py",
        "old": "if (at_believed := self._believed_now()) is not None:",
        "new": "if at_believed := now():",
        "tests": CLOCK,
    },
    {
        "name": "clock-silence-while-it-is-doubted",
        "file": "inbox/state.py",
        "old": "[] if doubt else _silent(",
        "new": "_silent(",
        "tests": CLOCK,
    },
    {
        "name": "clock-a-delivery-of-the-future-hides-silence",
        "file": "inbox/clock.py",
        "old": "        if not trust.doubt:\n            db.execute",
        "new": "        if False:\n            db.execute",
        "tests": CLOCK,
    },
    {
        "name": "clock-a-doubted-moment-is-noted",
        "file": "inbox/clock.py",
        "old": "return Trust(at.boot, usual, known.noted, known",
        "new": "return Trust(at.boot, usual, at.wall, known",
        "tests": ["tests/inbox/test_clock.py"],
    },
    {
        "name": "clock-a-failed-nightly-purge-is-a-success",
        "file": "deploy/pbx-connector-daily.service",
        "old": " && exit $$purged",
        "new": "",
        "tests": CLOCK,
    },
    {
        "name": "leap-a-shortened-term-asks-nobody",
        "file": "upkeep/leaps.py",
        "old": "longest = max(days, (last.at.wall - last.before) // DAY, 1)",
        "new": "longest = max(days, 1)",
        "tests": ["tests/upkeep/test_leaps.py"],
    },
    {
        "name": "leap-days-pass-by-the-wall-clock",
        "file": "upkeep/leaps.py",
        "old": "        return at.uptime - since.uptime\n",
        "new": "        return at.wall - since.wall\n",
        "tests": ["tests/upkeep/test_leaps.py"],
    },
    {
        "name": "full-no-reserve-is-given-up",
        "file": "inbox/reserve.py",
        "old": "            path.unlink()\n",
        "new": "            pass\n",
        "tests": FULL,
    },
    {
        "name": "full-no-reserve-is-made",
        "file": "inbox/watch.py",
        "old": "        reserve.keep(self.settings)\n",
        "new": "",
        "tests": FULL,
    },
    {
        "name": "wal-of-the-inbox-only-grows",
        "file": "inbox/file.py",
        "old": "PRAGMA journal_size_limit = {WAL_LIMIT}",
        "new": "PRAGMA journal_size_limit = -1",
        "tests": ["tests/inbox/test_wal.py"],
    },
    {
        "name": "wal-of-the-call-log-only-grows",
        "file": "calllog/database.py",
        "old": '"journal_size_limit": WAL_LIMIT',
        "new": '"journal_size_limit": -1',
        "tests": ["tests/inbox/test_wal.py"],
    },
]
