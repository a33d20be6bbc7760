"""What the templates use: moments, lengths and words as a person reads them, links to this page and to its files."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from flask import g, request, url_for

import models
from handlers.answers import connector
from handlers.page import shown
from handlers.page import words as russian
from handlers.page.dealt_with import open_count
from inbox import now
from inbox.judge import DAY
from inbox.links import hosts_of_provider
from inbox.state import standstill
from schemas.fields import host_of, is_of

SHOWN_FOR = 7 * DAY  # a change of a call that had long ended
WITHOUT_BREAK = "\u00a0"
STATIC = Path(__file__).parent / "static"
YES = {False: "нет", True: "да"}  # and 0, 1
WORDS: dict[str, Mapping[Any, str]] = {
    "direction": russian.DIRECTIONS,
    "state": russian.STATES,
    "disposition": russian.DISPOSITIONS,
    "reason": russian.REASONS,
    "hangup_by": russian.HANGUP_BY,
    "kind": russian.KINDS,
    **dict.fromkeys(("is_answered", "is_missed", "provider_lost", "answered", "lost"), YES),
}


def tools() -> dict[str, Any]:
    """The names that every template has. Without the password (g.operator) there is no menu and no count."""
    here, operator, room = connector(), g.get("operator", False), shown.Room()
    return {
        "operator": operator,
        "dead_count": (lambda: open_count(here.inbox)) if operator else None,
        "running": here.running if operator else None,
        "standstill": lambda: standstill(here.inbox),
        "zone": zone,
        "seen": room.seen,
        "link": lambda url: room.link(url) if _is_known(url) else "",
        "preview": shown.preview,
        "when": when,
        "minute": minute,
        "length": length,
        "number": number,
        "counted": counted,
        "grouped": grouped,
        "dialled": dialled,
        "label": label,
        "value": value,
        "late_recent": lambda at: now() - at < SHOWN_FOR,
        "words": russian,
        "address": address,
        "ours": ours,
        "static": lambda name: url_for("page.static", filename=name, v=digest(name)),
    }


def _is_known(url: str) -> bool:
    """Whether the provider whose call is shown (g.provider) is known to have its recordings there."""
    here = connector()
    return is_of(host_of(url), hosts_of_provider(here.settings, here.inbox, g.get("provider", "")))


def ours(reason: str) -> bool:
    """Whether this reason is a fault of the connector's: its detail is a traceback, and nobody at the provider can help."""
    return reason in ("our_fault", "indigestible")


@cache
def digest(name: str) -> str:
    """Of a static file's content, under which browsers keep the file for ever; "" where there is no such file."""
    file = STATIC / name
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""


def when(moment: int | datetime | None) -> str:
    """A moment (milliseconds since 1970 UTC, or the call log's wall clock) in TIMEZONE; of today the time alone."""
    if moment is None:
        return "—"
    zone = connector().settings.timezone
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment // 1000, zone).replace(tzinfo=None)
    today = datetime.now(zone).date()
    if moment.date() == today:
        return f"{moment:%H:%M:%S}"
    return (
        f"{moment:%d.%m{WITHOUT_BREAK}%H:%M:%S}"
        if moment.year == today.year
        else f"{moment:%d.%m.%Y{WITHOUT_BREAK}%H:%M:%S}"
    )


def minute(moment: int, later: int = 0) -> str:
    """A moment (milliseconds) so many seconds later, as a form's field has it: wall clock in TIMEZONE."""
    at = datetime.fromtimestamp(moment // 1000 + later, connector().settings.timezone)
    return f"{at:%Y-%m-%dT%H:%M:%S}"


def length(seconds: int | None) -> str:
    """«1 ч 2 мин 5 с»."""
    if seconds is None:
        return "—"
    hours, rest = divmod(seconds, 3600)
    parts = ((hours, "ч"), (rest // 60, "мин"), (rest % 60, "с"))
    return WITHOUT_BREAK.join(f"{count}{WITHOUT_BREAK}{unit}" for count, unit in parts if count) or f"0{WITHOUT_BREAK}с"


def number(count: int) -> str:
    """12 345."""
    return f"{count:,}".replace(",", WITHOUT_BREAK)


def zone() -> str:
    """Europe/Moscow (UTC+3), the zone of every moment on the page."""
    here = connector().settings.timezone
    offset = datetime.now(here).strftime("%z")
    return f"{here} (UTC{offset[:3].replace('+0', '+').replace('-0', '−')}{':' + offset[3:] if offset[3:] != '00' else ''})"


def counted(count: int, one: str, few: str, many: str) -> str:
    """«1 человек», «2 человека», «5 человек»."""
    last, tens = count % 10, count % 100
    word = one if last == 1 and tens != 11 else few if 2 <= last <= 4 and not 12 <= tens <= 14 else many
    return f"{number(count)}\u00a0{word}"


def grouped(phone: str) -> str:
    """+7 920 111-96-13 of a Russian number, with blanks that do not break; any other text as it is."""
    if len(phone) == 11 and phone[0] == "7" and phone.isascii() and phone.isdigit():
        return f"+7\u00a0{phone[1:4]}\u00a0{phone[4:7]}-{phone[7:9]}-{phone[9:]}"
    return phone


def dialled(phone: str) -> str:
    """What a telephone dials (`tel:`) of a normalised number: "" for a hidden number or a name."""
    if not (phone.isascii() and phone.isdigit()):
        return ""
    return f"+{phone}" if len(phone) > 10 else phone


def label(name: str) -> str:
    """What a column, or a field of an event, is called: of a column the beginning of its comment in models.py."""
    field = models.Calls._meta.fields.get(name)
    if name in russian.FIELDS or field is None:
        return russian.FIELDS.get(name, name)
    text = str(field.help_text).removeprefix("1 — ").split(":")[0].split(";")[0].split(" (")[0]
    return text[:1].upper() + text[1:]


def value(name: str, value: Any) -> Any:
    """A column's value, or a field's of an event, for a person."""
    if name in WORDS:
        return WORDS[name].get(value, value)
    if name.endswith("_at"):
        return when(value)
    if name.endswith("_seconds") or name == "seconds":
        return length(value)
    if name in ("client_number", "line_number", "employee_number", "redirected_from"):
        return grouped(value)
    if name == "recordings":
        return "; ".join(recording.get("url") or "без адреса" for recording in value)
    return value


def address(**changed: Any) -> str:
    """This page with some of its parameters changed (None: taken out)."""
    parameters = {**(request.view_args or {}), **request.args.to_dict(), **changed}
    return url_for(str(request.endpoint), **{name: given for name, given in parameters.items() if given is not None})
