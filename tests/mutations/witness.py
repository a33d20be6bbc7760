"""The service as the witness of its own state: what it says of itself, what is asked of it, what a broken file does to it."""

RUNNING = "tests/deploy/test_running.py"
DIFFERS = f"{RUNNING}::test_the_service_says_what_it_is_where_one_looks_and_check_finds_what_differs"
BROKEN = f"{RUNNING}::test_a_setting_broken_after_it_was_checked_ends_nothing_and_is_named"
FRONT = "tests/deploy/test_front.py"

MUTATIONS = [
    {
        "name": "WI01-a-broken-file-ends-the-service-at-a-reload",
        "file": "deploy/gunicorn.conf.py",
        "old": "        if before is None:\n",
        "new": "        if error:\n",
        "tests": [BROKEN],
    },
    {
        "name": "WI02-check-does-not-compare-the-settings",
        "file": "cli/check.py",
        "old": '    if service["settings"] != node_state(settings, terminal.inbox()).settings:\n',
        "new": "    if not service:\n",
        "tests": [DIFFERS],
    },
    {
        "name": "WI03-reload-does-not-wait-for-the-new-workers",
        "file": "cli/reload.py",
        "old": 'if after["generation"] > before["generation"] else 0',
        "new": "if after else 0",
        "tests": [DIFFERS, BROKEN],
    },
    {
        "name": "WI04-the-fingerprint-is-no-secret-of-the-inbox",
        "file": "inbox/state.py",
        "old": 'key = facts.get("page_secret", "")\n',
        "new": 'key = "page_secret"\n',
        "tests": [f"{RUNNING}::test_a_fingerprint_changes_with_any_setting_and_tells_none"],
    },
    {
        "name": "WI05-the-front-takes-502-for-an-answer",
        "file": "deploy/nginx-front.conf",
        "old": "proxy_next_upstream error timeout http_502 http_503 http_504 non_idempotent;",
        "new": "proxy_next_upstream error timeout non_idempotent;",
        "tests": [f"{FRONT}::test_no_sender_notices_the_death_of_a_connector_or_of_a_nodes_nginx"],
        "caught": False,
        "reason": "the node is let go for a second by the fault before; wait until its nginx has answered 502",
    },
    {
        "name": "WI06-nodes-with-other-keys-are-alike",
        "file": "inbox/state.py",
        "old": "return theirs != ours and theirs",
        "new": "return not ours and theirs",
        "tests": ["tests/handlers/test_health.py::test_nodes_whose_keys_differ_are_named"],
    },
    {
        "name": "WI07-a-refusal-in-the-journal-has-no-priority",
        "file": "server/logs.py",
        "old": "for_journal(text, record.levelno) if self._journal else text",
        "new": "text",
        "tests": [
            "tests/server/test_logs.py::"
            "test_the_journal_gets_priorities_and_a_senders_address_with_each_refusal_and_no_second_clock"
        ],
    },
    {
        "name": "WI08-a-settings-file-that-is-not-there-is-none",
        "file": "config.py",
        "old": "        if dotenv.is_symlink():\n",
        "new": "        if not dotenv:\n",
        "tests": ["tests/test_settings.py::test_settings_that_cannot_be_read_are_no_default_settings"],
    },
]
