"""Doors that open again: authority by a notification, no limit, what strangers learn, a lock that locks the operator out."""

CALL = "tests/handlers/test_make_call.py"
PAGE = "tests/handlers/page/test_page.py"

MUTATIONS = [
    {
        "name": "DR01-foreign-destinations-are-dialled",
        "file": "handlers/make_call.py",
        "old": "    if allowed(phone(number), here.settings.make_call_to):\n",
        "new": "    if number:\n",
        "tests": [f"{CALL}::test_by_default_only_russian_numbers_are_dialled"],
    },
    {
        "name": "DR02-an-employees-number-may-be-anywhere",
        "file": "handlers/make_call.py",
        "old": "    if len(phone(number)) > _SHORTEST:",
        "new": "    if len(phone(number)) > 99:",
        "tests": [f"{CALL}::test_an_employees_number_is_a_destination_too"],
    },
    {
        "name": "DR03-no-limit-of-an-extension",
        "file": "inbox/orders.py",
        "old": "if by_ext >= of_ext:",
        "new": "if by_ext < 0:",
        "tests": [f"{CALL}::test_an_extension_has_a_limit_a_minute_on_all_workers_together"],
    },
    {
        "name": "DR04-no-limit-of-all",
        "file": "inbox/orders.py",
        "old": "if in_all >= of_all:",
        "new": "if in_all < 0:",
        "tests": [f"{CALL}::test_all_extensions_together_have_a_limit"],
    },
    {
        "name": "DR05-several-numbers-are-taken-over",
        "file": "calllog/employees.py",
        "old": "if not one.others and one.days >= CONSISTENT_DAYS",
        "new": "if one.days >= CONSISTENT_DAYS",
        "tests": [f"{CALL}::test_the_upgrade_takes_over_once_what_the_log_shows_consistently"],
    },
    {
        "name": "DR06-one-day-is-enough-to-be-taken-over",
        "file": "calllog/employees.py",
        "old": "DAYS, CONSISTENT_DAYS = 30, 3",
        "new": "DAYS, CONSISTENT_DAYS = 30, 1",
        "tests": [f"{CALL}::test_the_upgrade_takes_over_once_what_the_log_shows_consistently"],
    },
    {
        "name": "DR07-each-worker-answers-120-questions",
        "file": "server/limit.py",
        "old": "os.pwrite(self._file, _MINUTE.pack(began, count + 1), 0)",
        "new": "os.pwrite(self._file, _MINUTE.pack(began, 0), 0)",
        "tests": [
            "tests/handlers/test_contact_card.py::"
            "test_no_more_than_120_questions_a_minute_are_answered_whichever_worker_is_asked"
        ],
    },
    {
        "name": "DR08-strangers-learn-the-nodes-state",
        "file": "handlers/health.py",
        "old": "    more = is_insider()\n",
        "new": "    more = bool(is_insider) or is_insider()\n",
        "tests": [
            "tests/handlers/test_health.py::"
            "test_a_stranger_is_told_ready_and_nothing_else_and_asks_the_disk_once_a_second"
        ],
    },
    {
        "name": "DR09-each-readyz-is-a-synced-write",
        "file": "inbox/state.py",
        "old": "FRESH_SECONDS = 1.0",
        "new": "FRESH_SECONDS = -1.0",
        "tests": [
            "tests/handlers/test_health.py::"
            "test_a_stranger_is_told_ready_and_nothing_else_and_asks_the_disk_once_a_second"
        ],
    },
    {
        "name": "DR10-a-known-browser-is-locked-by-its-neighbour",
        "file": "handlers/page/guard.py",
        "old": "guesser = g.browser.id if g.browser else address",
        "new": "guesser = address",
        "tests": [f"{PAGE}::test_a_browser_that_once_gave_the_password_is_not_locked_by_a_stranger_beside_it"],
    },
    {
        "name": "DR11-a-cookie-outlives-its-password",
        "file": "handlers/page/guard.py",
        "old": "{here.inbox.fact('page_secret')} {here.settings.operator_password}",
        "new": "{here.inbox.fact('page_secret')}",
        "tests": [f"{PAGE}::test_the_cookie_is_for_this_page_alone_and_void_under_another_password"],
    },
    {
        "name": "DR12-a-misspelt-door-is-no-failure",
        "file": "cli/check.py",
        "old": 'wrong.append("doors")',
        "new": "wrong.extend(())",
        "tests": ["tests/setup/test_doors.py::test_a_misspelt_setting_of_a_door_that_is_thought_shut_is_a_failure"],
    },
    {
        "name": "DR13-any-host-that-ends-so",
        "file": "schemas/fields.py",
        "old": 'host.endswith(f".{domain}")',
        "new": "host.endswith(domain)",
        "tests": ["tests/handlers/test_recordings.py::test_what_only_looks_like_it_is_not"],
    },
    {
        "name": "DR14-the-page-links-to-any-host",
        "file": "handlers/page/formats.py",
        "old": 'room.link(url) if _is_known(url) else ""',
        "new": "room.link(url)",
        "tests": [
            "tests/handlers/test_recordings.py::test_a_link_to_another_host_is_text_in_the_call_log_and_on_the_page"
        ],
    },
]
