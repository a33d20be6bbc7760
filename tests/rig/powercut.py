"""A power cut: an LD_PRELOAD shim (powercut.c) that keeps of a directory only what was synced."""

import shutil
import subprocess
from pathlib import Path


def build(directory: Path) -> Path:
    """Compile the shim into the directory. RuntimeError when there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: install the Debian package gcc")
    shim = directory / "powercut.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(shim), str(source), "-ldl"], check=True
    )
    return shim


def environment(shim: Path, watched: Path, shadow: Path) -> dict[str, str]:
    """What to add to a program's environment: what it syncs below `watched` is what `shadow` holds after the cut."""
    return {
        "LD_PRELOAD": str(shim),
        "POWERCUT_DIR": str(watched.resolve()),
        "POWERCUT_SHADOW": str(shadow.resolve()),
    }
