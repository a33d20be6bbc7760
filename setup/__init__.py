"""What to enter at a provider, and what was entered wrong: one module a feed, found here and nowhere listed."""

import importlib
import pkgutil
from types import ModuleType


def feeds() -> dict[str, ModuleType]:
    """Feed name -> its module: every module of this package that can `guide`."""
    found = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in sorted(found.items()) if hasattr(module, "guide")}
