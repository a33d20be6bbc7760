"""A command that dies, or fails, at its k-th write: the method of SQLite's own tests, one step at a time.

A write is any statement but SELECT and PRAGMA that goes to the inbox or to the call log, BEGIN and COMMIT among them,
and a change of a file's name. `python -m tests.rig.crash` loads the code once and forks a child for each command.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import peewee

from server.sqlite import Connection as OurConnection
from tests.rig.surroundings import ROOT

BEFORE, AFTER, ERROR = "before", "after", "error"  # dies before the write, or after it; or the write fails
DIED = 9


class Done(NamedTuple):
    """How a command ended: its exit code (DIED at the write), how many writes it began, all that it printed."""

    code: int
    writes: int
    output: str


class Crashes:
    """Runs commands with these settings, each in a process of its own. `code`: the directory of the code."""

    def __init__(self, code: Path, environment: Mapping[str, str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the object
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.rig.crash"], cwd=code, env={**environment, "PYTHONPATH": str(ROOT)},
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
        code, writes = json.loads(answer)
        return Done(code, writes, output)

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
        self.counter = counter  # the descriptor of a file whose length is the count: it outlives a death

    def step(self, sql: str, run: Any) -> Any:
        """Run one statement, unless it is the one."""
        if sql.lstrip().upper().startswith(("SELECT", "PRAGMA", "SET", "SHOW")):
            return run()
        self.count += 1
        os.ftruncate(self.counter, self.count)
        if self.count != self.at:
            return run()
        if self.mode == ERROR:
            raise sqlite3.OperationalError("disk I/O error (injected)")
        if self.mode == AFTER:
            run()
        os._exit(DIED)


def watch(writes: Writes) -> None:
    """Let every write of this process go through `writes`."""

    class Connection(OurConnection):
        """The inbox's connection, and that of the call log on SQLite (whose statements go by cursors)."""

        def execute(self, sql: str, *parameters: Any) -> Any:
            return writes.step(sql, lambda: super(Connection, self).execute(sql, *parameters))

        def executemany(self, sql: str, rows: Any) -> Any:
            return writes.step(sql, lambda: super(Connection, self).executemany(sql, rows))

    real_connect = sqlite3.connect
    sqlite3.connect = lambda *a, **k: real_connect(*a, **{**k, "factory": Connection})  # whatever it asks for
    real_execute, real_commit = peewee.Database.execute_sql, peewee.Database.commit

    def execute_sql(self: Any, sql: str, params: Any = None) -> Any:
        return writes.step(sql, lambda: real_execute(self, sql, params))

    def commit(self: Any) -> Any:
        return writes.step("COMMIT", lambda: real_commit(self))

    def renaming(run: Any) -> Any:
        return lambda *a, **k: writes.step(run.__name__, lambda: run(*a, **k))

    peewee.Database.execute_sql = execute_sql  # type: ignore[method-assign]
    peewee.Database.commit = commit  # type: ignore[method-assign]
    for name in ("link", "rename", "replace"):
        setattr(os, name, renaming(getattr(os, name)))


def load() -> None:
    """Import all code, for all children."""
    import cli
    import handlers

    list(cli.commands())
    list(handlers.blueprints())


def command(arguments: list[str]) -> int:
    """The command, as `pbx-connector` runs it; its exit code."""
    try:
        from flask.cli import ScriptInfo

        import cli
        from app import create_app

        cli.program()(arguments, obj=ScriptInfo(create_app=create_app, set_debug_flag=False))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Fork a child for each line of the input; print its exit code and how many writes it began."""
    load()
    with tempfile.TemporaryFile() as counter:
        writes = Writes(counter.fileno())
        watch(writes)
        for line in sys.stdin:
            counter.truncate(0)
            child = os.fork()
            if child == 0:
                writes.mode, writes.at, arguments = json.loads(line)
                os.dup2(2, 1)
                sys.exit(command(arguments))
            _, status = os.waitpid(child, 0)
            done = os.waitstatus_to_exitcode(status), os.fstat(counter.fileno()).st_size
            sys.stdout.write(json.dumps(done) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
