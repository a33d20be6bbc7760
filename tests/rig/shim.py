"""Shims: small C libraries that a program is started with (LD_PRELOAD), compiled by the test that needs one."""

import shutil
import struct
import subprocess
from pathlib import Path


def build(source: Path, directory: Path) -> Path:
    """Compile the source into the directory. RuntimeError when there is no compiler or it refuses the source."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: install the Debian package gcc")
    library = directory / source.with_suffix(".so").name
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode != 0:
        raise RuntimeError(f"the C compiler refuses {source.name}:\n{compiled.stderr}")
    return library


def preload(*libraries: Path) -> dict[str, str]:
    """The environment that loads them."""
    paths = [str(library.resolve()) for library in libraries]
    if any(" " in path or ":" in path for path in paths):
        raise ValueError(f"LD_PRELOAD separates its paths by blanks and colons, one of which is in {paths}")
    return {"LD_PRELOAD": ":".join(paths)}


class WrongClock:
    """A wall clock that is so many seconds off, for programs that are started with its `environment`."""

    def __init__(self, directory: Path) -> None:
        self.library = build(Path(__file__).with_name("clock.c"), directory)
        self.file = directory / "clock"
        self.file.write_bytes(struct.pack("=q", 0))
        self.environment = {**preload(self.library), "CLOCK_OFFSET": str(self.file)}

    def set(self, seconds: int) -> None:
        """From now on, in programs that run already too."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
