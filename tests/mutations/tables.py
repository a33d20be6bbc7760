"""What had no column (schemas/attributes.py) and the way back (docs/decisions/0012)."""

ATTRIBUTES, BACK = "tests/schemas/test_attributes.py", "tests/calllog/test_way_back.py"

MUTATIONS = [
    {
        "name": "attributes-a-secret-is-one",
        "file": "schemas/attributes.py",
        "old": "if (nested or text) and not _SECRET.fullmatch(key):",
        "new": "if nested or text:",
        "tests": [f"{ATTRIBUTES}::test_no_secret_is_an_attribute"],
    },
    {
        "name": "attributes-without-a-bound-of-bytes",
        "file": "schemas/attributes.py",
        "old": "if left < 0 or len(kept) == MOST_ATTRIBUTES:",
        "new": "if len(kept) == MOST_ATTRIBUTES:",
        "tests": [f"{ATTRIBUTES}::test_the_worst_delivery_fits_its_row_on_both_databases"],
    },
    {
        "name": "attributes-the-first-that-came-of-too-many",
        "file": "schemas/attributes.py",
        "old": "for name in sorted(found):",
        "new": "for name in found:",
        "tests": [f"{ATTRIBUTES}::test_an_event_has_a_bounded_number_of_them_the_first_by_name"],
    },
    {
        "name": "parts-alone-move-no-change-no",
        "file": "calllog/batch.py",
        "old": ' or old["id"] in moved:',
        "new": ":",
        "tests": [f"{ATTRIBUTES}::test_a_change_of_the_parts_alone_moves_change_no"],
    },
    {
        "name": "payload-an-unknown-key-is-a-fault",
        "file": "schemas/event.py",
        "old": "for name, value in json.loads(payload).items() if name in _FIELDS}",
        "new": 'for name, value in json.loads(payload).items() if name != "v"}',
        "tests": [f"{BACK}::test_a_newer_call_log_that_allows_it_is_written"],
    },
    {
        "name": "readable-by-is-not-asked",
        "file": "calllog/database.py",
        "old": "return self.version == VERSION or self.readable_by <= VERSION < self.version",
        "new": "return self.version >= VERSION",
        "tests": [f"{BACK}::test_a_newer_call_log_that_does_not_allow_it_is_left_alone"],
    },
    {
        "name": "the-way-back-is-walked-while-others-write",
        "file": "calllog/database.py",
        "old": "        SchemaInfo.update(version=0).where(SchemaInfo.id == 1).execute(db)\n",
        "new": "",
        "tests": [f"{BACK}::test_a_way_back_that_died_at_any_statement_is_finished_by_the_next"],
    },
    {
        "name": "the-way-back-leaves-payloads-as-they-are",
        "file": "deploy/migrations/0002_attributes_employees.py",
        "old": "if old != payload:",
        "new": "if False:",
        "tests": [f"{BACK}::test_the_release_before_reads_what_this_one_stored_after_the_way_back"],
    },
]
