"""More than one machine, for a person: `make cluster`. Two connector nodes (a DATA_DIR each) behind nginx, over a Galera
cluster of three MariaDB nodes: a database node is killed and rejoins, a connector node is killed, its inbox is recovered,
the events of each call arrive on both nodes, and a reader of change_no follows all the while on the third database node.

    python -m tests.cluster [--events N] [--seed X]
"""

import argparse
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from inbox import Inbox
from tests.rig import galera, nginx
from tests.rig.galera import Galera
from tests.rig.nginx import Nginx
from tests.rig.service import ROOT, Service, until
from tests.rig.surroundings import isolate
from tests.torture.calllogs import Reader
from tests.torture.oracle import Journal, Verdict, judge

BALANCER = """
upstream connectors { %SERVERS% }
server {
    listen 127.0.0.1:%PORT%;
    client_max_body_size 1m;
    location / {
        proxy_pass http://connectors;
        proxy_connect_timeout 2s;
        proxy_next_upstream error timeout http_503 non_idempotent;  # deliveries may be repeated
    }
}
"""
EVENTS_OF_BOTH = """
SELECT count(*) FROM call_events WHERE call_id IN
    (SELECT call_id FROM call_events WHERE feed <> '' GROUP BY call_id HAVING count(DISTINCT node) = 2)
"""


def run(events: int, seed: str, tell: "Tell") -> Verdict:
    """One run of at least so many acknowledged events; what is wrong afterwards is in the account."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster")))
        databases = stack.enter_context(Galera(directory))
        urls = databases.create("calls")
        services = [stack.enter_context(Service(directory / f"connector{n}", urls[n])) for n in (0, 1)]
        for service in services:
            service.environment["SETTLE_SECONDS"] = "5"
            service.start()
        servers = "".join(f"server 127.0.0.1:{service.port} max_fails=1 fail_timeout=2s; " for service in services)
        balancer = stack.enter_context(Nginx(directory / "nginx", BALANCER.replace("%SERVERS%", servers)))
        addresses, journal = directory / "addresses", directory / "journal"
        addresses.write_text(balancer.url)
        reader = Reader(urls[2])
        reader.start()
        generator = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.stream", str(journal), str(addresses), seed, "600", "6"], cwd=ROOT
        )
        stack.callback(generator.kill)

        def acknowledged() -> int:
            return journal.read_bytes().count(b', 200, "') if journal.exists() else 0

        def flow(share: float) -> None:
            until(lambda: acknowledged() >= events * share, f"{events * share:.0f} are acknowledged", 600)
            tell(f"{acknowledged()} acknowledged, {databases.conflicts()} certification conflicts until now")

        flow(0.2)
        tell("kill -9 of a database node")
        databases.nodes[1].kill()
        flow(0.4)
        databases.nodes[1].start()
        databases.joined(databases.nodes[1])
        tell("it has rejoined")
        flow(0.6)
        tell("kill -9 of a connector node")
        services[0].kill()
        waiting = Inbox(services[0].data_dir / "inbox").backlog()[0]
        flow(0.8)
        services[0].start(upgrade=False)
        tell(f"it is back, with {waiting} deliveries in its inbox")
        flow(1)
        conflicts = databases.conflicts()
        generator.send_signal(signal.SIGTERM)
        assert generator.wait(60) == 0
        for service in services:
            service.settled(300)
        reader.over.set()
        reader.join()
        for service in services:
            service.stop()
        reader.poll()
        paths = [service.data_dir / "inbox" / "inbox.db" for service in services]
        verdict = judge(Journal.read(journal), paths, urls[0], 0, reader.copy)
        ((both,),) = databases.nodes[0].execute(EVENTS_OF_BOTH, "calls")
        tell(f"{both} events of calls whose events came to both nodes")
        if both < events * 2 / 5:  # who balances by turns sends most calls to both, but not while a node is away
            verdict.faults.append("hardly any call has events on both nodes")
        if not conflicts:
            verdict.faults.append("certification refused nothing: the nodes did not meet")
        return verdict


class Tell:
    """Progress on the terminal."""

    def __call__(self, line: str) -> None:
        print(line, flush=True)


def main() -> int:
    isolate()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=25_000, help="acknowledged notifications at least")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    options = parser.parse_args()
    lacking = galera.missing() or nginx.missing()
    if lacking:
        raise SystemExit(lacking)
    print(f"seed {options.seed}", flush=True)
    verdict = run(options.events, options.seed, Tell())
    print(f"{verdict.sent} sent, {verdict.acknowledged} acknowledged, {verdict.calls} calls; ", end="")
    print(f"{verdict.lost} lost, {verdict.doubled} doubled")
    for fault in verdict.faults[:40]:
        print(f"BROKEN PROMISE: {fault}")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
