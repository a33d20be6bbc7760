"""python -m tests.mutations [--only TEXT …]: put each fault into a copy of the code, run its tests, print which are caught.

1. The tests of the chosen faults run once on the copy as it is: where they are red already, nothing is proved.
2. Each fault is put into a copy of its own, and only its tests run.
3. A table; exit status 1 when a fault is not as its row says: not caught, its text not found, its tests not run.

May be interrupted: the working tree is never touched, and the copies go.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parent.parent.parent
SKIPPED = shutil.ignore_patterns(".*cache", ".git", ".venv", ".env", "__pycache__", "data")
SECONDS = 900  # that the tests of one fault may take
running: set[subprocess.Popen[str]] = set()
stopped = threading.Event()


def pytest(code: Path, tests: Iterable[str]) -> tuple[int, str]:
    """(exit status, output) of these tests in a copy of the code; they end their services themselves when interrupted."""
    options = ["-o", "addopts=", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]  # the last line counts the passed
    command = [sys.executable, "-m", "pytest", *options, *tests]
    process = subprocess.Popen(
        command, cwd=code, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    running.add(process)
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        return 1, output  # a test that never ends does notice
    finally:
        running.discard(process)
    return process.returncode, output


def outcome(mutation: Mutation, place: Path) -> str:
    """What became of one fault: caught, not caught, text not found, or why that cannot be told."""
    if stopped.is_set():
        return "interrupted"
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        return "text not found" if mutation.old not in text else "text found more than once"
    code = place / mutation.name
    shutil.copytree(ROOT, code, ignore=SKIPPED)
    try:
        (code / mutation.file).write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        status, output = pytest(code, mutation.tests)
    finally:
        shutil.rmtree(code, ignore_errors=True)
    if stopped.is_set():
        return "interrupted"
    if status == 1:
        return "caught"
    if status == 0:
        return "not caught" if " passed" in output else "tests skipped"
    return "tests not run: " + (output.strip().splitlines() or [""])[-1]


def as_marked(mutation: Mutation, became: str) -> bool:
    """Whether a fault is what its row says."""
    return became == ("caught" if mutation.caught else "not caught")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Do the tests notice these faults?")
    parser.add_argument("--only", action="append", metavar="TEXT", help="faults whose name or file has it; repeatable")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="at a time")
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a fault first")
    arguments = parser.parse_args()
    chosen = [
        mutation
        for mutation in mutations()
        if not arguments.only or any(text in f"{mutation.name} {mutation.file}" for text in arguments.only)
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pbx-mutations-", ignore_cleanup_errors=True) as directory:
        place = Path(directory)
        if chosen and not arguments.no_control:
            code = place / "control"
            shutil.copytree(ROOT, code, ignore=SKIPPED)
            status, output = pytest(code, sorted({test for mutation in chosen for test in mutation.tests}))
            if status:
                print(output, "The tests are red without any fault: mend them first.", sep="\n")
                return 1
        wrong = run(chosen, place, arguments.jobs)
    print(f"{len(chosen)} faults, {wrong} not as marked, {(time.monotonic() - began) / 60:.0f} minutes")
    return 1 if wrong or not chosen else 0


def run(chosen: list[Mutation], place: Path, jobs: int) -> int:
    """Try the faults, a line each as it is known in their order; how many are not what their rows say."""
    wrong = 0
    with ThreadPoolExecutor(jobs) as pool:
        try:
            found = pool.map(outcome, chosen, [place] * len(chosen))
            for mutation, became in zip(chosen, found, strict=True):
                good = as_marked(mutation, became)
                wrong += not good
                remark = "" if good else "  <- marked as caught" if mutation.caught else "  <- marked as not caught"
                print(f"{mutation.name:48} {mutation.file:28} {became}{remark}", flush=True)
        except KeyboardInterrupt:
            stopped.set()
            for process in list(running):
                process.send_signal(signal.SIGINT)
            raise
    return wrong


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
