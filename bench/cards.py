"""Cards while it rings: 200 clients that ask /api/changes every second, beside the notifications."""

import requests

from bench import load
from bench.load import Load
from bench.measures import Bench
from bench.report import Line, spread, table
from bench.targets import CONNECTORS

CLIENTS, RATE, KEY = 200, 300.0, "bench-api-key"


def cards(bench: Bench) -> list[Line]:
    """Accepting at a steady rate alone, and while the clients ask."""
    rows: list[tuple[str, ...]] = []
    lines: list[Line] = []
    for target in CONNECTORS:
        alone: list[Load] = []
        beside: list[Load] = []
        questions: list[Load] = []
        for number in range(bench.rounds):
            with target.running(bench.place(API_KEY=KEY)) as running:
                assert running.service is not None
                directory = running.service.directory
                load.paced(running.url, 1, bench.connections, RATE, directory)
                alone.append(load.paced(running.url, bench.seconds, bench.connections, RATE, directory, 1_000_000))
                url = f"{running.service.url}/api/changes"
                said = requests.get(url, {"after": 2**62}, headers={"Authorization": f"Bearer {KEY}"}, timeout=10)
                with load.asked(url, bench.seconds + 2, CLIENTS, KEY, said.json()["position"]) as done:
                    beside.append(load.paced(running.url, bench.seconds, bench.connections, RATE, directory, 2_000_000))
                    questions.append(done())
            bench.say(f"cards, round {number + 1}: {target.name}: {questions[-1].rate:.0f} questions/s")
        for what, loads in (("notifications alone", alone), ("beside the clients", beside), ("questions", questions)):
            rows.append(
                (
                    f"{target.name}: {what}",
                    spread([one.rate for one in loads], 0),
                    *(spread([getattr(one, at) for one in loads], 1) for at in ("p50", "p99")),
                    str(sum(one.failed for one in loads)),
                )
            )
        pairs = list(zip(beside, alone, strict=True))
        failed = any(one.failed for one in (*beside, *questions))
        lines += [
            Line(f"{target.name}: notifications/s beside {CLIENTS} clients over alone",
                 [a.rate / b.rate for a, b in pairs], least=0.98, failed=failed),
            Line(f"{target.name}: their p50 beside the clients over alone", [a.p50 / b.p50 for a, b in pairs]),
        ]  # fmt: skip
    bench.show(table(("cards", "requests/s", "p50 ms", "p99 ms", "failed"), rows))
    return lines
