"""The service is the witness of its own state: it says which release runs with which settings; check and reload ask it."""

import json
import os
import re
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import config
from config import Settings
from inbox.state import fingerprint
from tests.deploy.test_nginx import goes_on, nothing_failed
from tests.rig import needs, nginx
from tests.rig.deployed import Deployed
from tests.rig.node import ring
from tests.rig.service import UIS_KEY, until
from tests.rig.traffic import traffic

RELOAD = "systemctl reload pbx-connector, or restart it"
PASSWORD = "a-password-of-the-page"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Deployed]:
    needs.present(nginx.missing())
    with Deployed(tmp_path, OPERATOR_PASSWORD=PASSWORD) as service:
        yield service.start()


def says(own: Deployed) -> tuple[str, int]:
    """The line of `check` about the service, and its exit status."""
    done = own.flask("check", check=False)
    (line,) = re.findall(r"(?m)^service: (.*)$", done.stdout)
    return line, done.returncode


def test_the_service_says_what_it_is_where_one_looks_and_check_finds_what_differs(own: Deployed) -> None:
    release = str((own.directory / "releases" / "first").resolve())
    service = own.get("/readyz").json()["service"]
    assert (service["version"], service["release"], service["generation"]) == (config.VERSION, release, 1)
    labels = f'release="first",settings="{service["settings"]}",version="{config.VERSION}"'
    assert f"connector_build_info{{{labels}}} 1.0" in own.get("/metrics").text
    what = f"version {config.VERSION}, generation 1, {release}"
    assert own.status() == what
    own.logs(f"pbx-connector {what}")
    assert f"Коннектор {config.VERSION}, выпуск first, запущен " in own.get("/", auth=("", PASSWORD)).text
    assert "выпуск" not in own.get("/").text

    said = f"version {config.VERSION}, with these settings, started {service['started_at']}, generation "
    assert says(own) == (f"{said}1", 0)
    calls = own.settings["DATABASE_URL"]
    own.write_settings(DATABASE_URL=f"sqlite:///{own.directory}/other.db")  # a move that nobody has reloaded
    own.flask("db", "upgrade")
    assert says(own) == (f"WRONG: RuntimeError: it runs with other settings than these: {RELOAD}", 1)
    assert own.reload().stdout == "reloaded: generation 2\n"
    assert says(own) == (f"{said}2", 0)
    own.write_settings(DATABASE_URL=calls)

    for pid in own.workers():  # as with a DATA_DIR outside of ReadWritePaths
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    until(lambda: says(own)[0].startswith("WRONG: RuntimeError: it takes no deliveries: "), "it cannot write")
    own.release("second")
    assert f"it runs {release}, this is {release.removesuffix('first')}second: restart it" in says(own)[0]
    own.kill()
    own.listener.close()
    line, code = says(own)
    assert (line.startswith("WRONG: RuntimeError: nobody answers at unix:"), code) == (True, 1)
    assert own.reload().returncode == 1
    assert "service:" not in own.flask("check", "--offline").stdout


def test_a_setting_broken_after_it_was_checked_ends_nothing_and_is_named(own: Deployed) -> None:
    """`systemctl reload; echo WORKERS=two >> settings.env`: the file is read again, after the check."""
    assert own.process is not None
    with traffic(own) as seen:
        goes_on(seen)
        own.write_settings(WORKERS="two", UIS_KEY="another")
        own.process.send_signal(signal.SIGHUP)
        own.logs("not reloaded, the settings of before stay in force: wrong settings:")
        until(lambda: "REFUSED" in own.status(), "systemctl status says so")
        for pid in own.workers():
            os.kill(pid, signal.SIGKILL)
        goes_on(seen)
    nothing_failed(seen)
    assert "settings_refused 1.0" in own.get("/metrics").text
    assert "Настройки в файле неверны" in own.get("/", auth=("", PASSWORD)).text
    own.write_settings(WORKERS="1")
    assert "refused: wrong settings:" in says(own)[0]
    assert own.reload().stdout == "reloaded: generation 3\n"
    assert own.post("/hs/UIScom/in", json.dumps(ring("1")), key="another").ok  # at once
    assert own.post("/hs/UIScom/in", json.dumps(ring("2")), key=UIS_KEY).status_code == 401
    assert says(own)[1] == 0


def test_a_fingerprint_changes_with_any_setting_and_tells_none(tmp_path: Path) -> None:
    settings, facts = Settings(data_dir=tmp_path, api_key="k"), {"page_secret": "s"}
    found = fingerprint(settings, facts)
    assert found == fingerprint(Settings(data_dir=tmp_path, api_key="k"), facts)
    assert (
        len({found, fingerprint(replace(settings, api_key="l"), facts), fingerprint(settings, {"page_secret": "t"})})
        == 3
    )
    assert fingerprint(settings, {}) == ""
