"""Small faults as data, and whether the tests notice them: `python -m tests.mutations`. See CONTRIBUTING.md.

Every module of this package may have MUTATIONS, a list of rows for `Mutation`.
"""

import importlib
import pkgutil
from typing import Any, NamedTuple


class Mutation(NamedTuple):
    """One fault: in `file`, `old` (found there exactly once) becomes `new`; one of `tests` (module, or module::function)
    has to turn red. `caught=False`: no test notices it yet, and `reason` says what is missing; `tests` are the nearest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    caught: bool = True
    reason: str = ""


def mutations() -> list[Mutation]:
    """All rows of all modules of this package, by module."""
    rows: list[dict[str, Any]] = []
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            rows += getattr(importlib.import_module(f"{__name__}.{info.name}"), "MUTATIONS", [])
    return [Mutation(**{**row, "tests": tuple(row["tests"])}) for row in rows]
