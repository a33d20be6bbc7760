"""pbx-connector reload: the settings of the file into force, checked before and asked of the service after."""

import os
import signal
import time
from typing import Any

import click
from flask.cli import with_appcontext

from cli import terminal
from config import Settings, Stop
from inbox.state import node_state
from server import running

SECONDS = 45  # for the new workers to answer; systemd waits for 60


@click.command("reload")
@with_appcontext
def command() -> None:
    """Have the running service take up the settings (systemctl reload does the same). Exit status 1 when it does not: with
    wrong settings it goes on with those of before."""
    settings = terminal.settings()  # this process has read them: they are right
    before = _service(settings)
    with terminal.attempt("not reloaded"):
        os.kill(before["master"], signal.SIGHUP)
    deadline, fresh = time.monotonic() + SECONDS, 0
    while fresh < settings.workers:  # answers in a row by new workers alone
        after = _service(settings, deadline)
        fresh = fresh + 1 if after["generation"] > before["generation"] else 0
        if not fresh:
            time.sleep(0.05)
    if after["refused"]:
        raise Stop(f"not reloaded, the service goes on with the settings of before: {after['refused']}")
    if after["settings"] != node_state(settings, terminal.inbox()).settings:
        raise Stop("the settings were changed meanwhile: the service has others in force than these; reload again")
    terminal.echo(f"reloaded: generation {after['generation']}")


def _service(settings: Settings, deadline: float | None = None) -> dict[str, Any]:
    """What the service says of itself; until the deadline it may be away."""
    while True:
        try:
            _, body = running.ask(settings.bind, "/readyz", settings.api_key)
            if "service" in body:
                return {"settings": "", **body["service"]}
            error = "it does not say what it runs"
        except OSError as away:
            error = str(away)
        if deadline is None or time.monotonic() > deadline:
            raise Stop(f"the service does not answer at {settings.bind}: {error}; pbx-connector check says more")
        time.sleep(0.05)
