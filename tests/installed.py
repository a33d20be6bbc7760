"""`make install-test`: what docs/operations.md tells a sysadmin to do, done on a Debian that systemd has booted, from a
release's tarball, while notifications come; then the account of every one of them.

As root, on Debian with debootstrap and systemd-container (tests/install.sh debootstrap systemd-container). Not a part of
`make test`: a root of its own is built from packages. The account goes to standard output; exit status 1 where anything is
not as the pages say.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.rig.service import until
from tests.rig.surroundings import ROOT

NAME, DOMAIN = "pbx-connector", "pbx.example.ru"
SOURCE = f"/usr/local/src/{NAME}"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "nginx-light", "ca-certificates", "curl", "openssl",
            "mariadb-server", "logrotate")  # fmt: skip
SENDER = r"""
import json, ssl, sys, time, urllib.error, urllib.request
address, path, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
trust = ssl._create_unverified_context()
with open(path, "a", buffering=1) as account:
    for number in range(first, first + 1_000_000):
        body = json.dumps({"call_session_id": number, "direction": "in", "calling_phone_number": "79161112233"}).encode()
        began = time.monotonic()
        try:
            with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60, context=trust) as answer:
                said = str(answer.status)
        except urllib.error.HTTPError as error:
            said = str(error.code)
        except OSError as error:
            said = type(error).__name__
        account.write(f"{number} {said} {time.monotonic() - began:.3f}\n")
        time.sleep(0.02)
"""


class Machine:
    """A root that systemd has booted, with a network of its own that has nothing but its loopback."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc" / "machine-id").write_text("")
        with root.with_suffix(".log").open("wb") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", root, "--machine", f"pbx-{os.getpid()}", "--private-network",
                 "--boot", "--register=no", "--keep-unit"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.init = until(self._child, "systemd is started")
        until(
            lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"),
            "boot",
            120,
        )

    def _child(self) -> int:
        if self.nspawn.poll() is not None:
            raise AssertionError(self.root.with_suffix(".log").read_text(errors="replace"))
        for children in Path(f"/proc/{self.nspawn.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return int(pid)
        return 0

    def run(self, *command: str, check: bool = True, text: str = "", umask: int = 0o022) -> str:
        """A command as root in it, by the login's environment; all that it printed."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.init), "--all", "--", "env", "-i", "HOME=/root", "LANG=C.UTF-8",
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *command],
            input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, umask=umask,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
        return done.stdout

    def shell(self, command: str, check: bool = True) -> str:
        """A line of the pages, as it is typed."""
        return self.run("bash", "-c", command, check=check)

    def copy(self, file: Path, target: str) -> None:
        """A file of this machine into it."""
        shutil.copy(file, self.root / target.lstrip("/"))

    def stop(self) -> None:
        self.nspawn.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.nspawn.wait(20)
        self.nspawn.kill()
        self.nspawn.wait()


class Walk:
    """The walk and its account."""

    def __init__(self, machine: Machine, release: Path) -> None:
        self.machine, self.release = machine, release
        self.senders = 0
        self.wrong: list[str] = []
        self.key = ""

    def say(self, text: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)

    def expect(self, true: object, what: str) -> None:
        self.say(f"{'ok' if true else 'NOT SO'}: {what}")
        if not true:
            self.wrong.append(what)

    @contextlib.contextmanager
    def traffic(self, what: str, quiet: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Notifications come meanwhile, one after the other: each is to be answered 200."""
        self.senders += 1
        first, account = self.senders * 1_000_000, f"/root/account.{self.senders}"
        (self.machine.root / "root" / "sender.py").write_text(SENDER)
        address = f"https://{DOMAIN}/hs/UIScom/in?key={self.key}"
        unit = f"sender-{self.senders}"
        self.machine.run(
            "systemd-run", "--quiet", f"--unit={unit}", "python3", "/root/sender.py", address, account, str(first)
        )
        path = self.machine.root / account.lstrip("/")
        until(lambda: path.exists() and path.stat().st_size, "the sender sends")
        try:
            yield
            seen = path.read_text().count("\n")
            until(lambda: path.read_text().count("\n") > seen + 20, "it goes on after that", 90)
        finally:
            self.machine.run("systemctl", "stop", unit)
        lines = [line.split() for line in path.read_text().splitlines()]
        refused = [line for line in lines if line[1] != "200"]
        slowest = max(float(line[2]) for line in lines)
        self.expect(
            not refused,
            f"{what}: {len(lines)} sent, {len(refused)} not answered 200 {refused[:3]}, slowest {slowest:.1f} s",
        )

    def check(self, what: str) -> None:
        said = self.machine.run(NAME, "check", check=False)
        self.expect(
            "a call can be written" in said, f"{NAME} check {what}" + ("" if "a call can be written" in said else said)
        )

    def install(self, source: str, *options: str, umask: int = 0o022) -> str:
        began = time.monotonic()
        said = self.machine.run(f"{source}/deploy/install.sh", *options, umask=umask)
        self.say(f"install.sh {' '.join(options)}: {time.monotonic() - began:.0f} s")
        return said

    def unpack(self, source: str, newer: str = "") -> None:
        """The tarball as the page says; with `newer`, code that differs."""
        self.machine.copy(self.release, f"/root/{self.release.name}")
        self.machine.copy(self.release.with_name(f"{self.release.name}.sha256"), f"/root/{self.release.name}.sha256")
        self.machine.shell(f"cd /root && sha256sum -c {self.release.name}.sha256 && mkdir -p {source} && "
                           f"tar -C {source} --strip-components=1 -xzf {self.release.name}")  # fmt: skip
        if newer:
            self.machine.shell(f"echo '# {newer}' >> {source}/wsgi.py")

    def whole(self) -> None:
        """Every notification that was answered 200 is a call, once."""
        until(lambda: ", 0 waiting," in self.machine.run(NAME, "check", check=False), "nothing waits", 120)
        sent = set()
        for number in range(1, self.senders + 1):
            lines = (self.machine.root / "root" / f"account.{number}").read_text().splitlines()
            sent |= {line.split()[0] for line in lines if line.split()[1] == "200"}
        there = self.calls()
        self.expect(len(there) == len(set(there)), f"no call twice among {len(there)}")
        self.expect(not sent - set(there), f"{len(sent)} acknowledged, {len(sent - set(there))} not in the call log")

    def calls(self) -> list[str]:
        url = self.machine.shell(f"sed -n 's/^DATABASE_URL=//p' /etc/{NAME}/settings.env").strip()
        if url.startswith("mysql"):
            return self.machine.run("mariadb", "-N", "calls", text="SELECT provider_call_id FROM calls").split()
        script = (f"import sqlite3; db = sqlite3.connect('/var/lib/{NAME}/calllog/calls.db'); "
                  "print('\\n'.join(row[0] for row in db.execute('SELECT provider_call_id FROM calls')))")  # fmt: skip
        return self.machine.run("python3", "-c", script).split()

    # ------------------------------------------------------------------------------------------------------ the steps

    def go(self) -> None:
        """All of it, in the order of the page."""
        for step in (
            self.first,
            self.certificate,
            self.upgrades,
            self.ends,
            self.to_mariadb,
            self.lost_disk,
            self.away,
        ):
            self.say(f"-- {step.__name__}: {(step.__doc__ or '').strip()}")
            step()
            self.machine.shell(": ")
        failed = self.machine.shell("systemctl --failed --no-legend --plain").strip()
        self.expect(not failed, f"no unit has failed {failed}")

    def first(self) -> None:
        """The first installation, without a package index; the curl of the README."""
        self.unpack(SOURCE)
        said = self.install(SOURCE, "--domain", DOMAIN)
        self.expect(f"http://{DOMAIN}/hs/UIScom/in?key=" in said, "it prints the addresses to paste")
        self.machine.shell(f"echo 127.0.0.1 {DOMAIN} >> /etc/hosts")
        self.key = self.machine.shell(f"sed -n 's/^UIS_KEY=//p' /etc/{NAME}/settings.env").strip()
        body = '{"call_session_id": 1, "direction": "in"}'
        said = self.machine.run("curl", "-sS", "-d", body, f"http://{DOMAIN}/hs/UIScom/in?key={self.key}")
        self.expect(said == '{"status": "accepted"}\n', f"a first notification through nginx: {said.strip()}")
        until(lambda: "ringing" in self.machine.run(NAME, "calls", "list"), "the call is there")
        self.check("after the installation")
        self.expect("installed already" in self.install(SOURCE), "the same again changes nothing")

    def certificate(self) -> None:
        """TLS with a certificate of one's own."""
        self.machine.shell(
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN={DOMAIN} -keyout /root/key.pem -out /root/cert.pem"
        )
        self.install(SOURCE, "--certificate", "/root/cert.pem", "--certificate-key", "/root/key.pem")
        said = self.machine.run(
            "curl", "-sSk", f"https://{DOMAIN}/hs/UIScom/ping", "-o", "/dev/null", "-w", "%{http_code}"
        )
        self.expect(said == "200", f"https answers {said}")

    def upgrades(self) -> None:
        """Upgrades under umask 027 and 077 and a rollback, with traffic."""
        for number, umask in enumerate((0o027, 0o077), 1):
            self.unpack(f"{SOURCE}-{number}", newer=f"newer by {number}")
            with self.traffic(f"upgrade under umask {umask:03o}"):
                self.install(f"{SOURCE}-{number}", umask=umask)
            self.check("after the upgrade")
        before = self.machine.shell(f"readlink /opt/{NAME}/current")
        with self.traffic("rollback"):
            self.install(f"/opt/{NAME}/current", "--rollback")
        self.expect(self.machine.shell(f"readlink /opt/{NAME}/current") != before, "the release before is in force")
        self.check("after the rollback")

    def ends(self) -> None:
        """Restart, reload, a reload with wrong settings, kill -9 of everything."""
        with self.traffic("restart"):
            self.machine.run("systemctl", "restart", NAME)
        with self.traffic("reload"):
            self.machine.run("systemctl", "reload", NAME)
        with self.traffic("reload with wrong settings"):
            said = self.machine.shell(f"cp -a /etc/{NAME}/settings.env /root/; echo WORKERS=two >> /etc/{NAME}/settings.env; "
                                      f"systemctl reload {NAME}; echo status $?; cp -a /root/settings.env /etc/{NAME}/")  # fmt: skip
            self.expect("status 1" in said, "the reload says that it failed")
        with self.traffic("kill -9 of every process"):
            self.machine.run("systemctl", "kill", "--signal=KILL", NAME, check=False)  # a container may count one twice
        self.check("after all that")
        self.whole()

    def to_mariadb(self) -> None:
        """The move from SQLite to MySQL, with traffic."""
        self.machine.shell(
            "mariadb -e \"CREATE DATABASE calls CHARACTER SET utf8mb4; CREATE USER connector@localhost IDENTIFIED BY 'secret7'; "
            'GRANT ALL ON calls.* TO connector@localhost"'
        )
        target = "mysql://connector:secret7@127.0.0.1:3306/calls"
        with self.traffic("db copy, then DATABASE_URL and restart"):
            said = self.machine.shell(f"export TARGET_URL={target}; {NAME} db copy")
            self.expect("now set DATABASE_URL" in said, "db copy ends on what to do next")
            self.machine.shell(
                f"sed -i '/^#*DATABASE_URL=/d' /etc/{NAME}/settings.env; echo DATABASE_URL={target} >> /etc/{NAME}/settings.env"
            )
            said = self.machine.run(NAME, "check", check=False)
            differs = self.machine.shell(f"{NAME} check >/dev/null 2>&1; echo $?").strip()
            self.expect(differs != "0", "check is not content while the service has other settings than the file")
            self.machine.run("systemctl", "restart", NAME)
        self.check("on MariaDB")
        with self.traffic("MariaDB stopped and started"):
            self.machine.run("systemctl", "stop", "mariadb")
            time.sleep(3)
            self.machine.run("systemctl", "start", "mariadb")
        self.whole()

    def lost_disk(self) -> None:
        """A backup, the data directory lost, the restore."""
        said = self.machine.run(NAME, "backup", f"/var/backups/{NAME}")
        copy = re.findall(rf"/var/backups/{NAME}/\d+T\d+Z", said)
        copy = copy or sorted(self.machine.shell(f"ls -d /var/backups/{NAME}/2*").split())
        self.machine.run("systemctl", "stop", f"{NAME}-daily.timer", f"{NAME}.socket", f"{NAME}.service")
        self.machine.shell(f"rm -rf /var/lib/{NAME}; install -d -o {NAME} -g {NAME} -m 711 /var/lib/{NAME}")
        said = self.machine.run(NAME, "restore", copy[-1], "--inbox")
        self.machine.run("systemctl", "start", f"{NAME}.socket", f"{NAME}.service", f"{NAME}-daily.timer")
        with self.traffic("after the restore"):
            self.check("after the restore")
        self.machine.run("systemctl", "start", f"{NAME}-daily.service")
        result = self.machine.shell(f"systemctl show -p Result {NAME}-daily.service").strip()
        self.expect(result == "Result=success", f"the nightly unit: {result}")
        self.whole()

    def away(self) -> None:
        """Uninstalled, and installed again with what was left."""
        self.machine.run(f"/opt/{NAME}/current/deploy/install.sh", "--uninstall")
        self.expect(not (self.machine.root / "opt" / NAME).exists(), "the code is gone")
        self.expect((self.machine.root / "etc" / NAME / "settings.env").exists(), "the settings stay")
        self.install(SOURCE)
        with self.traffic("installed again"):
            self.check("after the installation over what was left")
        self.whole()


def base(directory: Path, mirror: str) -> Path:
    """A minimal Debian, made once."""
    root = directory / "base"
    if not (root / "usr").exists():
        command = ["debootstrap", f"--include={','.join(PACKAGES)}", "bookworm", str(root), mirror]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.installed", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/pbx-installed"), help="where roots are made")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--release", type=Path, help="a tarball; make release makes one otherwise")
    options = parser.parse_args()
    for program in ("debootstrap", "systemd-nspawn", "unshare"):
        if shutil.which(program) is None or os.getuid() != 0:
            sys.exit("As root, with the Debian packages debootstrap and systemd-container.")
    if "INSTALLED_UNSHARED" not in os.environ:  # mounts of nspawn are private then, whatever the machine shares
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            sys.executable,
            "-m",
            "tests.installed",
            *sys.argv[1:],
        ]
        return subprocess.run(command, env={**os.environ, "INSTALLED_UNSHARED": "1"}, cwd=ROOT).returncode
    options.directory.mkdir(parents=True, exist_ok=True)
    release = options.release
    if release is None:
        venv = Path(sys.executable).parent.parent
        subprocess.run([ROOT / "deploy" / "release.sh"], env={**os.environ, "VENV": str(venv)}, check=True, cwd=ROOT)
        release = max((ROOT / "dist").glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h %cs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    print(json.dumps({"release": release.name, "commit": commit.strip()}), flush=True)
    root = Path(tempfile.mkdtemp(prefix="root-", dir=options.directory)) / "a"
    subprocess.run(["cp", "-a", "--reflink=auto", base(options.directory, options.mirror), root], check=True)
    machine = Machine(root)
    walk = Walk(machine, release)
    try:
        walk.go()
    except AssertionError as error:
        walk.expect(False, str(error)[-3000:])
        print(machine.run("journalctl", "-u", NAME, "-n", "40", "--no-pager", check=False))
    finally:
        machine.stop()
        shutil.rmtree(root.parent, ignore_errors=True)
    print(f"{len(walk.wrong)} things are not as the pages say" if walk.wrong else "all is as the pages say")
    return bool(walk.wrong)


if __name__ == "__main__":
    sys.exit(main())
