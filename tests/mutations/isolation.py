"""Faults in what keeps one sender, feed or backup from harming the others."""

PAGE, COMMANDS = "tests/handlers/page/test_page.py", "tests/cli/test_commands.py"
NGINX = "tests/deploy/test_nginx.py"
INBOX, BACKUP = "tests/inbox/test_inbox.py", "tests/upkeep/test_backup.py"


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> dict[str, object]:
    return {"name": f"isolation-{name}", "file": file, "old": old, "new": new, "tests": list(tests)}


MUTATIONS = [
    _fault(
        "feeds-take-no-turns",
        "inbox/deliveries.py",
        "heapq.heappush(feeds, (cost + COST + len(stored.delivery.body), feed, queue))",
        "heapq.heappush(feeds, (cost, feed, queue))",
        f"{INBOX}::test_feeds_take_turns_so_that_a_flood_of_one_delays_no_other",
    ),
    _fault(
        "the-turn-has-no-index",
        "inbox/deliveries.py",
        '"deliveries INDEXED BY deliveries_turn")',
        '"deliveries INDEXED BY deliveries_received")',
        f"{INBOX}::test_what_comes_next_is_found_by_the_index_however_much_waits",
    ),
    _fault(
        "a-page-has-room-for-ever",
        "handlers/page/shown.py",
        "            self.left -= len(shown[-1])\n",
        "",
        f"{PAGE}::test_a_page_of_a_hostile_call_is_no_flood",
    ),
    _fault(
        "a-terminal-obeys",
        "server/visible.py",
        "    return text.translate(",
        "    return text or text.translate(",
        f"{COMMANDS}::test_no_command_prints_what_a_terminal_obeys_nor_without_end",
    ),
    _fault(
        "an-address-has-no-limit",
        "deploy/nginx.conf",
        "limit_conn pbx_sender 1000;",
        "limit_conn pbx_sender 100000;",
        f"{NGINX}::test_an_address_has_a_thousand_requests_at_once_and_the_rest_is_closed_and_counted",
    ),
    _fault(
        "an-address-has-a-limit-for-an-honest-one",
        "deploy/nginx.conf",
        "limit_conn pbx_sender 1000;",
        "limit_conn pbx_sender 100;",
        f"{NGINX}::test_400_posts_of_one_address_during_a_restart_are_all_accepted",
    ),
    _fault(
        "nginx-is-quoted",
        "cli/nginx.py",
        '(?P<said>[^\\"]*?)(?:, client',
        "(?P<said>.*)(?:, client",
        f"{COMMANDS}::test_of_a_line_of_nginx_nothing_is_kept_that_it_quotes",
    ),
    _fault(
        "a-call-of-2099-comes-first",
        "calllog/search.py",
        "ahead = wanted.latest is not None and",
        "ahead = wanted.latest is None and",
        "tests/calllog/test_search.py::test_a_call_dated_2099_hides_no_other_and_stands_where_it_was_received",
    ),
    _fault(
        "bytes-are-not-counted",
        "inbox/writer.py",
        "            count_bytes(db, [ticket.delivery for ticket in stored if ticket.delivery])\n",
        "",
        "tests/handlers/test_metrics.py::test_what_was_sent_is_counted_from_the_tables_and_outlives_every_process",
    ),
    _fault(
        "a-backup-may-have-more-files",
        "upkeep/backup.py",
        "if listed.keys() != there or",
        "if listed.keys() - there or",
        f"{BACKUP}::test_a_file_that_the_manifest_does_not_list_stops_a_restore",
    ),
    _fault(
        "an-inbox-may-have-more-tables",
        "inbox/file.py",
        "if more := sorted(there - wanted):",
        "if more := sorted(wanted - wanted):",
        f"{BACKUP}::test_a_database_that_is_not_ours_alone_is_not_restored",
    ),
    _fault(
        "a-call-log-may-have-triggers",
        "upkeep/ours.py",
        'if type == "trigger" or',
        "if",
        f"{BACKUP}::test_a_database_that_is_not_ours_alone_is_not_restored",
    ),
]
