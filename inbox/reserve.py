"""A file beside the inbox, and beside an SQLite call log on another disk, that is given up when the disk is full: what
makes room needs some first, SQLite for its log, a destruction record for its line."""

import contextlib
import os
import shutil
from pathlib import Path

from config import Settings
from inbox.state import disks

BYTES = 16 * 2**20  # a -wal file as large as it may stay, written into its database
SHARE = 4  # of a disk that is smaller still, one part in so many
NAME = "reserve"


def keep(settings: Settings) -> None:
    """Make the reserve where it is not there and the disk has room for it twice over."""
    for directory, size in _places(settings):
        path = directory / NAME
        if not path.exists() and shutil.disk_usage(directory).free > 2 * size:
            part = path.with_suffix(".part")
            with contextlib.suppress(OSError):  # tried again
                _allocate(part, size)
                part.replace(path)


def give_up(settings: Settings) -> int:
    """Delete the reserve of every disk where less is free than it holds; returns how many bytes that were."""
    given = 0
    for directory, size in _places(settings):
        path = directory / NAME
        if path.exists() and shutil.disk_usage(directory).free < size:
            given += path.stat().st_size
            path.unlink()
    return given


def _places(settings: Settings) -> list[tuple[Path, int]]:
    ours = (settings.inbox_dir.absolute(), Path(settings.database_url.removeprefix("sqlite:///")).parent.absolute())
    return [(disk.directory, min(BYTES, disk.size // SHARE)) for disk in disks(settings) if disk.directory in ours]


def _allocate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)
