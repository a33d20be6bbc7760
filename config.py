"""Environment -> Settings: every setting of docs/contract.md section 4, read once, every wrong one named at once."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import click
from dotenv import dotenv_values
from environs import EnvValidationError, FileAwareEnv, ValidationError, validate

HERE = Path(__file__).resolve().parent
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WrongSettings(click.ClickException):
    """One message that names every wrong setting; it stops the start, never a running service."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Who may post to a feed, and what its provider's clock says."""

    name: str
    keys: tuple[str, ...] = ()
    open: bool = False
    allow: tuple[Network, ...] = ()
    timezone: ZoneInfo = ZoneInfo("Europe/Moscow")
    silence_minutes: int = 0

    @property
    def closed(self) -> bool:
        return not self.open and not self.keys


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, typed. `secret` ones are never printed."""

    bind: str = "127.0.0.1:8000"
    workers: int = 2
    threads: int = 32
    public_url: str = "http://127.0.0.1:8000"
    data_dir: Path = HERE / "data"
    database_url: str = field(default="", metadata={"secret": True})
    feeds: dict[str, FeedSettings] = field(default_factory=dict)
    xvb_access_codes: tuple[str, ...] = ()
    xvb_url: str = ""
    xvb_token: str = field(default="", metadata={"secret": True})
    uis_call_api_url: str = "https://callapi.uiscom.ru/v4.0"
    uis_api_token: str = field(default="", metadata={"secret": True})
    uis_virtual_number: str = ""
    api_key: str = field(default="", metadata={"secret": True})
    operator_password: str = field(default="", metadata={"secret": True})
    timezone: ZoneInfo = ZoneInfo("Europe/Moscow")
    max_body_bytes: int = 262144
    settle_seconds: int = 60
    expire_hours: int = 4
    trusted_proxies: tuple[Network, ...] = ()
    inbox_days: int = 30
    calls_days: int = 0
    log_format: str = "text"
    log_level: str = "info"

    @property
    def inbox_dir(self) -> Path:
        return self.data_dir / "inbox"

    def masked(self) -> Iterable[tuple[str, str]]:
        """(NAME, value) of every setting with secrets masked, for `flask check`."""
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
            elif setting.name == "database_url":
                yield "DATABASE_URL", _without_password(value)
            elif setting.metadata.get("secret"):
                yield setting.name.upper(), "set" if value else "not set"
            elif isinstance(value, tuple):
                yield setting.name.upper(), ", ".join(map(str, value))
            else:
                yield setting.name.upper(), str(value)


def unknown(feeds: Iterable[str], dotenv: Path = HERE / ".env") -> dict[str, str]:
    """Names in `dotenv` that are no setting -> the setting that is most like it, "" if none is."""
    names = {setting.name.upper() for setting in fields(Settings) if setting.name != "feeds"}
    names |= {f"{feed.upper()}_{what}" for feed in feeds for what in ("KEY", "ALLOW", "TIMEZONE", "SILENCE_MINUTES")}
    names |= {f"{name}_FILE" for name in names}
    said = dotenv_values(dotenv, interpolate=False) if dotenv.is_file() else {}
    return {name: next(iter(get_close_matches(name, names, 1)), "") for name in said if name not in names}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def load(feeds: Mapping[str, str], check_url: Callable[[str], Any], dotenv: Path | None = HERE / ".env") -> Settings:
    """The settings for these feeds (name -> its provider's own zone or "") from the environment and, beneath it, from
    `dotenv`.

    `check_url` raises ValueError for a DATABASE_URL that is none. Raises WrongSettings.
    """
    env = FileAwareEnv(eager=False, strip_whitespace=True)
    if dotenv is not None:
        env.read_env(dotenv, recurse=False)
    env.add_parser("zone", _zone)
    env.add_parser("networks", _networks)
    env.add_parser("address", _address)
    env.add_parser("web", _web)
    positive = validate.Range(min=1)
    not_negative = validate.Range(min=0)
    try:
        bind = env.address("BIND", "127.0.0.1:8000")
        timezone = env.zone("TIMEZONE", "Europe/Moscow")
        data_dir = env.path("DATA_DIR", Path("data"))
        data_dir = HERE / data_dir if data_dir is not None else HERE
        settings = Settings(
            bind=bind,
            workers=env.int("WORKERS", 2, validate=positive),
            threads=env.int("THREADS", 32, validate=positive),
            public_url=env.web("PUBLIC_URL", "http://localhost" if str(bind).startswith("unix:") else f"http://{bind}"),
            data_dir=data_dir,
            database_url=env.str("DATABASE_URL", "") or f"sqlite:///{data_dir}/calllog/calls.db",
            feeds={name: _feed(env, name, zone, timezone) for name, zone in feeds.items()},
            xvb_access_codes=_split(env.str("XVB_ACCESS_CODES", "")),
            xvb_url=env.web("XVB_URL", ""),
            xvb_token=env.str("XVB_TOKEN", ""),
            uis_call_api_url=env.web("UIS_CALL_API_URL", "https://callapi.uiscom.ru/v4.0"),
            uis_api_token=env.str("UIS_API_TOKEN", ""),
            uis_virtual_number=env.str("UIS_VIRTUAL_NUMBER", ""),
            api_key=env.str("API_KEY", ""),
            operator_password=env.str("OPERATOR_PASSWORD", ""),
            timezone=timezone,
            max_body_bytes=env.int("MAX_BODY_BYTES", 262144, validate=validate.Range(min=1024, max=16_777_216)),
            settle_seconds=env.int("SETTLE_SECONDS", 60, validate=positive),
            expire_hours=env.int("EXPIRE_HOURS", 4, validate=positive),
            trusted_proxies=env.networks("TRUSTED_PROXIES", "127.0.0.1, ::1"),
            inbox_days=env.int("INBOX_DAYS", 30, validate=positive),
            calls_days=env.int("CALLS_DAYS", 0, validate=not_negative),
            log_format=env.str("LOG_FORMAT", "text", validate=validate.OneOf(("text", "json"))),
            log_level=env.str("LOG_LEVEL", "info", validate=validate.OneOf(("debug", "info", "warning", "error"))),
        )
    except ValueError as error:  # a <NAME>_FILE that cannot be read
        raise WrongSettings(f"wrong settings:\n  {error}") from None
    wrong: dict[str, list[str]] = {}
    try:
        env.seal()
    except EnvValidationError as error:
        messages: Any = error.error_messages
        wrong = {name: [str(text) for text in texts] for name, texts in messages.items()}
    try:
        check_url(settings.database_url)
    except ValueError as error:
        wrong["DATABASE_URL"] = [f"must be {error}"]
    if not wrong and 0 < settings.calls_days < settings.inbox_days:
        wrong["INBOX_DAYS"] = [f"may not be longer than CALLS_DAYS ({settings.calls_days})"]
    if wrong:
        lines = (f"  {name}: {' '.join(texts)}" for name, texts in sorted(wrong.items()))
        raise WrongSettings("wrong settings:\n" + "\n".join(lines))
    return settings


def _feed(env: Any, name: str, zone: str, timezone: ZoneInfo) -> FeedSettings:
    prefix = name.upper()
    keys = _split(env.str(f"{prefix}_KEY", "", validate=_only_keys))
    return FeedSettings(
        name=name,
        keys=() if keys == ("open",) else keys,
        open=keys == ("open",),
        allow=env.networks(f"{prefix}_ALLOW", ""),
        timezone=env.zone(f"{prefix}_TIMEZONE", zone) or timezone,
        silence_minutes=env.int(f"{prefix}_SILENCE_MINUTES", 0, validate=validate.Range(min=0)),
    )


def _only_keys(text: str) -> None:
    keys = _split(text)
    if "open" in keys and len(keys) > 1:
        raise ValidationError("the word open stands alone: anyone may post, no key is asked for")
    if any(len(key.split()) > 1 for key in keys):
        raise ValidationError("a key has no blanks; several are separated by commas")


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _zone(text: str) -> ZoneInfo | None:
    if not text:
        return None
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValidationError(f"no such time zone: {text} (for example Europe/Moscow)") from None


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in _split(text))
    except ValueError as error:
        raise ValidationError(f"not a list of addresses: {error} (for example 10.0.0.0/8, 192.0.2.7)") from None


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text.startswith("unix:/") or (host and port.isdigit() and int(port) < 65536):
        return text
    raise ValidationError("must be host:port or unix:/path")


def _web(text: str) -> str:
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc):
        raise ValidationError("must be an address that begins with http:// or https://")
    return text.rstrip("/")
