"""A Galera cluster of real MariaDB nodes (Debian's mariadb-server and galera-4) on loopback."""

import glob
import shutil
from pathlib import Path

from tests.rig.mariadb import MariaDB
from tests.rig.service import free_port, until


def missing() -> str | None:
    """One sentence that names the Debian packages to install, None when all is there."""
    if not glob.glob("/usr/lib/galera/libgalera_smm.so"):
        return "there is no Galera: install the Debian package galera-4"
    for program in ("rsync", "lsof"):
        if shutil.which(program) is None:
            return f"a Galera node copies its state with {program}: install the Debian package {program}"
    return None


class Galera:
    """Nodes that are one database. Every node takes writes; a node that died catches up when it is started again."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        ports = [self._pair() for _ in range(nodes)]
        address = "gcomm://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self.nodes = [
            MariaDB(
                directory / f"db{number}",
                None,
                "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2",
                "--wsrep-on=ON",
                "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
                "--wsrep-cluster-name=calls",
                f"--wsrep-cluster-address={address}",
                f"--wsrep-node-address=127.0.0.1:{port}",
                f"--wsrep-node-name=db{number}",
                "--wsrep-sst-method=rsync",
                f"--wsrep-sst-receive-address=127.0.0.1:{free_port()}",
                f"--wsrep-provider-options=base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port};"
                f"ist.recv_addr=127.0.0.1:{port + 1};gcache.size=64M",
            )
            for number, port in enumerate(ports, 1)
        ]

        directory.chmod(0o711)
        for node in self.nodes:
            node.user = "mysql"  # rsync gives up root's rights, and with them the way to the data

    @staticmethod
    def _pair() -> int:
        """A port whose next one is free too (for the incremental transfer)."""
        port = free_port()
        return port if port < 65_000 else port - 1000

    def start(self) -> None:
        """The first node makes the cluster, the others join it."""
        self.nodes[0].start("--wsrep-new-cluster")
        for node in self.nodes[1:]:
            node.start()
        for node in self.nodes:
            self.joined(node)

    def joined(self, node: MariaDB) -> None:
        """Wait until the node is a synced member of the whole cluster."""
        until(
            lambda: (
                node.execute("SHOW STATUS LIKE 'wsrep_local_state_comment'")[0][1] == "Synced"
                and int(node.execute("SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1]) == len(self.nodes)
            ),
            "the node is synced",
            120,
        )

    def conflicts(self) -> int:
        """Transactions that certification refused or another node's write broke off, since the running nodes started."""
        return sum(
            int(node.execute(f"SHOW STATUS LIKE '{name}'")[0][1])
            for node in self.nodes
            for name in ("wsrep_local_cert_failures", "wsrep_local_bf_aborts")
            if node.running
        )

    def create(self, database: str) -> list[str]:
        """An empty database; its URL on each node."""
        self.nodes[0].execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        first = self.nodes[0]
        first.execute(f"CREATE USER calls@'127.0.0.1' IDENTIFIED BY '{first.password}'")
        first.execute(f"GRANT ALL ON `{database}`.* TO calls@'127.0.0.1'")
        return [f"mysql://calls:{first.password}@127.0.0.1:{node.port}/{database}" for node in self.nodes]

    def __enter__(self) -> "Galera":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.__exit__()
