"""What a test needs of the machine. Without it the test is skipped; where CI=true says that all is there, it fails."""

import os
import shutil

import pytest

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def present(lacking: str | None) -> None:
    """`lacking` is one sentence that names what is not installed, None or "" when all is."""
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


def program(name: str, package: str) -> str:
    """The path of a program of this Debian package."""
    found = shutil.which(name, path=PATH)
    present(None if found else f"{name} is not installed: install the Debian package {package}")
    return str(found)


def root(why: str) -> None:
    """Mounts, name spaces and other accounts are root's: `.ci/run` is root, a developer need not be."""
    if os.getuid() != 0:
        pytest.skip(f"{why} needs root")
