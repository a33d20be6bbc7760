"""One fault and more for each invariant of ARCHITECTURE.md."""

MUTATIONS = [
    {
        "name": "invariant-1-answered-before-the-sync",
        "file": "inbox/writer.py",
        "old": 'db = self._file.connect(synchronous="FULL")',
        "new": 'db = self._file.connect(synchronous="OFF")',
        "tests": ["tests/inbox/test_power_cut.py::test_every_delivery_answered_200_is_in_the_inbox_after_a_power_cut"],
    },
    {
        "name": "invariant-1-answered-before-the-commit",
        "file": "inbox/writer.py",
        "old": "                self._add_queued(group)\n",
        "new": "                self._add_queued(group)\n                [ticket.settle() for ticket in group]\n",
        "tests": ["tests/inbox/test_inbox.py::test_a_delivery_whose_commit_fails_is_not_acknowledged"],
    },
    {
        "name": "invariant-2-a-repeat-raises-the-receipt",
        "file": "calllog/fold.py",
        "old": "if there is None or event.received_at < there.received_at:",
        "new": "if there is None or event.received_at > there.received_at:",
        "tests": ["tests/calllog/test_fold.py::test_a_repeat_can_only_lower_the_receipt_time"],
    },
    {
        "name": "invariant-2-the-order-of-arrival-counts",
        "file": "calllog/fold.py",
        "old": "told = sorted(_without_broken_silence(first.values()), key=order)",
        "new": "told = _without_broken_silence(first.values())",
        "tests": ["tests/calllog/test_fold.py::test_order_and_repeats_of_events_change_nothing"],
    },
    {
        "name": "invariant-3-a-repeat-has-a-key-of-its-own",
        "file": "calllog/batch.py",
        "old": "            event.event_key,\n            event.feed,",
        "new": "            event.event_key[:-8] + str(event.received_at)[-8:],\n            event.feed,",
        "tests": ["tests/calllog/test_call_log.py::test_a_repeat_changes_nothing_and_moves_no_number"],
    },
    {
        "name": "invariant-3-marked-before-the-commit",
        "file": "forwarder.py",
        "old": "        applied = self._call_log.apply([event for _, event in batch], create_missing, wait)\n",
        "new": "        self.inbox.settle([(d, Outcome(FORWARDED, event_key=e.event_key)) for d, e in batch if d])\n"
        "        applied = self._call_log.apply([event for _, event in batch], create_missing, wait)\n",
        "tests": ["tests/test_crash_points.py::test_a_batch_that_dies_at_any_write_is_whole_after_the_next_one"],
    },
    {
        "name": "invariant-4-one-bad-row-takes-the-others-along",
        "file": "inbox/writer.py",
        "old": "stored = [ticket for ticket in stored if _insert_alone(db, ticket)]",
        "new": "raise",
        "tests": ["tests/inbox/test_inbox.py::test_a_row_that_cannot_be_stored_stops_no_other"],
    },
    {
        "name": "invariant-4-a-bad-event-ends-the-batch",
        "file": "forwarder.py",
        "old": "            except (TooMuch, Locked, Indigestible) as error:\n",
        "new": "            except (TooMuch, Locked) as error:\n",
        "tests": ["tests/calllog/test_call_log.py::test_an_event_that_the_database_refuses_is_dead_and_stops_no_other"],
    },
    {
        "name": "invariant-5-change-no-has-gaps",
        "file": "calllog/batch.py",
        "old": "                last += 1\n",
        "new": "                last += 2\n",
        "tests": ["tests/calllog/test_call_log.py::test_numbers_are_dense"],
    },
    {
        "name": "invariant-5-a-restore-is-not-noticed",
        "file": "calllog/batch.py",
        "old": "if known.incarnation and (incarnation != known.incarnation or change_no < known.change_no):",
        "new": "if False:",
        "tests": ["tests/calllog/test_call_log.py::test_a_restored_call_log_is_made_whole_and_readers_miss_nothing"],
    },
    {
        "name": "invariant-6-legs-are-written-anew",
        "file": "calllog/batch.py",
        "old": "old = there.pop((call_id, name), None)",
        "new": "old = None",
        "tests": ["tests/calllog/test_call_log.py::test_ids_of_call_legs_and_recordings_never_change"],
    },
    {
        "name": "invariant-7-a-refused-delivery-is-not-stored",
        "file": "inbox/writer.py",
        "old": "stored = [ticket for ticket in group if ticket.delivery]",
        "new": "stored = [ticket for ticket in group if ticket.delivery and ticket.outcome.state != DEAD]",
        "tests": [
            "tests/handlers/test_bad_input.py::test_what_cannot_be_a_notification_is_refused_and_kept_as_it_came"
        ],
    },
]
