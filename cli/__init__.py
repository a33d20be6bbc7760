"""What the sysadmin and the set-up person type: flask <command>. One module a command or group, found, not listed."""

import importlib
import pkgutil
from collections.abc import Iterator

import click
from flask import Flask

from cli import terminal


def commands() -> Iterator[click.Command]:
    """The `command` of every module of this package that has one."""
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "command"):
            yield module.command


def register(app: Flask) -> None:
    """Add every command to the application."""
    for command in commands():
        terminal.plain(command)
        app.cli.add_command(command)
