"""Weak doors are named by `pbx-connector check` and at the start, and never with what opens them."""

from pathlib import Path
from typing import Any

import pytest

from config import FeedSettings, Settings
from setup.doors import weak_doors
from tests.rig.service import Service

GOOD = "QmFkZ2VyIGJhZGdlciBi"


def service(tmp_path: Path, **settings: str) -> Service:
    """A node whose doors are good but for these settings."""
    keys = {f"{feed}_KEY": f"{GOOD}-{feed}" for feed in ("UIS", "MGERM", "HOOKTYPE", "MTT", "XVB")}
    there = Service(tmp_path / "s", **keys, **settings)
    there.flask("db", "upgrade")
    return there


def test_good_doors_are_not_named(tmp_path: Path) -> None:
    done = service(tmp_path, PUBLIC_URL="https://calls.example.ru").flask("check", "--offline")
    assert "weak door" not in done.stdout


WEAK: dict[str, tuple[dict[str, str], str]] = {
    "a short key": ({"API_KEY": "z"}, "API_KEY is short enough"),
    "a short password": ({"OPERATOR_PASSWORD": "zzzzzzzzzzz"}, "OPERATOR_PASSWORD is short enough"),
    "one key for two feeds": (
        {"MTT_KEY": GOOD, "XVB_KEY": f"{GOOD}x, {GOOD}"},
        "MTT_KEY and XVB_KEY have the same value",
    ),
    "everybody a proxy": ({"TRUSTED_PROXIES": "127.0.0.1, 0.0.0.0/0"}, "TRUSTED_PROXIES trusts the whole world"),
    "everybody a proxy, by halves": ({"TRUSTED_PROXIES": "0.0.0.0/1, 128.0.0.0/1"}, "TRUSTED_PROXIES trusts the whole"),
    "everybody a proxy by IPv6": ({"TRUSTED_PROXIES": "::/0"}, "TRUSTED_PROXIES trusts the whole world"),
    "open to the internet": ({"UIS_KEY": "open", "PUBLIC_URL": "https://calls.example.ru"}, "UIS_KEY=open on a public"),
    "open to every address": (
        {"UIS_KEY": "open", "UIS_ALLOW": "0.0.0.0/0", "PUBLIC_URL": "https://calls.example.ru"},
        "UIS_KEY=open on a public",
    ),
}


@pytest.mark.parametrize("what", WEAK)
def test_a_weak_door_is_named_and_is_no_failure(tmp_path: Path, what: str) -> None:
    settings: Any
    settings, sentence = WEAK[what]
    there = service(tmp_path)
    done = there.flask("check", "--offline", **settings)  # exit status 0
    assert f"weak door: {sentence}" in done.stdout
    assert GOOD not in done.stdout


@pytest.mark.parametrize("url", ["http://192.168.1.7", "http://localhost:8000", "http://[fd00::7]", "http://pbx.local"])
def test_a_feed_may_be_open_where_nobody_from_outside_comes(tmp_path: Path, url: str) -> None:
    feeds = {"uis": FeedSettings("uis", open=True)}
    assert weak_doors(Settings(data_dir=tmp_path, public_url=url, feeds=feeds), tmp_path / "none", {}) == []


def test_a_file_of_settings_that_others_can_read_is_named(tmp_path: Path) -> None:
    key = tmp_path / "api.key"
    key.write_text(GOOD)
    there = service(tmp_path, API_KEY_FILE=str(key))
    key.chmod(0o640)
    assert "weak door" not in there.flask("check", "--offline").stdout
    key.chmod(0o644)
    assert f"weak door: {key} can be read by every account" in there.flask("check", "--offline").stdout
    dotenv = tmp_path / ".env"
    dotenv.write_text("UIS_KEY=\n")
    dotenv.chmod(0o644)
    settings: Any = Settings(data_dir=tmp_path)
    for mode in (0o644, 0o602):  # who may write puts a key of his own into it
        dotenv.chmod(mode)
        assert [door.sentence for door in weak_doors(settings, dotenv, {})] == [
            f"{dotenv} can be read by every account of this host: chmod o-rwx {dotenv}"
        ]


@pytest.mark.parametrize(
    ("name", "like"),
    [("UIS_ALOW", "UIS_ALLOW"), ("TRUSTED_PROXYS", "TRUSTED_PROXIES"), ("XVB_ACCESS_CODE", "XVB_ACCESS_CODES")],
)
def test_a_misspelt_setting_of_a_door_that_is_thought_shut_is_a_failure(tmp_path: Path, name: str, like: str) -> None:
    there = service(tmp_path)
    there.flask("db", "upgrade")
    there.flask("check", "--offline")  # all is well but for that door
    done = there.flask("check", "--offline", check=False, **{name: "203.0.113.0/24"})
    assert done.returncode == 1
    assert f"weak door: WRONG: {name} is no setting and shuts nothing: {like}?" in done.stdout
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{name}=203.0.113.0/24\n")
    dotenv.chmod(0o600)
    feeds = {feed: FeedSettings(feed) for feed in ("uis", "xvb")}
    (door,) = weak_doors(Settings(data_dir=tmp_path, feeds=feeds), dotenv, {})
    assert door.thought_shut


def test_weak_doors_are_named_at_the_start(tmp_path: Path) -> None:
    with service(tmp_path, OPERATOR_PASSWORD="z", UIS_ALOW="203.0.113.0/24") as there:
        there.start()
        there.logs("weak door: OPERATOR_PASSWORD is short enough to be guessed")
        there.logs("weak door: UIS_ALOW is no setting and shuts nothing: UIS_ALLOW?")
