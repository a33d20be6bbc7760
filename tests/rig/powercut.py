"""A power cut: an LD_PRELOAD shim (powercut.c) that keeps of a directory only what was synced."""

import shutil
import subprocess
from pathlib import Path


def build(directory: Path) -> Path:
    """Compile the shim into the directory. RuntimeError when there is no compiler or it refuses the source."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: install the Debian package gcc")
    shim = directory / "powercut.so"
    source = Path(__file__).with_suffix(".c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(shim), str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode != 0:
        raise RuntimeError(f"the C compiler refuses powercut.c:\n{compiled.stderr}")
    return shim


def environment(shim: Path, watched: Path, shadow: Path) -> dict[str, str]:
    """What to add to a program's environment: what it syncs below `watched` is what `shadow` holds after the cut.

    `shadow` need not exist; beside it appear `.lock` and `.part`. Read it only when every process has been killed with
    SIGKILL and is gone, and without the shim.
    """
    loaded = str(shim.resolve())
    if " " in loaded or ":" in loaded:
        raise ValueError(f"LD_PRELOAD separates its paths by blanks and colons, one of which is in {loaded}")
    return {"LD_PRELOAD": loaded, "POWERCUT_DIR": str(watched.resolve()), "POWERCUT_SHADOW": str(shadow.resolve())}
