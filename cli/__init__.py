"""What the sysadmin and the set-up person type: pbx-connector COMMAND. One module a command or group, found, not listed."""

import importlib
import pkgutil
from collections.abc import Iterator

import click

from cli import terminal
from config import PROGRAM, VERSION


def commands() -> Iterator[click.Command]:
    """The `command` of every module of this package that has one."""
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "command"):
            yield module.command


def program() -> click.Group:
    """Every command; as `obj` it is given a flask.cli.ScriptInfo, by which a command makes the application."""
    group = click.Group(
        PROGRAM,
        help="Commands of the PBX connector: set it up, look at it, repair it. Paths mean the directory that you are in.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    click.version_option(VERSION, message="%(prog)s %(version)s")(group)
    for command in commands():
        terminal.plain(command)
        group.add_command(command)
    return group
