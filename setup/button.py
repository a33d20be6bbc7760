"""The provider's test button, judged like a real event: what its owner reads in the answer, before the first call."""

from dataclasses import replace

import setup
from inbox import Outcome
from schemas.reading import Delivery

OWN = b'"self_test"'  # check --send
TEST, TEST_WRONG = "test", "test_wrong"  # reasons of a delivery that is ignored
TESTS = (TEST, TEST_WRONG)


def judged(delivery: Delivery, outcome: Outcome) -> Outcome:
    """The outcome of a test, with what the feed's set-up module says of it: `test_wrong` where something is to be changed.
    Any other outcome as it is."""
    if outcome.reason != TEST or OWN in delivery.body:
        return outcome
    entered = setup.feeds().get(delivery.feed)
    right, sentence = entered.tested(delivery) if entered else (True, "")
    return replace(outcome, reason=TEST if right else TEST_WRONG, detail=sentence) if sentence else outcome
