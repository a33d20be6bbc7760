"""pbx-connector nginx: nginx's errors, which it sends as datagrams, without what they quote of requests; and counted.

nginx adds the request line, key and all, to most of what it has to say. Nothing of a line is kept from its first quotation
mark on but the sender's address. deploy/pbx-connector-nginx.service runs it while there is something to read.
"""

import logging.config
import os
import re
import socket
from pathlib import Path

import click
from flask.cli import with_appcontext

from cli import terminal
from inbox.file import NGINX, NO_CONNECTIONS_LEFT, TOO_MANY_CONNECTIONS
from server import logs

LONGEST = 8192  # bytes of a datagram; nginx's own limit is 2 KiB
COUNTED = {"limiting connections": TOO_MANY_CONNECTIONS, "worker_connections are not enough": NO_CONNECTIONS_LEFT}
_LINE = re.compile(
    r"\[(?P<level>\w+)\] \d+#\d+: (?:\*\d+ )?(?P<said>[^\"]*?)(?:, client: (?P<client>[0-9a-f.:]+)|\"|$)"
)
_CLIENT = re.compile(r", client: ([0-9a-f.:]{2,45}),")

log = logging.getLogger("connector.nginx")


@click.command("nginx")
@click.option("--socket", "path", type=click.Path(path_type=Path), help="Make this socket; else systemd passes one.")
@click.option("--idle", default=60.0, show_default=True, help="Seconds without a line after which it ends.")
@with_appcontext
def command(path: Path | None, idle: float) -> None:
    """nginx's errors into the journal, keys masked; what it closed or could not accept is counted (/metrics, the page)."""
    settings, inbox = terminal.settings(), terminal.inbox()
    logging.config.dictConfig(logs.dict_config(settings.log_format, settings.log_level))
    with _listening(path) as lines:
        lines.settimeout(idle)
        while True:
            try:
                text, reason = understood(lines.recv(LONGEST))
            except TimeoutError:
                break
            log.warning("nginx: %s", text)
            if reason:
                inbox.refuse(NGINX, reason, text)
    inbox.probe()  # what was refused is written with it
    logging.shutdown()


def _listening(path: Path | None) -> socket.socket:
    if path is None:
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            raise click.UsageError("systemd passes no socket: name one with --socket")
        return socket.socket(fileno=3)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(path))
    path.chmod(0o660)
    return made


def understood(datagram: bytes) -> tuple[str, str]:
    """(what may be kept of a line, the reason under which it is counted or "")."""
    line = datagram.decode("utf-8", "replace")
    found = _LINE.search(line)
    if found is None:
        return "a line that is not nginx's", ""
    said, client = found["said"].strip(), found["client"] or next(iter(_CLIENT.findall(line)), "")
    reason = next((reason for words, reason in COUNTED.items() if words in said), "")
    return logs.masked(f"{said}{f', client {client}' if client else ''}"), reason
