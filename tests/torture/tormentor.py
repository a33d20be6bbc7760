"""What every tormentor has: faults, a pace, and a disk of its own. Each fault is a method; its docstring is its name in the
report. A tormentor runs in a thread of its own, so that faults meet one another."""

import contextlib
import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.rig.service import until

Fault = Callable[[], None]


def name(fault: Fault) -> str:
    """As the report names it."""
    return (fault.__doc__ or fault.__name__).strip(" .")


class Room:
    """A directory on a small disk of its own (a tmpfs), so that it can be full or read-only; needs root."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory, self.megabytes = directory, megabytes
        self.own_disk = os.getuid() == 0
        self.lock = threading.Lock()  # one thing at a time is done to it
        self.guests: list[threading.Lock] = []
        directory.mkdir(parents=True, exist_ok=True)
        if self.own_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)], check=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte is left."""
        filler = self.directory / "filler"
        with self.lock:
            try:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                yield
            finally:
                filler.unlink(missing_ok=True)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written, from the moment when nobody has a file open for writing any more."""
        remount = ["mount", "-o", "remount,ro", str(self.directory)]
        with self.lock:
            until(lambda: subprocess.run(remount, capture_output=True).returncode == 0, "nobody writes", 60)
            try:
                yield
            finally:
                subprocess.run(["mount", "-o", "remount,rw", str(self.directory)], check=True)

    def guest(self) -> threading.Lock:
        """Held by who has a SQLite file of it open in this process: see alone."""
        self.guests.append(threading.Lock())
        return self.guests[-1]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No guest has a file open. A power cut ends every process of the host; one that lived on would checkpoint what
        the shim does not see, or join an old file and a new -wal (sqlite.org/howtocorrupt.html, section 2.4)."""
        with contextlib.ExitStack() as stack:
            for guest in self.guests:
                stack.enter_context(guest)
            yield

    def close(self) -> None:
        if self.own_disk:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)


class Tormentor(threading.Thread):
    """Breaks one thing after another until told to stop; what it could not put right is `error`."""

    def __init__(self, chance: random.Random, pause: float) -> None:
        super().__init__(daemon=True)
        self.chance, self.pause = chance, pause
        self.tally: Counter[str] = Counter()
        self.only: tuple[str, ...] = ()  # parts of the names of the faults that are wanted; none: all
        self.error: BaseException | None = None
        self.over = threading.Event()

    def faults(self) -> list[Fault]:
        """What it can do here."""
        raise NotImplementedError

    def run(self) -> None:
        faults = [fault for fault in self.faults() if not self.only or any(part in name(fault) for part in self.only)]
        try:
            turn: list[Fault] = []
            while faults and not self.over.wait(self.chance.uniform(0.3, 2) * self.pause):
                turn = turn or self.chance.sample(faults, len(faults))  # each once before any comes again
                fault = turn.pop()
                self.tally[name(fault)] += 1
                self.before()
                fault()
        except BaseException as error:
            self.error = error

    def before(self) -> None:
        """What must be whole before the next fault."""

    def hold(self, least: float, most: float) -> None:
        """Leave it broken for a while."""
        self.over.wait(self.chance.uniform(least, most))
