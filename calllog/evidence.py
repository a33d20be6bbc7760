"""What each column of a call rests on, strongest source first: the first that can tell decides.

The tables are taken from the top down, so a source may look at the columns above its own. What is in none of them is simply
told (facts.STATED: by the last event that says anything) or counted (fold.py). Why in this order, and what each provider
sends: docs/decisions/0005-fold-choices.md, docs/feeds. What a source does is its docstring in sources.py.
"""

from calllog import sources as by
from calllog.facts import Source

Table = dict[str, tuple[Source, ...]]

CALL: Table = {
    "direction": (by.stated_internal, by.two_extensions, by.stated_direction, by.address),
    "client_number": (by.nobody_outside, by.stated_client, by.far_party, by.near_party, by.our_line),
    "is_answered": (by.best_proof,),  # schemas/event.py: PROOFS
}
RESULT: Table = {  # of a call that has ended
    "hangup_by": (by.named_by_the_reason, by.remark),
    "reason": (by.before_an_answer, by.named_reason),
    "reason_raw": (by.word_of_the_reason, by.any_word),
    "disposition": (by.somebody_talked, by.served_by_a_menu, by.stated_disposition, by.by_the_reason, by.nobody_knows),
    "is_missed": (by.to_call_back,),
}
LENGTHS: Table = {
    "total_seconds": (by.stated_total,),
    "wait_seconds": (by.stated_wait,),
    "talk_seconds": (by.end_without_talk, by.talk_of_the_end, by.talks_one_by_one, by.total_without_wait),
}
MOMENTS: Table = {
    "ended_at": (by.stated_end, by.start_and_length, by.end_as_noted),
    "started_at": (by.stated_start, by.end_without_total, by.first_ring, by.end_without_lengths, by.first_heard),
    "answered_at": (by.nobody_answered, by.lost_answer, by.stated_answer, by.end_without_the_talk, by.answer_as_noted),
}
FROM_MOMENTS: Table = {  # lengths that nobody told
    "talk_seconds": (by.from_answer_to_end,),
    "wait_seconds": (by.from_start_to_answer,),
    "total_seconds": (by.from_start_to_end,),
}
EMPLOYEE: Table = {
    "employee": (by.caller, by.nobody, by.named_as_last, by.latest_answer, by.of_the_end, by.any_answer, by.name_alone),
    "employee_ids": (by.own_id, by.among_these),
}
