"""A command that dies, or fails, at its k-th write: the method of SQLite's own tests, one step at a time.

A write is any statement but SELECT and PRAGMA that goes to the inbox or to the call log, BEGIN and COMMIT among them, a
change of a file's name, what is written to one, and a sync. `python -m tests.rig.crash` loads the code once and forks a
child for each command; no child ends in order, so nothing is tidied up that a killed process would leave.
"""

import importlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import click
import peewee
from flask.cli import ScriptInfo

import cli
from server.sqlite import Connection as OurConnection
from tests.rig.surroundings import ROOT

BEFORE, AFTER, ERROR = "before", "after", "error"  # dies before the write, or after it; or the write fails
DIED = 9
CALL = "CALL"  # in place of a command's name: a function of the tests, `module:name`, then what it is given
POST = "POST"  # in place of a command's name: a request to the application, then its path, its body and its API key


class Done(NamedTuple):
    """How a command ended: its exit code (DIED at the write), the writes that it began, all that it printed. Of `kinds`
    each letter is a write: L lasts whatever becomes of the process, a T is undone with its transaction."""

    code: int
    kinds: str
    output: str

    @property
    def writes(self) -> int:
        """How many it began."""
        return len(self.kinds)

    @property
    def lasting(self) -> list[int]:
        """The numbers of those that last, from 1. Who dies elsewhere leaves what who dies before the next of these does."""
        return [number for number, kind in enumerate(self.kinds, 1) if kind == "L"]


class Crashes:
    """Runs commands with these settings, each in a process of its own. `code`: the directory of the code; `sizes`:
    constants of it that are other ones here, by `module.NAME`."""

    def __init__(self, code: Path, environment: Mapping[str, str], sizes: Mapping[str, int] | None = None) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the object
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.rig.crash", json.dumps(dict(sizes or {}))],
            cwd=code, env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._output, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, mode: str = BEFORE, at: int = 0) -> Done:
        """`pbx-connector <arguments>`; it dies or fails at its write number `at`, and at none when that is 0."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._output.seek(0)  # for the command, too: it writes from here
        self._output.truncate()
        self._server.stdin.write(json.dumps([mode, at, arguments]) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        self._output.seek(0)
        output = self._output.read().decode(errors="replace")
        if not answer:
            raise AssertionError(f"the code does not load\n{output}")
        code, kinds = json.loads(answer)
        return Done(code, kinds, output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()  # the end of its input ends it
        self._output.close()


# ------------------------------------------------------------------------------------------ in the process that is forked


class Writes:
    """Counts a process's writes and lets the one that was asked for go wrong."""

    def __init__(self, counter: int) -> None:
        self.mode, self.at, self.count = BEFORE, 0, 0
        self.counter = counter  # the descriptor of a file with a letter for each: it outlives a death

    def statement(self, sql: str, inside: bool, run: Any) -> Any:
        """Run one, unless it is the one; `inside` of a transaction."""
        word = sql.split(maxsplit=1)[0].upper()
        if word in ("SELECT", "PRAGMA", "SET", "SHOW", "WITH"):
            return run()
        return self.step(run, word == "COMMIT" or not (inside or word == "BEGIN"), sqlite3.OperationalError)

    def step(self, run: Any, lasts: bool, failure: type[Exception]) -> Any:
        """Do one, unless it is the one."""
        os.pwrite(self.counter, b"L" if lasts else b"T", self.count)
        self.count += 1
        if self.count != self.at:
            return run()
        if self.mode == ERROR:
            raise failure("disk I/O error (injected)")
        if self.mode == AFTER:
            run()
        os._exit(DIED)


def watch(writes: Writes) -> None:
    """Let every write of this process go through `writes`."""

    class Connection(OurConnection):
        """The inbox's connection, and that of the call log on SQLite (whose statements go by cursors)."""

        def execute(self, sql: str, *parameters: Any) -> Any:
            run = super().execute
            return writes.statement(sql, self.in_transaction, lambda: run(sql, *parameters))

        def executemany(self, sql: str, rows: Any) -> Any:
            run = super().executemany
            return writes.statement(sql, self.in_transaction, lambda: run(sql, rows))

    real_connect = sqlite3.connect
    sqlite3.connect = lambda *a, **k: real_connect(*a, **{**k, "factory": Connection})  # whatever it asks for
    real_execute, real_commit = peewee.Database.execute_sql, peewee.Database.commit

    def execute_sql(self: Any, sql: str, params: Any = None) -> Any:
        return writes.statement(sql, self.in_transaction(), lambda: real_execute(self, sql, params))

    def commit(self: Any) -> Any:
        return writes.statement("COMMIT", True, lambda: real_commit(self))

    def stepping(run: Any, lasts: bool) -> Any:
        return lambda *a, **k: writes.step(lambda: run(*a, **k), lasts, OSError)

    real_write = os.write

    def write(fd: int, data: Any) -> int:
        if fd <= 2 or not stat.S_ISREG(os.fstat(fd).st_mode):  # the log, a pipe
            return real_write(fd, data)
        return int(writes.step(lambda: real_write(fd, data), True, OSError))

    os.write = write
    peewee.Database.execute_sql = execute_sql  # type: ignore[method-assign]
    peewee.Database.commit = commit  # type: ignore[method-assign]
    for name in ("link", "rename", "replace", "unlink", "fsync"):  # a kill leaves what was written, synced or not
        setattr(os, name, stepping(getattr(os, name), lasts=name != "fsync"))


def load(sizes: dict[str, int]) -> Any:
    """The application, for all children: it opens nothing before it is used."""
    from app import create_app

    list(cli.commands())
    for place, size in sizes.items():
        module, _, name = place.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), int)
        setattr(sys.modules[module], name, size)
    return create_app()


def command(app: Any, arguments: list[str]) -> int:
    """The command, as `pbx-connector` runs it; its exit code. Of a request whether it was answered 200."""
    try:
        if arguments[0] == CALL:
            module, _, name = arguments[1].partition(":")
            getattr(importlib.import_module(module), name)(*arguments[2:])
            return 0
        if arguments[0] == POST:
            _, path, body, key = arguments
            answer = app.test_client().post(path, data=body, headers={"Authorization": f"Bearer {key}"})
            click.echo(f"{answer.status_code} {answer.text}")
            return int(answer.status_code != 200)
        cli.program()(arguments, obj=ScriptInfo(create_app=lambda: app, set_debug_flag=False))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Fork a child for each line of the input; print its exit code and its writes."""
    app = load(json.loads(sys.argv[1]))
    with tempfile.TemporaryFile() as counter:
        writes = Writes(counter.fileno())
        watch(writes)
        for line in sys.stdin:
            counter.truncate(0)
            child = os.fork()
            if child == 0:
                writes.mode, writes.at, arguments = json.loads(line)
                os.dup2(2, 1)
                code = command(app, arguments)
                sys.stdout.flush()
                os._exit(code)
            _, status = os.waitpid(child, 0)
            kinds = os.pread(counter.fileno(), 1_000_000, 0).decode()
            sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), kinds]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
