"""What deploy/ ships for a server: units that systemd understands and shuts in, and an installer run for real in a copy of
this machine's file system that is thrown away afterwards."""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from tests.rig import needs
from tests.rig.mariadb import MariaDB
from tests.rig.needs import PATH
from tests.rig.node import Node, ring
from tests.rig.service import ROOT, Service, until
from tests.rig.surroundings import GIVEN

DEPLOY = ROOT / "deploy"
UNITS = sorted(path for path in DEPLOY.iterdir() if path.suffix in (".service", ".socket", ".timer"))
NAME = "pbx-connector"
CYRILLIC = "Атс.example.ru"
DOMAIN = CYRILLIC.encode("idna").decode().lower()


# ---------------------------------------------------------------------------------------------------------- what is shipped


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    program = needs.program("systemd-analyze", "systemd")
    for unit in UNITS:  # the programs are there once it is installed
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(re.sub(r"/opt/pbx-connector/current/[\w./-]+", "/bin/true", text))
    done = subprocess.run(
        [program, "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))], capture_output=True, text=True
    )
    assert NAME not in done.stderr, done.stderr  # of other units it may say what it likes
    assert done.returncode == 0


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name)
def test_the_services_are_shut_in(unit: Path) -> None:
    program = needs.program("systemd-analyze", "systemd")
    done = subprocess.run(
        [program, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_scripts_are_clean() -> None:
    program = needs.program("shellcheck", "shellcheck")
    done = subprocess.run([program, DEPLOY / "install.sh", DEPLOY / NAME], capture_output=True, text=True)
    assert done.stdout == ""


def test_nginx_the_socket_and_the_service_agree() -> None:
    (where,) = re.findall(r"ListenStream=(.*)", (DEPLOY / "pbx-connector.socket").read_text())
    assert f" BIND=unix:{where}\n" in (DEPLOY / "pbx-connector.service").read_text()
    assert (DEPLOY / NAME).read_text().count(f" BIND=unix:{where} ") == 2
    assert f"server unix:{where} " in (DEPLOY / "nginx.conf").read_text()
    (limit,) = re.findall(r"client_max_body_size (\d+);", (DEPLOY / "nginx.conf").read_text())
    assert f"#MAX_BODY_BYTES={limit}\n" in (ROOT / ".env.example").read_text()


def test_the_dump_before_a_migration_holds_the_call_log(mariadb: MariaDB, tmp_path: Path) -> None:
    program = needs.program("mariadb-dump", "mariadb-client")
    url = mariadb.create("dumped")
    service = Service(tmp_path, url)
    service.flask("db", "upgrade")
    node = Node(tmp_path / "node", url)
    node.deliver(**ring("7000"))
    node.forward()
    done = subprocess.run(
        [sys.executable, service.root / "deploy" / "dump.py", program],
        env=service.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "INSERT INTO `calls`" in done.stdout
    assert "'7000'" in done.stdout
    assert "-- Dump completed" in done.stdout


# ------------------------------------------------------------------------------------------------------------ the installer


class Machine:
    """This machine's file system, copy on write and in memory, in name spaces of its own (mounts, processes): as a server
    on which systemd does not run. `alone` commands have a network of their own, too, where port 80 is free."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        memory = directory / "memory"
        for path in (self.root, memory):
            path.mkdir(parents=True)
        script = (
            f"mount -t tmpfs -o mode=755 tmpfs {memory} && mkdir {memory}/upper {memory}/work && "
            f"mount -t overlay -o lowerdir=/,upperdir={memory}/upper,workdir={memory}/work overlay {self.root} && "
            f"mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev && "
            f"mount -t tmpfs -o mode=755 tmpfs {self.root}/run && "
            f"rm -rf {self.root}/opt/{NAME} {self.root}/etc/{NAME} {self.root}/etc/nginx/sites-enabled/* && "
            f"touch {directory}/ready && exec sleep infinity"
        )
        command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--", "sh", "-c", script]
        with (directory / "said").open("w") as said:
            self.holder = subprocess.Popen(command, stdout=said, stderr=said)
        until(lambda: (directory / "ready").exists() or self.holder.poll() is not None, "the name spaces are made")
        if self.holder.poll() is not None:
            raise AssertionError(f"no name spaces: {(directory / 'said').read_text()}")
        (children,) = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        self.inside = ["nsenter", "-t", children, "-m", "-p"]

    def run(self, *command: str, alone: bool = False, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as root in it."""
        done = subprocess.run(
            [*self.inside, *(["-n"] if alone else []), "chroot", str(self.root), *command],
            env={**os.environ, "PATH": PATH, "PYTHON": "/usr/bin/python3", "HOME": "/root"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def install(self, *options: str, check: bool = True, source: str = "/src") -> str:
        """deploy/install.sh; all that it said. No package index is reached from here: the wheels lie beside the code."""
        done = self.run(f"{source}/deploy/install.sh", *options, alone=True, check=check)
        return done.stdout + done.stderr

    def present(self) -> str:
        """The release in force."""
        return self.run("readlink", f"/opt/{NAME}/current").stdout.strip()

    def releases(self) -> list[str]:
        return self.run("ls", f"/opt/{NAME}/releases").stdout.split()

    def mode(self, path: str) -> tuple[str, str]:
        """Its permissions and `owner:group`."""
        said = self.run("stat", "-c", "%f %U:%G", path).stdout.split()
        return oct(stat.S_IMODE(int(said[0], 16))), said[1]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    needs.root("the installer")
    for program, package in (("nginx", "nginx-light"), ("openssl", "openssl"), ("curl", "curl"), ("logrotate",) * 2):
        needs.program(program, package)
    made = Machine(tmp_path)
    keep = shutil.ignore_patterns(".git", ".venv", ".env", "data", "*_cache", "__pycache__")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=keep)
    wheels = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", f"{source}/wheels"]
    download = [sys.executable, "-m", "pip", "download", "-q", *wheels, "-r", f"{source}/requirements.txt"]
    subprocess.run(download, env=GIVEN, check=True, timeout=120)
    made.run("mkdir", "/src")
    archive = subprocess.run(["tar", "-C", str(source), "-cf", "-", "."], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run([*made.inside, "chroot", str(made.root), "tar", "-C", "/src", "-xf", "-"], input=archive, check=True)
    made.run(sys.executable, "-c", UP, alone=True)
    yield made
    made.holder.send_signal(signal.SIGKILL)  # --kill-child: what runs in it ends too, and the mounts go with it
    made.holder.wait()


UP = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_installer_installs_upgrades_rolls_back_and_uninstalls(machine: Machine) -> None:
    assert "needs --domain" in machine.install(check=False)
    assert "no name of a server" in machine.install("--domain", "звонки;фирма.рф", check=False)

    # the first installation
    said = machine.install("--domain", CYRILLIC)
    settings = machine.run("cat", f"/etc/{NAME}/settings.env").stdout
    keys = dict(re.findall(r"(?m)^(\w+_(?:KEY|PASSWORD))=(.+)$", settings))
    assert len(keys) == len(set(keys.values())) == 7
    assert all(len(key) >= 32 for key in keys.values())
    assert f"\nPUBLIC_URL=http://{DOMAIN}\n" in settings
    assert machine.mode(f"/etc/{NAME}/settings.env") == ("0o640", f"root:{NAME}")
    assert machine.mode(f"/var/lib/{NAME}/inbox") == ("0o700", f"{NAME}:{NAME}")
    assert machine.mode(f"/var/backups/{NAME}") == ("0o700", f"{NAME}:{NAME}")
    for address in ("/hs/UIScom/rec", "/uis/call/ended", "/hooktype", "/mtt/events", "/crm-api"):
        assert re.search(rf"http://{DOMAIN}{address}\?key=\S{{32}}", said), said
    assert "systemd does not run here" in said
    machine.run("nginx", "-t")
    first = machine.present()

    # the same again changes nothing
    said = machine.install()
    assert f"this code is installed already: {first}" in said
    assert machine.releases() == [Path(first).name]
    assert machine.run("cat", f"/etc/{NAME}/settings.env").stdout == settings

    # the service as its unit runs it, behind nginx
    start(machine)
    key = keys["UIS_KEY"]
    # nginx opens a new listener some time after `nginx -s reload` has returned
    post = [
        "curl",
        "-sS",
        "-w",
        "%{http_code}",
        "-d",
        '{"call_session_id": "1", "direction": "in"}',
        "--retry",
        "9",
        "--retry-connrefused",
    ]
    answer = machine.run(
        *post, f"http://{DOMAIN}/hs/UIScom/in?key={key}", "--resolve", f"{DOMAIN}:80:127.0.0.1", alone=True
    )
    assert answer.stdout == '{"status": "accepted"}\n200'
    until(
        lambda: "ringing" in machine.run(NAME, "calls", "list").stdout,
        "it is forwarded, however little its unit shows it",
    )
    checked = machine.run(NAME, "check", alone=True).stdout
    assert f"service: version {config.VERSION}, with these settings" in checked
    assert "nginx: passes requests on" in checked
    assert "call log: schema version" in checked
    machine.run("nginx", "-s", "stop", alone=True)
    away = "nginx: WRONG: RuntimeError: nobody answers on port 80"
    until(lambda: away in machine.run(NAME, "check", alone=True, check=False).stdout, "nginx has stopped")
    machine.run("nginx", alone=True)

    # a certificate
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={DOMAIN}", "-days", "1"]
    machine.run("openssl", "req", *certificate, "-keyout", "/root/key.pem", "-out", "/root/cert.pem")
    machine.run("openssl", "req", *certificate, "-keyout", "/root/other.pem", "-out", "/root/other-cert.pem")
    said = machine.install("--certificate", "/root/cert.pem", "--certificate-key", "/root/other.pem", check=False)
    assert "nginx refuses the site" in said
    assert machine.run("cat", f"/etc/{NAME}/settings.env").stdout == settings  # no https before nginx speaks it
    said = machine.install("--certificate", "/root/cert.pem", "--certificate-key", "/root/key.pem")
    assert f"PUBLIC_URL is https://{DOMAIN} now" in said
    assert f"https://{DOMAIN}/hs/UIScom/rec?key={key}" in said
    machine.run("nginx", "-s", "reload", alone=True)
    for scheme, port in (("https", 443), ("http", 80)):  # deliveries by http go on: no provider follows a redirect
        resolved = ["--resolve", f"{DOMAIN}:{port}:127.0.0.1", "-k"]
        asked = (*post, f"{scheme}://{DOMAIN}/hs/UIScom/in?key={key}", *resolved)
        until(lambda: machine.run(*asked, alone=True, check=False).stdout.endswith("200"), f"{scheme}")  # noqa: B023
    page = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]
    asked = (*page, f"http://{DOMAIN}/", "--resolve", f"{DOMAIN}:80:127.0.0.1")
    until(lambda: machine.run(*asked, alone=True).stdout == f"308 https://{DOMAIN}/", "nginx's old workers are gone")

    # an upgrade: wrong settings stop it before anything is switched
    machine.run("sh", "-c", "echo '# newer' >> /src/wsgi.py")
    machine.run("sh", "-c", f"echo WORKERS=many >> /etc/{NAME}/settings.env")
    said = machine.install(check=False)
    assert "WORKERS" in said
    assert "was left alone" in said
    assert (machine.present(), machine.releases()) == (first, [Path(first).name])
    machine.run("sed", "-i", "/^WORKERS=many/d", f"/etc/{NAME}/settings.env")
    older = ["20240101T000000-aaaaaa", "20240201T000000-bbbbbb"]
    machine.run("mkdir", *(f"/opt/{NAME}/releases/{name}" for name in older))
    machine.run("sh", "-c", "umask 077 && /src/deploy/install.sh", alone=True)  # as careful people have it
    second = machine.present()
    assert machine.releases() == [older[1], Path(first).name, Path(second).name]  # three are kept
    assert machine.run("ls", f"/var/backups/{NAME}").stdout.split()  # a backup before the tables are touched

    # back to the one before, whose tables are older: the present one brings them back before anything is switched
    machine.run("sed", "-i", "s/^VERSION = .*/VERSION = 1/", f"{first}/models.py")
    assert "took back 0002_attributes_employees" in machine.install("--rollback")
    assert machine.present() == first
    said = machine.install()  # and forward again
    assert f"this code is here already: {second}" in said
    assert "applied 0002_attributes_employees" in said
    assert machine.present() == second
    machine.install("--rollback")

    # code that does not load is not taken for a wrong setting
    machine.run("sh", "-c", "echo 'raise RuntimeError(\"boom\")' >> /src/wsgi.py")
    said = machine.install(check=False)
    assert "boom" in said
    assert "this code does not load" in said
    assert machine.present() == first
    machine.run("sed", "-i", "/^raise RuntimeError/d", "/src/wsgi.py")

    # a site that nginx refuses leaves what was there
    machine.run("sh", "-c", f"echo 'nonsense;' > /etc/nginx/{NAME}/own.conf")
    site = machine.run("cat", f"/etc/nginx/sites-available/{NAME}").stdout
    assert "nginx refuses the site" in machine.install(check=False)
    assert machine.run("cat", f"/etc/nginx/sites-available/{NAME}").stdout == site
    machine.run("rm", f"/etc/nginx/{NAME}/own.conf")

    # the settings of another node
    given = f"/etc/{NAME}/settings.env"
    assert "is there already" in machine.install("--settings", given, check=False)
    machine.run("mv", given, "/root/of-another-node.env")
    assert "the settings are those of /root/of-another-node.env" in machine.install(
        "--settings", "/root/of-another-node.env"
    )
    assert machine.mode(given) == ("0o640", f"root:{NAME}")
    assert f"UIS_KEY={key}\n" in machine.run("cat", given).stdout

    # away
    machine.install("--uninstall", source=machine.present())
    for gone in (f"/opt/{NAME}", f"/etc/systemd/system/{NAME}.service", f"/etc/nginx/sites-enabled/{NAME}"):
        assert machine.run("ls", gone, check=False).returncode != 0
    for left in (
        f"/etc/{NAME}/settings.env",
        f"/var/lib/{NAME}/inbox/inbox.db",
        f"/var/backups/{NAME}",
        f"/etc/nginx/{NAME}/tls.conf",
    ):
        machine.run("ls", left)
    machine.run("nginx", "-t")


def start(machine: Machine) -> None:
    """The socket and the service by hand, the way the units say, and nginx. Of /proc the service sees as little."""
    unit = (DEPLOY / "pbx-connector.service").read_text(encoding="utf-8")
    assert {"ProcSubset=pid", "ProtectProc=invisible"} <= set(unit.split())
    (environment,) = re.findall(r"(?m)^Environment=(.*)$", unit)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    environment = environment.replace("%b", boot)
    (command,) = re.findall(r"(?m)^ExecStart=(.*)$", unit)
    activate = f"systemd-socket-activate -l /run/{NAME}/gunicorn.sock runuser -u {NAME} -- {command}"
    activate = activate.replace(
        f"runuser -u {NAME} -- ", f"env {environment} setpriv --reuid {NAME} --regid {NAME} --init-groups "
    )
    hidden = f"mount -t proc -o subset=pid,hidepid=invisible proc /proc && exec {activate}"
    machine.run("mkdir", f"/run/{NAME}")
    machine.run(
        "sh",
        "-c",
        f"cd /opt/{NAME}/current && exec unshare --mount sh -c {shlex.quote(hidden)} >/run/service.log 2>&1 &",
        alone=True,
    )
    until(lambda: machine.run("chmod", "0666", f"/run/{NAME}/gunicorn.sock", check=False).returncode == 0, "the socket")
    machine.run("nginx", alone=True)
