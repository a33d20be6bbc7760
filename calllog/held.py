"""Calls whose rows another transaction has locked: they wait apart, so that the others do not wait for them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

FIRST_DELAY, LONGEST_DELAY = 1.0, 8.0  # seconds until a call is tried again

Key = tuple[str, str]  # provider, provider_call_id


@dataclass(slots=True)
class _Waiting:
    delay: float
    again_at: float  # monotonic seconds
    deliveries: set[int] = field(default_factory=set)


class Held:
    """The calls, and the ids of their deliveries, which stay `received` in the inbox and in their order.

    One call at a time is tried again, the one that has waited longest; as soon as one gets through, all are."""

    def __init__(self) -> None:
        self._calls: dict[Key, _Waiting] = {}
        self._tried: dict[Key, float] = {}  # those that are tried in this turn, with the delay that they had

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call: Key) -> bool:
        return call in self._calls

    @property
    def any(self) -> bool:
        """Whether a lock may be met in this turn: nobody should wait for it again."""
        return bool(self._calls or self._tried)

    def deliveries(self) -> set[int]:
        """The ids that are not to be taken now."""
        return {id for waiting in self._calls.values() for id in waiting.deliveries}

    def next_turn(self) -> None:
        """Let those whose turn it is be taken again."""
        through = self._tried.keys() - self._calls.keys()
        clock = time.monotonic()
        due = sorted((w.again_at, call) for call, w in self._calls.items() if through or w.again_at <= clock)
        self._tried = {call: self._calls.pop(call).delay for _, call in (due if through else due[:1])}

    def add(self, call: Key, deliveries: Iterable[int]) -> None:
        """The call is locked; or a held one has got more deliveries."""
        waiting = self._calls.get(call)
        if waiting is None:
            delay = min(LONGEST_DELAY, self._tried[call] * 2) if call in self._tried else FIRST_DELAY
            waiting = self._calls[call] = _Waiting(delay, time.monotonic() + delay)
        waiting.deliveries.update(deliveries)
