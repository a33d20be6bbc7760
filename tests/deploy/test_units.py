"""The units, directive by directive: what systemd-analyze passes may still be root, everybody's socket, five starts."""

import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

# What shuts a service in (systemd.exec(5)), and its name in the journal: the same in each.
SHUT_IN = """
SyslogIdentifier=pbx-connector
User=pbx-connector
Group=pbx-connector
StateDirectory=pbx-connector
StateDirectoryMode=0711
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
RemoveIPC=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
""".split("\n")[1:-1]
SOCKET = [
    "SocketUser=pbx-connector", "SocketGroup=www-data", "SocketMode=0660", "DirectoryMode=0755",
    "TriggerLimitIntervalSec=0",
]  # fmt: skip

# What else each unit does; of a service's commands the tests that run them know.
UNITS = {
    # SIGTERM to the master alone, and time for its workers (10 s) and the forwarder's batch (5 s); started for ever
    "pbx-connector.service": [
        *SHUT_IN, "Type=notify", "NotifyAccess=main", "KillMode=mixed", "TimeoutStopSec=30", "TimeoutStartSec=60",
        "Restart=always", "RestartSec=2", "StartLimitIntervalSec=0", "LimitNOFILE=16384",
        "Requires=pbx-connector.socket", "WantedBy=multi-user.target",
    ],
    "pbx-connector-daily.service": [
        *SHUT_IN, "Type=oneshot", "ReadWritePaths=/var/backups/pbx-connector", "Nice=10", "IOSchedulingClass=idle",
    ],
    "pbx-connector-nginx.service": [*SHUT_IN, "Type=exec", "StartLimitIntervalSec=0", "Nice=10"],
    "pbx-connector.socket": [*SOCKET, "ListenStream=/run/pbx-connector/gunicorn.sock", "WantedBy=sockets.target"],
    "pbx-connector-nginx.socket": [*SOCKET, "ListenDatagram=/run/pbx-connector/nginx.sock", "WantedBy=sockets.target"],
    "pbx-connector-daily.timer": [
        "OnCalendar=*-*-* 03:30:00", "RandomizedDelaySec=30min", "Persistent=yes", "WantedBy=timers.target",
    ],
}  # fmt: skip
ELSEWHERE = re.compile("Description|Wants|After|WorkingDirectory|Environment|ExecStart|ExecReload")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_has_just_these_directives(unit: str) -> None:
    lines = (DEPLOY / unit).read_text(encoding="utf-8").splitlines()
    directives = [line for line in lines if re.match("[A-Z]", line) and not ELSEWHERE.match(line)]
    assert sorted(directives) == sorted(UNITS[unit])


def test_no_unit_is_without_its_list() -> None:
    there = {
        path.name for path in DEPLOY.iterdir() if path.suffix in (".service", ".socket", ".timer", ".path", ".mount")
    }
    assert there == UNITS.keys()


def test_the_nightly_run_purges_before_it_backs_up() -> None:
    """Else each backup keeps for two weeks what has just been deleted."""
    (command,) = re.findall(
        r"(?m)^ExecStart=(.*)$", (DEPLOY / "pbx-connector-daily.service").read_text(encoding="utf-8")
    )
    assert re.findall(r"/pbx-connector (purge|backup)\b", command) == ["purge", "backup"]
