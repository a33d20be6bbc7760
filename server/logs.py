"""Logs are sentences with the ids that a sysadmin greps; never a body, a key, a link, or a whole phone number.

A line about a delivery has its id: in the sentence, and in JSON as the field `delivery`. Nothing waits for whoever reads
stderr: lines go through a bounded queue, and a line that repeats is written once with a count.
"""

import io
import json
import logging
import logging.config
import os
import queue
import re
import select
import sqlite3
import sys
import threading
import time
import traceback
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

_GAP = r"(?:[^\S\n]|[().+-]|%20|%28|%29|%2D|&nbsp;){0,3}"  # between the digits of a number as people write it
_NUMBER = re.compile(
    rf"""(?:\+|%2B)(?:{_GAP}\d){{9,15}}
    |(?<!\d)(?<!\d\.)(?:
        [78](?:{_GAP}\d){{10}}  # 8 (920) 111-96-13, 8.920.111.96.13
        |\d{{10,15}}  # also within a word
        |\(\d{{3,5}}\)(?:{_GAP}\d){{5,7}}  # (4812) 38-12-34
        |\d{{3}}[ -]\d{{3}}[ -]?\d\d[ -]?\d\d  # 920 111-96-13; with dots it would be an address
    )(?!\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_SLASH = r"(?:\\?/|%2F)"
_STRANGE = r"(?:Invalid request from ip=[^\s'\"]*:|Ignored premature client disconnection\.|Closing connection\.)"
_SAID = (
    # gunicorn quotes what it could not read: a request line with its key, or the tail of a body taken for one
    (re.compile(rf"(?s)({_STRANGE} [^'\"]*)['\"].*"), r"\1***"),
    (re.compile(r"(?<=[\w/])\?[^\s\"'=]*=[^\s\"']*"), "?***"),  # a query has the key, and of a GET it is the body
    (re.compile(r"(?i)(\bkey=)[^&\s\"'?]+"), r"\1***"),
    (re.compile(rf"(?i)(https?(?::|%3A){_SLASH}{{2}}[^\s\"'/\\%]+{_SLASH})[^\s\"']+"), r"\1***"),
)
# errors whose words name files, types and addresses; the words of any other may quote what a sender said
_PLAIN = (OSError, sqlite3.Error, ImportError, NameError, AttributeError, TypeError, RuntimeError, MemoryError)

log = logging.getLogger("connector.process")


def masked(text: str) -> str:
    """Keys, queries and the paths of links gone, phone numbers in any spelling as 7920***9613."""
    for pattern, instead in _SAID:
        text = pattern.sub(instead, text)
    return _NUMBER.sub(_masked_number, text)


def _masked_number(found: re.Match[str]) -> str:
    digits = re.sub(r"%[0-9A-F]{2}|\D", "", found[0], flags=re.IGNORECASE)
    plus = "+" if found[0].startswith(("+", "%")) else ""
    return f"{plus}{digits[: min(4, len(digits) - 7)]}***{digits[-4:]}"


def told(error: BaseException | None) -> str:
    """A traceback, causes first: where it went wrong and of what kind; the error's words only where they quote nobody."""
    parts: list[str] = []
    while error is not None and len(parts) < 10:
        words = f": {error}" if isinstance(error, _PLAIN) and not isinstance(error, UnicodeError) else ""
        parts.insert(0, f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__qualname__}{words}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return masked("\nand then\n".join(parts))


def in_journal() -> bool:
    """Whether stderr is a stream of systemd's journal: JOURNAL_STREAM names the one that it has given."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def for_journal(text: str, level: int) -> str:
    """Each line with its priority in front, which the journal takes off again (sd-daemon(3))."""
    return "".join(f"<{PRIORITIES.get(level, 6)}>{line}" for line in text.splitlines(keepends=True))


class TextFormatter(logging.Formatter):
    """One line of text; what has more, as a traceback, goes on below it with a margin."""

    def format(self, record: logging.LogRecord) -> str:
        line = masked(super().format(record)).replace("\n", "\n    ")
        repeats = getattr(record, "repeats", 0)
        return f"{line} (and {repeats} more times within a minute)" if repeats else line

    def formatException(self, ei: Any) -> str:
        return told(ei[1])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": masked(record.getMessage()),
        }
        if hasattr(record, "delivery"):
            said["delivery"] = record.delivery
        if hasattr(record, "repeats"):
            said["repeats"] = record.repeats
        if record.exc_info:
            said["traceback"] = told(record.exc_info[1])
        return json.dumps(said, ensure_ascii=False)


class QueuedHandler(logging.Handler):
    """Lines to stderr by a thread of its own: a write to a pipe that nobody reads blocks for ever, and every request that
    logs would wait behind it. What does not fit the queue is dropped and counted; the count is written once there is room.
    Of equal lines within FOLD_SECONDS the first IN_FULL are written, and then how many more there were.

    Works across a fork: each process has its own queue and thread. `close`, which a new configuration calls, ends the
    thread, so that a reload leaves no old code behind."""

    MOST_BYTES = 1 << 20  # that wait for stderr; some ten thousand lines
    FOLD_SECONDS, IN_FULL = 60, 3
    MOST_KINDS = 1000  # of lines, whose repeats are counted
    FLUSH_SECONDS = 2  # at the end of the process, for a reader that is merely slow

    def __init__(self) -> None:
        super().__init__()
        self._journal = in_journal()
        self._start()

    def _start(self) -> None:
        """The queue and the counts of this process."""
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._lines: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._queued = self._written = self._dropped = 0  # bytes, bytes, lines
        self._kinds: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()  # (first seen at, how often)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line. Never blocks, never raises."""
        try:
            if self._pid != os.getpid():
                self._start()
            now = time.monotonic()
            self._fold(now)
            kind = (record.name, record.levelno, record.getMessage())
            since, seen = self._kinds.get(kind, (now, 0))
            self._kinds[kind] = (since, seen + 1)
            if seen < self.IN_FULL:
                self._queue(record)
        except Exception:  # a line that cannot be formatted
            self._dropped += 1

    def _fold(self, now: float) -> None:
        """Write the counts of the lines whose time is over."""
        while self._kinds:
            kind, (since, seen) = next(iter(self._kinds.items()))
            if now - since < self.FOLD_SECONDS and len(self._kinds) <= self.MOST_KINDS:
                return
            del self._kinds[kind]
            if seen > self.IN_FULL:
                name, level, message = kind
                count = logging.LogRecord(name, level, "", 0, message, None, None)
                count.repeats = seen - self.IN_FULL
                self._queue(count)

    def _queue(self, record: logging.LogRecord) -> None:
        text = self.format(record) + "\n"
        line = (for_journal(text, record.levelno) if self._journal else text).encode("utf-8", "backslashreplace")
        if self._queued - self._written + len(line) > self.MOST_BYTES:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            sentence = f"{dropped} lines before this one were dropped: whatever reads the log does not keep up"
            self._queue(logging.LogRecord(log.name, logging.WARNING, "", 0, sentence, None, None))
        self._queued += len(line)
        self._lines.put(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        """The thread: a line a write, so that the lines of several processes do not mix."""
        lines = self._lines
        while True:
            try:
                line = lines.get(timeout=self.FOLD_SECONDS)
            except queue.Empty:
                if self.lock is not None and self.lock.acquire(blocking=False):  # else whoever logs does it
                    try:
                        self._fold(time.monotonic())
                    finally:
                        self.lock.release()
                continue
            if line is None:
                return
            if isinstance(line, threading.Event):
                line.set()
                continue
            _write_all(2, line)
            self._written += len(line)

    def flush(self) -> None:
        """Wait until what is queued is written, FLUSH_SECONDS at most."""
        if self._pid == os.getpid() and self._thread is not None and self._thread.is_alive():
            written = threading.Event()
            self._lines.put(written)
            written.wait(self.FLUSH_SECONDS)

    def close(self) -> None:
        """Write the counts that there are, and end the thread."""
        if self._pid == os.getpid():
            self._fold(float("inf"))
            self._lines.put(None)
            if self._thread is not None:
                self._thread.join(self.FLUSH_SECONDS)
        super().close()


def _write_all(descriptor: int, line: bytes) -> None:
    """All of the line, however long that takes; what cannot be written (a full disk, a reader that went) is gone."""
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:  # somebody made it non-blocking
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
        except OSError:
            return


class _Stderr(io.TextIOBase):
    """What somebody prints to stderr, as lines of the log."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                log.error("%s", line)
        return len(text)


def take_over(log_format: str, log_level: str) -> dict[str, Any]:
    """In a service every line of stderr is one of the log: ours, gunicorn's, Python's own warnings and complaints, and what
    anybody prints there. Returns the configuration, for gunicorn to use again."""
    configuration = dict_config(log_format, log_level)
    logging.config.dictConfig(configuration)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # logging would print the arguments of a line that it cannot format
    threading.excepthook = _thread_died
    sys.unraisablehook = _not_raised
    sys.stderr = _Stderr()
    return configuration


def _thread_died(hook: threading.ExceptHookArgs) -> None:
    name = hook.thread.name if hook.thread else "unknown"
    log.error("the thread %s died", name, exc_info=hook.exc_value)


def _not_raised(hook: Any) -> None:
    log.error("an error that nobody could be told of", exc_info=hook.exc_value)


def dict_config(log_format: str, log_level: str) -> dict[str, Any]:
    """For logging.config.dictConfig, and for gunicorn's logconfig_dict: all to stderr, no access log (it has keys). The
    journal gets priorities, and has a clock of its own."""
    text = {
        "()": "server.logs.TextFormatter",
        "format": ("" if in_journal() else "%(asctime)s ") + "%(levelname)s %(name)s [%(process)d] %(message)s",
        "datefmt": "%Y-%m-%dT%H:%M:%S%z",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "server.logs.JsonFormatter"} if log_format == "json" else text},
        "handlers": {"stderr": {"class": "server.logs.QueuedHandler", "formatter": "line"}},
        # libraries at debug would log every statement with its values
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "connector": {"level": log_level.upper()},
            "gunicorn.error": {"level": log_level.upper(), "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }
