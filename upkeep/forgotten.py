"""Who was forgotten: keyed hashes of numbers and call ids, so that no replay and no late delivery brings them back.

DATA_DIR/inbox/forgotten, one line a fact, only ever appended to: `key <hex>`, and beneath it `number <hash> <when>`,
`own <hash> <when>` and `call <hash> <when>` in milliseconds since 1970 UTC. No restore replaces it: lists are merged. The
key lies beside the hashes, so whoever reads the file can try all numbers: they are out of sight, not secret from its owner.
"""

import contextlib
import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.event import CallEvent
from schemas.fields import phone
from server import files

CallId = tuple[str, str]  # (provider, provider_call_id)
NUMBER, OWN, CALL = "number", "own", "call"
SHORTEST = 5  # digits: what has fewer is an extension, not somebody's phone

_SHOWN = re.compile(r"\d(?:[\s().\u00a0-]{0,3}\d){9,14}")  # +7 (920) 111-96-13
_BARE = re.compile(r"\d{%d,15}" % SHORTEST)


def numbers_in(text: str) -> set[str]:
    """All that may be phone numbers in a text, bare or with brackets and dashes, normalised and, as a + before them may be
    the country's, as they are."""
    found = _BARE.findall(text) + ["".join(filter(str.isdecimal, shown)) for shown in _SHOWN.findall(text)]
    return {number for digits in found for number in (digits, phone(digits))}


class Forgotten:
    """The list in `directory`, or with None one of this object's own. Safe for any number of processes; read anew when it
    has changed."""

    def __init__(self, directory: Path | None) -> None:
        self.path = None if directory is None else directory / "forgotten"
        self._hint: re.Pattern[str] | None = None
        self._seen: tuple[int, int] | None = None
        self._lists: dict[bytes, dict[tuple[str, str], int]] = {}
        self._holding = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other forgetting and forwarding out, so that every later batch knows what is added here."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{self.path}.lock", os.O_RDONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read()
            self._holding = True
            yield
        finally:
            self._holding = False
            os.close(lock)

    def of(self, event: CallEvent) -> bool:
        """Whether an event is of a forgotten call, or of a forgotten number and from before that was forgotten."""
        at = min(event.moment, event.received_at)
        return self.of_call(event.provider, event.provider_call_id) or at <= self.when_client(
            event.client_number, event.caller_raw, event.called_raw
        )

    def of_call(self, provider: str, provider_call_id: str) -> bool:
        """Whether the call is forgotten."""
        self._look()
        call = (CALL, provider, provider_call_id)
        return any((CALL, _digest(key, *call)) in known for key, known in self._lists.items() if known)

    def when_client(self, client_number: str, *raws: str) -> int:
        """When the client of a call or an event was forgotten (the last time), -1 if never. Where no client is
        named it may be either of the raw numbers."""
        if client_number:
            return self._when((NUMBER, OWN), (client_number,))
        return self._when((NUMBER,), {phone(raw) for raw in raws if raw})

    def when_mentioned(self, *texts: str) -> int:
        """When somebody was forgotten whose number a text mentions in any spelling, -1 if nobody was."""
        if self._hint is not None and not any(map(self._hint.search, texts)):
            return -1
        return self._when((NUMBER,), {number for text in texts for number in numbers_in(text)})

    def only(self, number: str) -> "Forgotten":
        """The same list, in whose texts only this number is looked for: a sweep for one person need not hash every number
        of a million calls."""
        self._hint = re.compile(r"\D{0,3}".join(number[-10:]))
        return self

    @property
    def is_one(self) -> bool:
        """Whether the list is used to forget one person now, not to delete again."""
        return self._hint is not None

    def _when(self, kinds: Iterable[str], numbers: Iterable[str]) -> int:
        self._look()
        latest = -1
        for key, known in self._lists.items():
            if known:
                for number in numbers:
                    for kind in kinds:
                        latest = max(latest, known.get((kind, _digest(key, NUMBER, number)), -1))
        return latest

    def known(self) -> int:
        """How many numbers were forgotten."""
        self._read()
        return sum(kind != CALL for known in self._lists.values() for kind, _ in known)

    def add(self, at: int, number: str = "", calls: Iterable[CallId] = (), own: bool = False) -> str:
        """Forget a number (the company's own: only as a client) and calls, on disk when this returns; the number's hash.
        Call it in `held`."""
        self._read()
        new_key = not self._lists
        if new_key:
            self._lists[secrets.token_bytes(32)] = {}
        key, known = list(self._lists.items())[-1]  # lines belong to the key above them
        digest = _digest(key, NUMBER, number) if number else ""
        facts = [(OWN if own else NUMBER, digest)] if number else []
        facts += [(CALL, _digest(key, CALL, *call)) for call in calls]
        if self.path is None:
            known.update(dict.fromkeys(facts, at))
        else:
            files.append(self.path, _lines(key if new_key else None, dict.fromkeys(facts, at)))
            self._read()
        return digest

    def merge(self, other: Path) -> None:
        """All that another list (a backup's) knows, added to this one."""
        theirs = Forgotten(other.parent)
        theirs._read()
        with self.held():
            self._read()
            lines = ""
            for key, known in theirs._lists.items():
                mine = self._lists.get(key, {})
                new = {fact: at for fact, at in known.items() if mine.get(fact, -1) < at}
                lines += _lines(key, new) if new else ""
            if lines and self.path is not None:
                files.append(self.path, lines)
                self._read()

    def _look(self) -> None:
        if not self._holding:  # while it is held nobody else adds to it
            self._read()

    def _read(self) -> None:
        if self.path is None:
            return
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        seen = (stat.st_ino, stat.st_size)
        if seen == self._seen:
            return
        lists: dict[bytes, dict[tuple[str, str], int]] = {}
        known: dict[tuple[str, str], int] = {}
        for line in self.path.read_text().split("\n"):
            match line.split(" "):
                case ["key", key] if len(key) == 64:
                    known = lists.pop(bytes.fromhex(key), {})
                    lists[bytes.fromhex(key)] = known  # the last in order is the one that new lines belong to
                case [kind, hashed, at] if at.isascii() and at.isdigit():
                    known[kind, hashed] = max(int(at), known.get((kind, hashed), -1))
        self._lists, self._seen = lists, seen


def _lines(key: bytes | None, facts: dict[tuple[str, str], int]) -> str:
    """Facts as they stand in the file, beneath their key if it does not stand there yet."""
    lines = "".join(f"{kind} {hashed} {at}\n" for (kind, hashed), at in facts.items())
    return lines if key is None else f"key {key.hex()}\n{lines}"


def _digest(key: bytes, *parts: str) -> str:
    return hmac.digest(key, "\n".join(parts).encode("utf-8", "surrogatepass"), "sha256").hex()
