"""Real Chromium, Debian's, with a new empty profile each, driven by Debian's chromedriver: nothing is downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --lang=ru"
)


def missing() -> str:
    """Which part is not installed, "" when all are."""
    gone = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(gone)} (see tests/install.sh)" if gone else ""


class Browser(webdriver.Chrome):
    """One browser window. `complaints` is what its console and its policies said since it was asked last."""

    def complaints(self) -> list[str]:
        """Console errors and warnings, CSP violations among them."""
        return [entry["message"] for entry in self.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """A screen of so many CSS pixels; a phone's is narrower than any window of the desktop."""
        self.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})

    def offline(self, off: bool) -> None:
        """Cut the network, or put it back."""
        self.execute_cdp_cmd("Network.enable", {})
        conditions = {"offline": off, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


@contextmanager
def chromium(directory: Path) -> Iterator[Browser]:
    """A browser that ends with the block."""
    profile = directory / "profile"
    profile.mkdir(parents=True)
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for option in OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(directory), "LANGUAGE": "ru", "SE_OFFLINE": "true"}
    service = webdriver.ChromeService(str(shutil.which("chromedriver")), env=environment)
    driver = Browser(options, service)
    try:
        driver.set_page_load_timeout(60)
        driver.size(1280, 900)
        yield driver
    finally:
        driver.quit()
