"""What kills, stops, reloads and replaces the service."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import requests

from tests.rig import powercut, shim
from tests.rig.service import Service, until
from tests.torture.tormentor import Fault, Room, Tormentor

CLOCKS = (0, 0, -30, 90, 3600, -7200, 20_000, -86_400)  # seconds


class Processes(Tormentor):
    """Kills, stops, reloads and replaces the service. Between its faults the service runs."""

    def __init__(self, chance: random.Random, pause: float, service: Service, addresses: Path, room: Room) -> None:
        super().__init__(chance, pause)
        self.service, self.addresses, self.room = service, addresses, room
        self.power_cut = shim.build(powercut.SOURCE, service.directory)
        self.clock = shim.WrongClock(service.directory)  # the service's wall clock, against ours
        self.shadow = service.directory / "survived"

    def serve(self, *addresses: str) -> None:
        """Where senders find the service from now on; they read the file all the time."""
        new = self.addresses.with_suffix(".new")
        new.write_text("\n".join(addresses))
        new.replace(self.addresses)

    def start_service(self, can_be_cut: bool = False, **more: str) -> None:
        """A new life, with a clock of its own; of one that can end in a power cut `shadow` holds what was synced."""
        loaded = {**self.clock.environment, **more}
        if can_be_cut:
            shutil.rmtree(self.shadow, ignore_errors=True)
            self._copy(self.service.data_dir, self.shadow)
            loaded |= powercut.environment(self.power_cut, self.service.data_dir, self.shadow)
            loaded |= shim.preload(self.power_cut, self.clock.library)
        self.service.start(False, "--max-requests", "3000", "--max-requests-jitter", "1500", **loaded)
        self.serve(self.service.url)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        """By another process: closing a copied file here would drop the locks that SQLite holds on it for this one."""
        subprocess.run(["cp", "-a", "-T", str(source), str(target)], check=True)

    def faults(self) -> list[Fault]:
        here = [
            self.worker,
            self.master,
            self.everything,
            self.term,
            self.hup,
            self.overlap,
            self.cut,
            self.jump,
            self.jump,
        ]
        if self.room.own_disk:
            here.append(self.read_only)
        return here

    def worker(self) -> None:
        """kill -9 of a worker"""
        workers = self.service.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):  # it may have reached max_requests just now
                os.kill(self.chance.choice(workers), signal.SIGKILL)

    def master(self) -> None:
        """kill -9 of the master"""
        assert self.service.process is not None
        workers = psutil.Process(self.service.process.pid).children()
        self.service.process.kill()
        self.service.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)  # they notice that they are orphans
        assert not alive, "workers outlive their master"
        self.start_service()

    def everything(self) -> None:
        """kill -9 of the whole service"""
        self.service.kill()
        self.hold(0, 1)
        self.start_service()

    def term(self) -> None:
        """SIGTERM and restart"""
        self.service.stop()
        self.start_service()

    def hup(self) -> None:
        """HUP in mid-traffic"""
        assert self.service.process is not None
        before = set(self.service.workers())
        self.service.process.send_signal(signal.SIGHUP)
        until(lambda: (now := set(self.service.workers())) and not now & before, "HUP replaces the workers", 60)

    def overlap(self) -> None:
        """upgrade: two releases on one DATA_DIR, then the new one, and back"""
        other = Service(self.service.directory / "other", self.service.database_url)
        other.data_dir = self.service.data_dir
        own = {name: other.settings[name] for name in ("BIND", "PUBLIC_URL")}
        other.environment = {**self.service.environment, **own}
        with other:
            other.start(upgrade=False)
            self.serve(self.service.url, other.url)
            self.hold(1, 3)
            self.service.stop()
            self.serve(other.url)
            self.hold(1, 3)
            self.start_service()
            self.serve(self.service.url, other.url)
            self.hold(0, 1)
            other.stop()
        self.serve(self.service.url)

    def cut(self) -> None:
        """power cut: of DATA_DIR only what was synced is left"""
        self.service.stop()
        with self.room.alone():
            with self.room.lock:
                self.start_service(can_be_cut=True)
            self.hold(2, 6)
            self.service.kill()
            with self.room.lock:
                shutil.rmtree(self.service.data_dir)
                self._copy(self.shadow, self.service.data_dir)
        self.start_service()

    def read_only(self) -> None:
        """the inbox's directory is read-only"""
        self.service.kill()
        with self.room.read_only():
            self.service.start(upgrade=False)
            assert requests.get(f"{self.service.url}/readyz", timeout=30).status_code == 503
            self.hold(0.5, 2)
            self.service.kill()
        self.start_service()

    def jump(self) -> None:
        """the clock is set back or forward"""
        self.clock.set(self.chance.choice(CLOCKS))
