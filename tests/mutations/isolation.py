"""Faults in what keeps one sender, feed or backup from harming the others."""

PAGE, COMMANDS = "tests/handlers/page/test_page.py", "tests/cli/test_commands.py"
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
        "cli/terminal.py",
        "click.echo(visible(str(text)))",
        "click.echo(str(text))",
        f"{COMMANDS}::test_no_command_prints_what_a_terminal_obeys_nor_without_end",
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
