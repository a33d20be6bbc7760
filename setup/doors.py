"""Weak doors: settings that let in more people than their writer means to, named by check and at the start."""

import ipaddress
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import config
from config import Network, Settings

SHORT = 8  # characters of a key or password that can be guessed or read over a shoulder
WIDEST = {4: 8, 6: 16}  # prefix length of the widest network that somebody may own
PRIVATE = (".local", ".lan", ".internal", ".home.arpa", ".localdomain", ".test")
# what a misspelt setting of these leaves open
SHUTS = ("_ALLOW", "TRUSTED_PROXIES", "XVB_ACCESS_CODES", "MAKE_CALL_", "CONTACT_QUESTIONS_")


class Door(NamedTuple):
    """A sentence; `thought_shut`: a setting meant to shut it is misspelt, so that it is not even known to be open."""

    sentence: str
    thought_shut: bool = False


def weak_doors(
    settings: Settings, dotenv: Path = config.HERE / ".env", environment: Mapping[str, str] | None = None
) -> list[Door]:
    """Every weak door of these settings. No value of a setting is in a sentence."""
    environment = os.environ if environment is None else environment
    return [
        *_misspelt(settings, dotenv, environment),
        *map(Door, _short(settings)),
        *map(Door, _shared(settings)),
        *map(Door, _proxies(settings)),
        *map(Door, _open(settings)),
        *map(Door, _readable(settings, dotenv, environment)),
    ]


def _misspelt(settings: Settings, dotenv: Path, environment: Mapping[str, str]) -> Iterator[Door]:
    for name, like in config.unknown(settings.feeds, dotenv, environment).items():
        if any(shuts in like for shuts in SHUTS):
            yield Door(f"{name} is no setting and shuts nothing: {like}?", thought_shut=True)


def _secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, value) of what lets somebody in."""
    for name, feed in sorted(settings.feeds.items()):
        yield from ((f"{name.upper()}_KEY", key) for key in feed.keys)
    for name, value in (("API_KEY", settings.api_key), ("OPERATOR_PASSWORD", settings.operator_password)):
        if value:
            yield name, value


def _short(settings: Settings) -> Iterator[str]:
    for name, value in _secrets(settings):
        if len(value) < SHORT or len(set(value)) < 3:
            yield f"{name} is short enough to be guessed: openssl rand -base64 18 makes a good one"


def _shared(settings: Settings) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for name, value in _secrets(settings):
        names.setdefault(value, []).append(name)
    for there in names.values():
        if len(there) > 1:
            yield f"{' and '.join(there)} have the same value: whoever is told one has the other too"


def _everybody(networks: tuple[Network, ...]) -> bool:
    return any(network.prefixlen < WIDEST[network.version] for network in networks)


def _proxies(settings: Settings) -> Iterator[str]:
    if _everybody(settings.trusted_proxies):
        yield (
            "TRUSTED_PROXIES trusts the whole world: anybody's X-Forwarded-For is believed, so that <FEED>_ALLOW and the "
            "lock against guessing hold nobody, and /readyz and /metrics tell everybody"
        )


def _open(settings: Settings) -> Iterator[str]:
    if _is_public(settings.public_url):
        for name, feed in sorted(settings.feeds.items()):
            if feed.open and (not feed.allow or _everybody(feed.allow)):
                upper = name.upper()
                yield f"{upper}_KEY=open on a public PUBLIC_URL: anybody may post calls; set a key, or {upper}_ALLOW"


def _is_public(url: str) -> bool:
    """Whether the address is one on the internet: no private IP address, no name of this host or of a local network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(PRIVATE)


def _readable(settings: Settings, dotenv: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Files with secrets that every account of this host can read; one that is not there holds none."""
    files = [dotenv, *(config.HERE / file for file in config.secret_files(settings.feeds, dotenv, environment))]
    for file in files:
        try:
            mode = file.stat().st_mode
        except OSError:
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            yield f"{file} can be read by every account of this host: chmod o-rwx {file}"
