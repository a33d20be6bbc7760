"""The suite passes where people run it: in a clone that is used, under settings and an environment of somebody's own."""

import os
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import schemas
from config import FeedSettings, Settings
from tests.rig.service import ROOT

ODD = "odd value"  # no address, number, zone or database: whoever reads it does not start
MACHINE = {
    "FLASK_APP": "nobody:app",
    "FLASK_DEBUG": "1",
    "FORWARDED_ALLOW_IPS": "*",
    "GUNICORN_CMD_ARGS": "--workers 7 --bind 127.0.0.1:1 --timeout 1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "LC_ALL": "C",
    "PORT": "1",
    "PYTHONWARNINGS": "ignore",
    "TZ": "America/St_Johns",
    "WEB_CONCURRENCY": "7",
    "all_proxy": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}
CHOSEN = (  # services and commands, in this process and beside it, on a socket, on both databases
    "tests/test_settings.py",
    "tests/handlers/test_health.py",
    "tests/handlers/test_who_may_post.py",
    "tests/cli/test_commands.py::test_check_beside_a_running_service",
    "tests/deploy/test_deploy.py::test_the_dump_before_a_migration_holds_the_call_log",
)


def setting_names() -> list[str]:
    """Every setting that there is, those of each feed too."""
    feeds = {name: FeedSettings(name, allow=(ip_network("::1"),)) for name in schemas.feeds()}
    return [name for name, _ in Settings(feeds=feeds).masked()]


def test_no_setting_of_the_clone_or_of_the_machine_reaches_a_test(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(
        ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", ".env", "data", "*_cache", "__pycache__")
    )
    odd = dict.fromkeys(setting_names(), ODD)
    (clone / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in odd.items()))
    (tmp_path / ".flaskenv").write_text("FLASK_APP=nobody:app\n")
    (clone / "data").mkdir()
    for name in ("inbox", "calllog"):
        (clone / "data" / name).write_text("no directory")
    home, modules, temporary = tmp_path / "home", tmp_path / "modules", tmp_path / ("long" * 40)
    for directory in (home, modules, temporary):
        directory.mkdir()
    (home / ".my.cnf").write_text("[client]\nno-such-option=1\n")
    (modules / "config.py").write_text("raise RuntimeError('not ours')\n")
    kept = {name: os.environ[name] for name in ("PATH", "CI") if name in os.environ}
    machine = {"HOME": str(home), "PYTHONPATH": str(modules), "TMPDIR": str(temporary), **MACHINE}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", *CHOSEN],
        cwd=clone, env={**odd, **machine, **kept}, umask=0o077, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert "skipped" not in done.stdout
