"""Faults of a call log that is locked, too much, or cannot be written."""

LOCKED, TOO_MUCH, WRITTEN = (f"tests/calllog/test_{name}.py" for name in ("locked", "too_much", "cannot_be_written"))

MUTATIONS = [
    {
        "name": "lock-all-calls-wait-for-one",
        "file": "forwarder.py",
        "old": "    if isinstance(error, Locked):\n        return of_calls\n",
        "new": "    if isinstance(error, Locked):\n        raise error\n",
        "tests": [f"{LOCKED}::test_of_a_batch_in_which_one_row_is_locked_all_the_others_are_written"],
    },
    {
        "name": "lock-new-deliveries-of-a-held-call-are-tried-at-once",
        "file": "forwarder.py",
        "old": "            if _call(item) not in self._held:\n",
        "new": "            if True:\n",
        "tests": ["tests/test_meanwhile.py::test_new_deliveries_of_a_call_that_is_held_join_the_others"],
    },
    {
        "name": "lock-of-everything-is-not-told",
        "file": "forwarder.py",
        "old": "            self._call_log.check_locks()\n",
        "new": "            pass\n",
        "tests": [f"{LOCKED}::test_a_serializable_reader_of_everything_keeps_every_call_out_and_that_is_told"],
    },
    {
        "name": "batch-is-read-whatever-its-size",
        "file": "calllog/batch.py",
        "old": "        if several:\n            self.fits(self.text)\n",
        "new": "",
        "tests": ["tests/test_meanwhile.py::test_calls_too_big_to_be_read_together_are_not_understood_together"],
    },
    {
        "name": "batch-is-read-without-asking-how-long-it-is",
        "file": "calllog/batch.py",
        "old": "        if text > MOST_TEXT:\n",
        "new": "        if False:\n",
        "tests": [f"{TOO_MUCH}::test_calls_too_big_to_be_read_at_once_kill_no_forwarder_and_stop_nobody"],
    },
    {
        "name": "batch-larger-than-a-packet",
        "file": "calllog/statements.py",
        "old": 'getattr(db, "max_packet", 0) // 4 or sys.maxsize',
        "new": "sys.maxsize",
        "tests": [
            f"{TOO_MUCH}::test_a_batch_larger_than_a_packet_is_written_and_a_delivery_larger_than_one_stops_nobody"
        ],
    },
    {
        "name": "call-of-any-number-of-recordings",
        "file": "calllog/bounds.py",
        "old": "> MOST_RECORDINGS:",
        "new": "> 10 * MOST_RECORDINGS:",
        "tests": [f"{TOO_MUCH}::test_what_is_beyond_a_calls_bounds_is_dead_with_its_reason"],
    },
    {
        "name": "dead-letters-of-a-call-log-that-refuses-everything",
        "file": "forwarder.py",
        "old": "        self._call_log.rehearse()\n        delivery, event = item\n",
        "new": "        delivery, event = item\n",
        "tests": ["tests/test_meanwhile.py::test_a_call_log_that_begins_to_refuse_everything_makes_no_dead_letter"],
    },
    {
        "name": "index-of-others-is-not-looked-for",
        "file": "calllog/rehearsal.py",
        "old": "    if foreign:\n",
        "new": "    if False:\n",
        "tests": [f"{WRITTEN}::test_a_unique_index_of_others_is_named_and_nothing_is_lost_or_overwritten"],
    },
    {
        "name": "rehearsal-is-committed",
        "file": "calllog/rehearsal.py",
        "old": "            raise _RolledBack\n",
        "new": "            pass\n",
        "tests": [f"{WRITTEN}::test_what_is_tried_on_the_call_log_leaves_nothing_in_it"],
    },
    {
        "name": "login-errors-pass-unwrapped",
        "file": "calllog/database.py",
        "old": "        except Exception as error:  # of the network",
        "new": "        except ZeroDivisionError as error:  # of the network",
        "tests": [f"{WRITTEN}::test_a_login_that_the_driver_cannot_do_is_a_call_log_that_is_away"],
    },
    {
        "name": "timezone-ends-open-calls",
        "file": "calllog/overdue.py",
        "old": " + expires <= now\n",
        "new": " <= now\n",
        "tests": [f"{TOO_MUCH}::test_a_call_log_whose_timezone_was_changed_ends_no_open_call"],
    },
    {
        "name": "replaced-inbox-lacks-what-was-forwarded-since-the-copy",
        "file": "inbox/rescue.py",
        "old": "max(_copied(old, new, last), last - MOST_SETTLED)",
        "new": "last",
        "tests": [
            "tests/inbox/test_rescue.py::"
            "test_what_was_forwarded_since_the_copy_is_saved_too_for_a_call_log_that_is_restored_later"
        ],
    },
]
