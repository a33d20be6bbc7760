"""Environment -> Settings: every setting of docs/contract.md section 4, read once, every wrong one named at once."""

import io
import ipaddress
import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import click
from dotenv import dotenv_values

from server.logs import for_journal, in_journal
from server.visible import visible

HERE = Path(__file__).resolve().parent
PROGRAM = "pbx-connector"
VERSION: str = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Stop(click.ClickException):
    """A sentence for the sysadmin, on which a command ends with exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        text = visible(self.message)  # it may quote what came from outside
        click.echo(for_journal(text, logging.ERROR) if in_journal() else text, file=file, err=True)


class WrongSettings(Stop):
    """One message that names every wrong setting; it stops the start, never a running service."""


# --------------------------------------------------------------------------------- from the text of a setting: ValueError


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _keys(text: str) -> tuple[str, ...]:
    keys = _split(text)
    if "open" in keys and len(keys) > 1:
        raise ValueError("the word open stands alone: anyone may post, no key is asked for")
    if any(len(key.split()) > 1 for key in keys):
        raise ValueError("a key has no blanks; several are separated by commas")
    return keys


def _whole(least: int, most: int = 1_000_000) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of: {', '.join(words)}")
        return text

    return read


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no such time zone: {text} (for example Europe/Moscow)") from None


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in _split(text))
    except ValueError as error:
        raise ValueError(f"not a list of addresses: {error} (for example 10.0.0.0/8, 192.0.2.7)") from None


RUSSIAN, SHORT = "ru", "short"  # of MAKE_CALL_TO, beside prefixes


def _destinations(text: str) -> tuple[str, ...]:
    wanted = tuple(part.removeprefix("+") for part in _split(text))
    for part in wanted:
        if part not in (RUSSIAN, SHORT) and not (part.isascii() and part.isdigit()):
            raise ValueError(f"{part} is neither {RUSSIAN} nor {SHORT} nor the digits that numbers begin with")
    return wanted


def _limit(text: str) -> tuple[int, int]:
    """So many a minute, so many a day."""
    parts = _split(text)
    if len(parts) != 2:
        raise ValueError("must be two numbers, a minute and a day (for example 10, 300)")
    minute, day = map(_whole(0), parts)
    return minute, day


def _hosts(text: str) -> tuple[str, ...]:
    for host in (hosts := _split(text.lower())):
        if not all(part.isascii() and part.replace("-", "").isalnum() for part in host.split(".")):
            raise ValueError(f"{host} is no host's name (for example pbx.example.ru; an xn-- name for a Cyrillic one)")
    return hosts


WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK_MINUTES = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """When somebody is there to answer: minutes of the week from Monday 0:00, wall clock of TIMEZONE, as spans that are in
    order and do not touch."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return self.text

    def open_at(self, at: datetime) -> bool:
        """Whether somebody is there at this moment of the wall clock."""
        minute = _minute_of_week(at)
        return any(begin <= minute < end for begin, end in self.spans)

    def on(self, day: date) -> list[tuple[datetime, datetime]]:
        """The spans of one day, wall clock."""
        midnight, first = datetime.combine(day, time()), 1440 * day.weekday()
        parts = [(max(begin, first), min(end, first + 1440)) for begin, end in self.spans]
        return [
            (midnight + timedelta(minutes=begin - first), midnight + timedelta(minutes=end - first))
            for begin, end in parts
            if begin < end
        ]

    def last_closed(self, now: datetime) -> tuple[datetime, datetime | None] | None:
        """When nobody was there last: from, to; to None while it lasts. None where somebody always is."""
        if self.spans == ((0, WEEK_MINUTES),):
            return None
        opened: datetime | None = None
        for back in range(9):  # a week and its ends
            for begin, end in reversed(self.on((now - timedelta(days=back)).date())):
                if begin > now:
                    continue
                if end <= now and opened != end:  # nobody is there after it
                    return end, opened
                opened = begin
        return None


def _minute_of_week(at: datetime) -> int:
    return 1440 * at.weekday() + 60 * at.hour + at.minute


def _hours(text: str) -> WorkingHours:
    wrong = ValueError("must be spans such as mon-fri 9:00-18:00, sat 10:00-15:00 (without days: every day)")
    there: set[int] = set()
    for part in _split(text.lower()):
        found = re.fullmatch(r"(?:([a-z]{3})(?:-([a-z]{3}))? +)?(\d\d?):(\d\d) ?- ?(\d\d?):(\d\d)", part)
        if not found or not {found[1] or "mon", found[2] or "mon"} <= {*WEEKDAYS}:
            raise wrong
        begin, end = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
        if begin >= 1440 or end > 1440 or begin == end or int(found[4]) > 59 or int(found[6]) > 59:
            raise wrong
        first = WEEKDAYS.index(found[1]) if found[1] else 0
        last = WEEKDAYS.index(found[2] or found[1]) if found[1] else 6
        for day in range(first, last + 1 if first <= last else last + 8):
            at = 1440 * day
            minutes = range(at + begin, at + end + (0 if begin < end else 1440))  # past midnight
            there |= {minute % WEEK_MINUTES for minute in minutes}
    if not there:
        raise wrong
    edges = sorted(minute for minute in there if minute - 1 not in there)
    return WorkingHours(
        text, tuple((at, next(m for m in range(at, at + WEEK_MINUTES + 1) if m not in there)) for at in edges)
    )


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text.startswith("unix:/") or (host and port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        return text
    raise ValueError("must be host:port or unix:/path")


def _web(text: str) -> str:
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc):
        raise ValueError("must be an address that begins with http:// or https://")
    return text.rstrip("/")


def setting(default: str, read: Callable[[str], Any] = str, *, name: str = "", secret: bool = False) -> Any:
    """A setting: its default as a person would write it, what reads such a text (ValueError: a sentence), and its name
    where that is not the field's."""
    return field(default=read(default), metadata={"read": read, "name": name, "secret": secret})


# ---------------------------------------------------------------------------------------------------------- the settings


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Who may post to a feed, and what its provider's clock says: <FEED>_KEY and so on."""

    name: str
    keys: tuple[str, ...] = setting("", _keys, name="KEY", secret=True)
    open: bool = False  # the one key is the word open
    allow: tuple[Network, ...] = setting("", _networks)
    timezone: ZoneInfo = setting("Europe/Moscow", _zone)  # from the environment: the provider's own zone, else TIMEZONE
    silence_minutes: int = setting("0", _whole(0))
    recording_hosts: tuple[str, ...] = setting("", _hosts)

    @property
    def closed(self) -> bool:
        return not self.open and not self.keys


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, typed. `secret` ones are never printed."""

    bind: str = setting("127.0.0.1:8000", _address)
    workers: int = setting("2", _whole(1))
    threads: int = setting("32", _whole(1))
    public_url: str = setting("", _web)  # http://<BIND>
    data_dir: Path = setting("data", Path)  # relative to the code
    database_url: str = setting("", secret=True)  # sqlite:///<DATA_DIR>/calllog/calls.db
    feeds: dict[str, FeedSettings] = field(default_factory=dict)
    xvb_access_codes: tuple[str, ...] = setting("", _split)
    xvb_url: str = setting("", _web)
    xvb_token: str = setting("", secret=True)
    uis_call_api_url: str = setting("https://callapi.uiscom.ru/v4.0", _web)
    uis_api_token: str = setting("", secret=True)
    uis_virtual_number: str = setting("")
    make_call_to: tuple[str, ...] = setting("ru", _destinations)
    make_call_ext_limit: tuple[int, int] = setting("10, 300", _limit)
    make_call_total_limit: tuple[int, int] = setting("60, 3000", _limit)
    contact_questions_minute: int = setting("120", _whole(0))
    api_key: str = setting("", secret=True)
    operator_password: str = setting("", secret=True)
    timezone: ZoneInfo = setting("Europe/Moscow", _zone)
    max_body_bytes: int = setting("262144", _whole(1024, 16_777_216))
    working_hours: WorkingHours = setting("9:00-20:00", _hours)
    settle_seconds: int = setting("60", _whole(1))
    expire_hours: int = setting("4", _whole(1))
    trusted_proxies: tuple[Network, ...] = setting("127.0.0.1, ::1", _networks)
    inbox_days: int = setting("30", _whole(1, 36_500))
    calls_days: int = setting("0", _whole(0, 36_500))
    dead_days: int = setting("90", _whole(1, 36_500))
    log_format: str = setting("text", _one_of("text", "json"))
    log_level: str = setting("info", _one_of("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        """The defaults that follow from other settings."""
        data_dir = HERE / self.data_dir
        url = "http://localhost" if self.bind.startswith("unix:") else f"http://{self.bind}"
        object.__setattr__(self, "data_dir", data_dir)
        object.__setattr__(self, "public_url", self.public_url or url)
        database_url = self.database_url or f"sqlite:///{data_dir}/calllog/calls.db"
        object.__setattr__(self, "database_url", _in_code(database_url))

    @property
    def inbox_dir(self) -> Path:
        return self.data_dir / "inbox"

    def masked(self) -> Iterable[tuple[str, str]]:
        """(NAME, value) of every setting with secrets masked, for `pbx-connector check`."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name == "feeds":
                for name, feed in sorted(value.items()):
                    keys = "open" if feed.open else "closed" if feed.closed else f"{len(feed.keys)} key(s)"
                    yield f"{name.upper()}_KEY", keys
                    if feed.allow:
                        yield f"{name.upper()}_ALLOW", ", ".join(map(str, feed.allow))
                    yield f"{name.upper()}_TIMEZONE", str(feed.timezone)
                    yield f"{name.upper()}_SILENCE_MINUTES", str(feed.silence_minutes)
                    if feed.recording_hosts:
                        yield f"{name.upper()}_RECORDING_HOSTS", ", ".join(feed.recording_hosts)
            elif setting.name == "database_url":
                yield "DATABASE_URL", _without_password(value)
            elif setting.metadata.get("secret"):
                yield setting.name.upper(), "set" if value else "not set"
            elif isinstance(value, tuple):
                yield setting.name.upper(), ", ".join(map(str, value))
            else:
                yield setting.name.upper(), str(value)


def _in_code(url: str) -> str:
    """A DATABASE_URL whose relative paths are relative to the code, as those of all settings."""
    return re.sub(r"^(sqlite:///|(?:mysql|mariadb):.*[?&]ssl_ca=)(?=[^/])", rf"\g<1>{quote(str(HERE))}/", url)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


# -------------------------------------------------------------------------------------------------------------- reading


def _given(dotenv: Path, interpolate: bool = True) -> dict[str, str | None]:
    """NAME -> value as the file has them; {} where there is none. Raises WrongSettings for a file that cannot be read."""
    try:
        text = dotenv.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if dotenv.is_symlink():
            raise WrongSettings(f"{dotenv} leads to {dotenv.readlink()}, which is not there") from None
        return {}
    except OSError as error:
        raise WrongSettings(f"the settings cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise WrongSettings(
            f"{dotenv.resolve()} is not in UTF-8 (but in cp1251 or UTF-16?): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise WrongSettings(f"{dotenv.resolve()} is not in UTF-8 (but in UTF-16?): save it as UTF-8")
    return dotenv_values(stream=io.StringIO(text), interpolate=interpolate)


def _names(table: type, prefix: str = "") -> dict[str, Any]:
    """NAME -> the field of this table."""
    read = (one for one in fields(table) if "read" in one.metadata)
    return {f"{prefix}{one.metadata['name'] or one.name.upper()}": one for one in read}


def _all_names(feeds: Iterable[str]) -> dict[str, Any]:
    """NAME -> the field of its table, of every setting."""
    return _names(Settings) | {
        name: one for feed in feeds for name, one in _names(FeedSettings, f"{feed.upper()}_").items()
    }


def unknown(feeds: Iterable[str], dotenv: Path = HERE / ".env", environment: Mapping[str, str] = {}) -> dict[str, str]:
    """Names in `dotenv` that are no setting -> the setting that is most like it, "" if none is; and those of the
    `environment`, where others have their names too, that are as good as a setting's."""
    feeds = list(feeds)
    names = {*_all_names(feeds)}
    names |= {f"{name}_FILE" for name in names}
    found = _given(dotenv, interpolate=False)
    likes = {name: next(iter(get_close_matches(name, names, 1)), "") for name in found if name not in names}
    ours = tuple(f"{feed.upper()}_" for feed in feeds)
    for name in environment.keys() - names - likes.keys():
        like = get_close_matches(name, names, 1, 0.8 if name.startswith(ours) else 0.85)
        likes |= {name: like[0]} if like else {}
    return likes


def secret_files(feeds: Iterable[str], dotenv: Path, environment: Mapping[str, str]) -> list[str]:
    """The files that <NAME>_FILE of a secret names."""
    given = {**_given(dotenv), **environment}
    secrets = [name for name, one in _all_names(feeds).items() if one.metadata["secret"]]
    return [file for name in secrets if (file := given.get(f"{name}_FILE"))]


def load(feeds: Mapping[str, str], check_url: Callable[[str], Any], dotenv: Path | None = HERE / ".env") -> Settings:
    """The settings for these feeds (name -> its provider's own zone or "") from the environment and, beneath it, from
    `dotenv`; one that is empty has its default.

    `check_url` raises ValueError for a DATABASE_URL that is none. Raises WrongSettings.
    """
    given = {**(_given(dotenv) if dotenv else {}), **os.environ}
    wrong: dict[str, str] = {}
    values = _read(_names(Settings), given, wrong)
    by_feed = {}
    for feed, zone in feeds.items():
        own = _read(_names(FeedSettings, f"{feed.upper()}_"), given, wrong)
        own.setdefault("timezone", ZoneInfo(zone) if zone else values.get("timezone", Settings().timezone))
        is_open = own.get("keys") == ("open",)
        by_feed[feed] = FeedSettings(feed, **own | {"open": is_open, "keys": () if is_open else own.get("keys", ())})
    settings = Settings(feeds=by_feed, **values)
    try:
        check_url(settings.database_url)
    except ValueError as error:
        wrong["DATABASE_URL"] = f"must be {error}"
    if not wrong and 0 < settings.calls_days < settings.inbox_days:
        wrong["INBOX_DAYS"] = f"may not be longer than CALLS_DAYS ({settings.calls_days})"
    if wrong:
        raise WrongSettings(
            "\n".join(["wrong settings:", *(f"  {name}: {text}" for name, text in sorted(wrong.items()))])
        )
    return settings


def _read(names: Mapping[str, Any], given: Mapping[str, str | None], wrong: dict[str, str]) -> dict[str, Any]:
    """Field -> value of what is given; what cannot be read is added to `wrong`."""
    values = {}
    for name, one in names.items():
        text, file = given.get(name), given.get(f"{name}_FILE")
        if file:
            try:
                text = (HERE / file).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                wrong[f"{name}_FILE"] = f"must be a file that the service can read: {error}"
                continue
        text = (text or "").strip()
        # nobody is trusted where the list is there and empty
        if text or (name == "TRUSTED_PROXIES" and given.get(name) is not None):
            try:
                values[one.name] = one.metadata["read"](text)
            except ValueError as error:
                wrong[name] = str(error)
    return values
