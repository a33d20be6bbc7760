"""Who may post, which URL, what we answer: one module a feed or page, each exposing `bp`, found here, nowhere listed."""

import importlib
import pkgutil
from collections.abc import Iterator

from flask import Blueprint


def blueprints() -> Iterator[Blueprint]:
    """The `bp` of every module of this package that has one."""
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "bp"):
            yield module.bp
