"""The image without a Docker engine: its entry point, its health check and its stop, with the settings that the Dockerfile
gives; and that what its files name is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.rig import needs
from tests.rig.service import ROOT, UIS_KEY, Service, until

DOCKER = ROOT / "deploy" / "docker"


class Container(Service):
    """The service as the image's entry point starts it."""

    def __init__(self, directory: Path, database_url: str = "") -> None:
        super().__init__(directory, database_url, BIND="")
        self.environment["BIND"] = f"0.0.0.0:{self.port}"  # as the Dockerfile, but for the port
        self.environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def up(self) -> None:
        self.process = self.run("deploy/docker/entrypoint.sh")
        until(lambda: self.run(sys.executable, "deploy/docker/health.py").wait() == 0, f"healthy\n{self.log()}")


def test_it_starts_takes_deliveries_and_stops(tmp_path: Path) -> None:
    with Container(tmp_path) as container:
        container.up()
        body = '{"call_session_id": "7001", "direction": "in"}'
        assert container.post("/hs/UIScom/in", body, key=UIS_KEY).status_code == 200
        container.call("7001")
        said = subprocess.run(
            ["deploy/docker/entrypoint.sh", "calls", "list"], cwd=container.root, env=container.environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "ringing" in said.stdout, said.stderr
        assert container.process is not None
        container.process.terminate()  # `docker stop` signals the entry point's own process
        assert container.process.wait(30) == 0
        container.process = None


def test_a_database_that_comes_later_is_no_reason_not_to_take_deliveries(tmp_path: Path) -> None:
    later = tmp_path / "later"
    with Container(tmp_path, f"sqlite:///{later}/calls.db") as container:
        later.write_text("in the way")
        container.up()
        body = '{"call_session_id": "7002", "direction": "in"}'
        assert container.post("/hs/UIScom/in", body, key=UIS_KEY).status_code == 200
        later.unlink()
        later.mkdir()
        container.settled()
        container.call("7002")


def test_the_files_name_what_there_is() -> None:
    image = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"(?m)^USER (?!0|root)\d+:\d+$", image)
    named = re.findall(r"deploy/docker/[\w.]+", image + (DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    assert {"deploy/docker/entrypoint.sh", "deploy/docker/health.py", "deploy/docker/Dockerfile"} <= set(named)
    ours = {*named} - {"deploy/docker/settings.env", "deploy/docker/mysql.env"}
    assert [name for name in ours if not (ROOT / name).exists()] == []
    assert os.access(DOCKER / "entrypoint.sh", os.X_OK)
    program = needs.program("shellcheck", "shellcheck")
    done = subprocess.run([program, DOCKER / "entrypoint.sh", ROOT / "deploy" / "release.sh"], capture_output=True)
    assert done.stdout == b""
