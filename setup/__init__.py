"""What to enter at a provider, and what was entered wrong: one module and one text a feed, found here, nowhere listed."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import schemas
from config import WrongSettings
from setup.feed import SetUp, declared, faults, page_faults


@cache
def feeds() -> Mapping[str, SetUp]:
    """Feed name -> its set-up, of every feed: from setup/<feed>.py and setup/<feed>.txt where there are such, else the
    defaults. Raises WrongSettings, which names everything that is wrong."""
    there = {info.name for info in pkgutil.iter_modules(__path__)}
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in schemas.feeds() if name in there}
    pages = {name: _page(name) for name in schemas.feeds()}
    wrong = [f"setup/{name}.py: {fault}" for name, module in modules.items() for fault in faults(module)]
    wrong += [f"setup/{name}.txt: {fault}" for name, page in pages.items() for fault in page_faults(page)]
    if wrong:
        raise WrongSettings("wrong feeds:\n  " + "\n  ".join(wrong))
    found = {name: declared(feed, modules.get(name), pages[name]) for name, feed in schemas.feeds().items()}
    return MappingProxyType(found)


def _page(name: str) -> str:
    """The feed's text, "" where it has none."""
    files = (Path(room) / f"{name}.txt" for room in __path__)
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")
