"""A power cut: a shim (powercut.c) that keeps of a directory only what was synced."""

from pathlib import Path

from tests.rig import shim

SOURCE = Path(__file__).with_suffix(".c")


def environment(library: Path, watched: Path, shadow: Path) -> dict[str, str]:
    """What to add to a program's environment: what it syncs below `watched` is what `shadow` holds after the cut.

    `shadow` need not exist; beside it appear `.lock` and `.part`. Read it only when every process has been killed with
    SIGKILL and is gone, and without the shim.
    """
    return {
        **shim.preload(library),
        "POWERCUT_DIR": str(watched.resolve()),
        "POWERCUT_SHADOW": str(shadow.resolve()),
    }
