"""What a test and the programs that it starts see of the machine: its programs, and no setting of whoever owns it."""

import atexit
import os
import re
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GIVEN = dict(os.environ)  # for the installer only, which asks a package index
KEPT = re.compile("PATH|TMPDIR|CI|HOSTILE_BODIES|PYTEST_.*")
LONGEST_SOCKET = 107  # bytes that the path of a unix socket may have


@cache
def environment() -> dict[str, str]:
    """The environment of every program: an empty home directory, a language, a time zone far from everyone's."""
    return {
        "PATH": GIVEN.get("PATH", os.defpath),
        "HOME": str(directory("home")),
        "LANG": "C.UTF-8",
        "TZ": "Asia/Kathmandu",
        **{name: GIVEN[name] for name in ("TMPDIR",) if name in GIVEN},
    }


def isolate() -> None:
    """Make this process, and all that it starts, know nothing of the machine's settings."""
    kept = {name: value for name, value in GIVEN.items() if KEPT.fullmatch(name)}
    os.environ.clear()
    os.environ.update(kept | environment())
    time.tzset()
    os.umask(0o022)


@cache
def code() -> Path:
    """The code under test without what lies beside it in a clone that is used: `.env` and data/."""
    target = directory("code") / "pbx-connector"
    copy_code(target)
    return target


def copy_code(target: Path) -> None:
    """Copy the code to a new directory."""
    shutil.copytree(
        ROOT, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests", "images", "data", "bench")
    )


def directory(purpose: str, parent: str | None = None) -> Path:
    """A new directory that goes with this process."""
    made = Path(tempfile.mkdtemp(prefix=f"pbx-{purpose}-", dir=parent))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def socket_directory() -> Path:
    """A new directory with a path so short that a unix socket may lie in it, which pytest's own are not."""
    short = len(tempfile.gettempdir()) < LONGEST_SOCKET - 40
    return directory("socket", None if short else "/tmp")
