"""`python -m bench`: every measurement in turn, then the lines of the issue with their targets, each ok or short."""

import argparse
import os
import platform
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from bench import measures
from bench.cards import cards
from bench.measures import Bench, timed
from bench.pages import pages
from bench.report import Line, verdicts
from bench.targets import THREADS, WORKERS
from tests.rig.needs import PATH

MEASURES: dict[str, Callable[[Bench], list[Line]]] = {
    "accept": measures.accept,
    "slow": measures.slow_disk,
    "sustained": measures.sustained,
    "outage": measures.outage,
    "cards": cards,
    "latency": measures.latency,
    "large": measures.large,
    "pages": pages,
    "memory": measures.memory,
}
PROGRAMS = {"wrk": "wrk", "nginx": "nginx-light", "mariadbd": "mariadb-server", "cc": "gcc"}
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASURES), help="which measurements, with commas (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds, in each of which every target has its turn (3)")
    parser.add_argument("--seconds", type=float, help="of load for a target in a round (5)")
    parser.add_argument("--hold", type=float, help="seconds of accepting and forwarding together (60)")
    parser.add_argument("--rows", type=int, help="calls in the large call log (5000000)")
    parser.add_argument("--notifications", type=int, help="over which memory must be flat (1000000)")
    parser.add_argument("--connections", type=int, default=64, help="of wrk (64)")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk (/var/tmp)")
    parser.add_argument("--quick", action="store_true", help="a look whether it works: short, small, one round")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(MEASURES)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    usual = {"rounds": 3, "seconds": 5.0, "hold": 60.0, "rows": 5_000_000, "notifications": 1_000_000}
    quick = {"rounds": 1, "seconds": 2.0, "hold": 8.0, "rows": 100_000, "notifications": 10_000}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def missing() -> list[str]:
    """Debian packages to install."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=PATH) is None]


def filesystem(directory: Path) -> str:
    """The type of the filesystem that the directory is on."""
    path = directory.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[place] for place in (path, *path.parents) if place in mounts), "unknown")


def sync_ms(directory: Path) -> float:
    """The median of a small write and its sync there."""
    with open(directory / "sync", "wb", buffering=0) as file:

        def once() -> None:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())

        return median(timed(once) for _ in range(100))


def head(options: argparse.Namespace, directory: Path) -> str:
    """What all figures depend on."""
    gibibytes = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} processors, {gibibytes:.0f} GiB, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}; {filesystem(directory)}, a 4 KiB write and its sync {sync_ms(directory):.2f} ms\n"
        f"{WORKERS} workers, {THREADS} threads each under gunicorn; wrk with {options.connections} connections; "
        f"{options.rounds} round(s) of {options.seconds:g} s a target; each figure is a median (min..max) of the rounds, "
        "each ratio of two figures of one round"
    )


def main() -> int:
    options = arguments()
    packages = missing()
    if packages:
        sys.exit(
            f"The benchmark needs these Debian packages: {' '.join(packages)} (sh bench/install.sh installs them)."
        )
    if filesystem(options.directory) in IN_MEMORY:
        sys.exit(f"{options.directory} is in memory ({filesystem(options.directory)}): name a --directory on a disk.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended on the way out
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=options.directory))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def show(text: str) -> None:
        print(f"\n{text}\n", flush=True)

    lines: list[Line] = []
    failed = []
    try:
        show(head(options, directory))
        given = ("rounds", "seconds", "hold", "rows", "notifications", "connections")
        bench = Bench(directory, say=say, show=show, **{name: getattr(options, name) for name in given})
        with bench:
            for name in options.only.split(","):
                busy = psutil.cpu_percent(2)
                if busy > 10:
                    show(f"{name}: something else keeps the processors {busy:.0f} % busy; do not trust the figures")
                try:
                    lines += MEASURES[name](bench)
                except Exception as error:  # one measurement's trouble must not cost the others' figures
                    failed.append(name)
                    traceback.print_exc()
                    show(f"{name} FAILED: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if lines:
            show(verdicts(lines))
    short = sum(line.verdict == "short" for line in lines)
    tried = sum(line.verdict != "" for line in lines)
    print(f"{tried - short} of {tried} lines ok" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed or short else 0


if __name__ == "__main__":
    sys.exit(main())
