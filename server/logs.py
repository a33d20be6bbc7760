"""Logs are sentences with the ids that a sysadmin greps; never a body, a key, a link, or a whole phone number.

A line about a delivery has its id: in the sentence, and in JSON as the field `delivery`.
"""

import io
import json
import logging
import logging.config
import re
import sqlite3
import sys
import threading
import traceback
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


class TextFormatter(logging.Formatter):
    """One line of text; what has more, as a traceback, goes on below it with a margin."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record)).replace("\n", "\n    ")

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
        if record.exc_info:
            said["traceback"] = told(record.exc_info[1])
        return json.dumps(said, ensure_ascii=False)


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
    """For logging.config.dictConfig, and for gunicorn's logconfig_dict: all to stderr, no access log (it has keys)."""
    text = {
        "()": "server.logs.TextFormatter",
        "format": "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s",
        "datefmt": "%Y-%m-%dT%H:%M:%S%z",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "server.logs.JsonFormatter"} if log_format == "json" else text},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.__stderr__"}
        },
        # libraries at debug would log every statement with its values
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "connector": {"level": log_level.upper()},
            "gunicorn.error": {"level": log_level.upper(), "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }
