"""Logs are sentences with the ids that a sysadmin greps; never a body, a key, a link, or a whole phone number."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

_KEY = re.compile(r"(?i)(\bkey=)[^&\s\"'?]+")
_NUMBER = re.compile(r"(?<![\w.:-])(\+?\d{4})\d{3,7}(\d{4})(?![\w:-])")


def masked(text: str) -> str:
    """Keys gone, phone numbers as 7920***9613."""
    return _NUMBER.sub(r"\1***\2", _KEY.sub(r"\1***", text))


class TextFormatter(logging.Formatter):
    """One line of text."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


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
        if record.exc_info:
            said["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(said, ensure_ascii=False)


def dict_config(log_format: str, log_level: str) -> dict[str, Any]:
    """For logging.config.dictConfig, and for gunicorn's logconfig_dict: all to stderr, no access log (it has keys)."""
    text = {
        "()": "logs.TextFormatter",
        "format": "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s",
        "datefmt": "%Y-%m-%dT%H:%M:%S%z",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "logs.JsonFormatter"} if log_format == "json" else text},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        # libraries at debug would log every statement with its values
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "connector": {"level": log_level.upper()},
            "gunicorn.error": {"level": log_level.upper(), "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }
