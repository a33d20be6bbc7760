"""Who was forgotten: keyed hashes of numbers and call ids, so that no replay and no late delivery brings them back.

DATA_DIR/inbox/forgotten, one line a fact, only ever appended to: `key <hex>`, and beneath it `number <hash> <when>`,
`own …`, `call …`, `contact …` and `done …` in milliseconds since 1970 UTC. `when` is the moment
of the act, the same in every line of it. No restore replaces the list: lists are merged, with those of other nodes too
(upkeep/exchange.py). The key lies beside the hashes, so whoever reads the file can try all numbers: they are out of sight,
not secret from its owner.
"""

import contextlib
import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from schemas.event import CallEvent
from schemas.fields import phone
from server import files
from upkeep.spellings import WHOLE, normal

CallId = tuple[str, str]  # (provider, provider_call_id)
NUMBER, OWN, CALL, CONTACT = "number", "own", "call", "contact"
DONE = "done"  # of a number: its first sweep is over


class Fact(NamedTuple):
    """A line of a list, with the key that it stands beneath in hex."""

    key: str
    kind: str
    digest: str
    at: int


class Forgotten:
    """The list in `directory`, or with None one of this object's own. Safe for any number of processes; read anew when it
    has changed."""

    def __init__(self, directory: Path | None) -> None:
        self.path = None if directory is None else directory / "forgotten"
        self._number, self._hint = "", re.compile("")
        self._of: frozenset[int] | None = None
        self._seen: tuple[int, int] | None = None
        self._lists: dict[bytes, dict[tuple[str, str], int]] = {}
        self._latest = -1
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

    # -- what it knows: each answer is when somebody was forgotten (the last time), -1 if never

    def of(self, event: CallEvent) -> int:
        """Of the call, or of the client's number if the event is from before that was forgotten."""
        of_call = self.when_call(event.provider, event.provider_call_id)
        if of_call >= 0:
            return of_call
        of_client = self.when_client(event.client_number, event.caller_raw, event.called_raw)
        return of_client if min(event.moment, event.received_at) <= of_client else -1

    def when_call(self, provider: str, provider_call_id: str) -> int:
        """Of the call."""
        return self._when((CALL,), [(CALL, provider, provider_call_id)])

    def when_client(self, client_number: str, *raws: str) -> int:
        """Of the client of a call or an event. Where no client is named it may be either of the raw numbers."""
        if client_number:
            return self._when_number((NUMBER, OWN), _spelled(client_number))
        return self._when_number((NUMBER,), {one for raw in raws if raw for one in _spelled(phone(raw))})

    def when_number(self, number: str) -> int:
        """Of a number that stands in a text, normalised; not of the company's own."""
        return self._when_number((NUMBER,), (number,))

    def when_row(self, table: str, id: int, updated_at: object) -> int:
        """Of a row that 1C wrote, as it was then, whatever its clock says."""
        return self._when((CONTACT,), [(CONTACT, table, str(id), str(updated_at))])

    def may_mention(self, text: str) -> bool:
        """False only where no number of the list can stand in a text."""
        return self._hint.search(text) is not None

    @property
    def latest(self) -> int:
        """When anybody was forgotten the last time, -1: nobody was."""
        self._look()
        return self._latest

    def _when_number(self, kinds: Iterable[str], numbers: Collection[str]) -> int:
        if self._number:
            numbers = [number for number in numbers if number == self._number]
        return self._when(kinds, [(NUMBER, number) for number in numbers]) if numbers else -1

    def _when(self, kinds: Iterable[str], things: Iterable[tuple[str, ...]]) -> int:
        self._look()
        found = (
            known.get((kind, digest), -1)
            for key, known in self._lists.items()
            if known
            for digest in [_digest(key, *thing) for thing in things]
            for kind in kinds
        )
        return max((at for at in found if self._of is None or at in self._of), default=-1)

    # -- a part of it

    def only(self, ats: Iterable[int], number: str = "") -> "Forgotten":
        """The same list, of which only what was forgotten at these moments counts: the one number, where it is known."""
        one = Forgotten(self.path.parent if self.path else None)
        one._of, one._lists = frozenset(ats), self._lists
        if number:
            one._number = number
            digits = r"(?:\D|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}){0,16}?".join(number[-10:])
            one._hint = re.compile(digits)
        return one

    def covers(self, ats: Collection[int]) -> bool:
        """Whether all that was forgotten at these moments counts here."""
        return self._of is None or self._of.issuperset(ats)

    def digests(self) -> dict[int, list[str]]:
        """When -> the hashes of the numbers that were forgotten then."""
        found: dict[int, list[str]] = {}
        for fact in self.facts():
            if fact.kind in (NUMBER, OWN) and (self._of is None or fact.at in self._of):
                found.setdefault(fact.at, []).append(fact.digest)
        return found

    def known(self) -> int:
        """How many numbers were forgotten."""
        return sum(map(len, self.digests().values()))

    def facts(self) -> list[Fact]:
        """All of it."""
        self._look()
        return [
            Fact(key.hex(), kind, digest, at)
            for key, known in self._lists.items()
            for (kind, digest), at in known.items()
        ]

    # -- adding to it

    def key(self) -> str:
        """The key beneath which new facts belong, in hex; made if there is none. Call it in `held`."""
        return self._key().hex()

    def digest(self, number: str) -> str:
        """The number's hash beneath that key. Call it in `held`."""
        return _digest(self._key(), NUMBER, number)

    def add(
        self,
        at: int,
        digest: str = "",
        calls: Iterable[CallId] = (),
        own: bool = False,
        rows: Iterable[tuple[str, int, object]] = (),
    ) -> list[Fact]:
        """Forget a number by its `digest` (the company's own: only as a client), calls and rows that 1C wrote (table, id,
        updated_at), on disk when this returns; the facts. Call it in `held`."""
        key = self._key()
        kinds = [(OWN if own else NUMBER, digest)] if digest else []
        kinds += [(CALL, _digest(key, CALL, *call)) for call in calls]
        kinds += [(CONTACT, _digest(key, CONTACT, table, str(id), str(moment))) for table, id, moment in rows]
        facts = [Fact(key.hex(), kind, hashed, at) for kind, hashed in kinds]
        self.append(facts)
        return facts

    def append(self, facts: Iterable[Fact]) -> None:
        """Facts of any list at the end of this one, on disk when this returns. Call it in `held`."""
        self._read()
        lines, last = "", next(reversed(self._lists), b"").hex()
        for key, kind, digest, at in facts:
            lines += f"key {key}\n" if key != last else ""
            lines += f"{kind} {digest} {at}\n"
            last = key
        if lines:
            self._write(lines)

    def merge(self, other: Path) -> None:
        """All that another list (a backup's) knows, added to this one."""
        theirs = Forgotten(other.parent).facts()
        with self.held():
            mine = {fact[:3]: fact.at for fact in self.facts()}
            self.append(fact for fact in theirs if mine.get(fact[:3], -1) < fact.at)

    def size(self) -> int:
        """Of the list's file in bytes: it only grows."""
        return self.path.stat().st_size if self.path and self.path.exists() else 0

    def since(self, size: int) -> set[int]:
        """The moments of all that was added since the file was so long."""
        if self.path is None or self.size() <= size:
            return set()
        with self.path.open("rb") as file:
            file.seek(size)
            lines = file.read().decode("ascii", "replace").split("\n")
        return {int(line.split(" ")[2]) for line in lines if _FACT.fullmatch(line)}

    def _key(self) -> bytes:
        """The key beneath which new lines belong."""
        self._read()
        if not self._lists:
            key = secrets.token_bytes(32)
            self._lists[key] = {}
            self._write(f"key {key.hex()}\n")
        return next(reversed(self._lists))

    def _write(self, lines: str) -> None:
        if self.path is None:
            self._parse(lines)
        else:
            files.append(self.path, lines)
            self._read()

    # -- reading it

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
        if seen != self._seen:
            self._lists = {}
            self._parse(self.path.read_text())
            self._seen = seen

    def _parse(self, lines: str) -> None:
        known: dict[tuple[str, str], int] = next(reversed(self._lists.values()), {})
        for line in lines.split("\n"):
            match line.split(" "):
                case ["key", key] if len(key) == 64:
                    known = self._lists.pop(bytes.fromhex(key), {})
                    self._lists[bytes.fromhex(key)] = known  # the last in order is the one that new lines belong to
                case [kind, hashed, at] if at.isascii() and at.isdigit():
                    known[kind, hashed] = max(int(at), known.get((kind, hashed), -1))
                    self._latest = max(self._latest, int(at))


def _spelled(number: str) -> set[str]:
    """What `phone` made of a number, and the number that 007… and 8 10 7… dial. Of ten digits it has left none but those
    after a +, which are another country's."""
    return {number, number if len(number) == WHOLE else normal(number)}


_FACT = re.compile(r"[a-z]+ [0-9a-f]+ [0-9]+")


def _digest(key: bytes, *parts: str) -> str:
    return hmac.digest(key, "\n".join(parts).encode("utf-8", "surrogatepass"), "sha256").hex()
