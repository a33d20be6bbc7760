"""An answer waits for the disk, the thread that made it does not: over sockets, with the turn to write kept from the
service by another process. And the worker that forwards answers nobody."""

import contextlib
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

import models
from calllog import database
from inbox import MOST_WAITING
from server.worker import Held, Worker
from tests.rig.node import Node, ring
from tests.rig.service import UIS_KEY, Service, until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """One worker that answers, of one thread."""
    with Service(tmp_path, WORKERS="1", THREADS="1") as service:
        service.start()
        until(lambda: len(service.workers()) == 2, "one that answers and one that forwards")
        yield service


@contextlib.contextmanager
def turn_taken(service: Service) -> Iterator[Callable[[], None]]:
    """Another process is at the inbox; the result lets it go."""
    with open(service.data_dir / "inbox" / "turn.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)


def request(call: int | str, version: str = "1.1") -> bytes:
    body = json.dumps(ring(str(call)), ensure_ascii=False).encode()
    head = f"POST /hs/UIScom/in?key={UIS_KEY} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


def answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str]]]:
    """(status, body) of so many answers."""
    found = []
    with connection.makefile("rb") as lines:
        for _ in range(count):
            status = int(lines.readline().split()[1])
            length = 0
            while (line := lines.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            found.append((status, json.loads(lines.read(length))))
    return found


def silent(connection: socket.socket) -> bool:
    """Nothing was sent on it yet."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b"never"
    except BlockingIOError:
        return True
    finally:
        connection.settimeout(30)


def handed_in(service: Service, calls: range) -> list[socket.socket]:
    """So many senders; returns when the one thread has served something after them all."""
    connections = [connect(service) for _ in calls]
    for connection, call in zip(connections, calls, strict=True):
        connection.sendall(request(call))
    until(lambda: service.get("/healthz").ok, "the thread is free for others")
    return connections


def test_no_answer_leaves_before_its_delivery_is_on_disk_and_no_thread_waits_for_it(service: Service) -> None:
    with turn_taken(service) as let_go:
        connections = handed_in(service, range(100, 120))
        assert service.get("/healthz").elapsed.total_seconds() < 1
        assert all(silent(connection) for connection in connections)
        assert service.inbox.look().last_deliveries == {}
        let_go()
        for connection in connections:
            assert answers(connection, 1) == [(200, {"status": "accepted"})]
    stored = [json.loads(stored.delivery.body)["call_session_id"] for stored in service.deliveries()]
    assert sorted(stored) == [str(call) for call in range(100, 120)]
    for connection in connections:  # each is kept for the next request
        connection.sendall(request("199"))
        assert answers(connection, 1) == [(200, {"status": "accepted"})]
        connection.close()


def test_whoever_has_waited_eight_seconds_is_told_to_come_again(service: Service) -> None:
    with turn_taken(service) as let_go:
        (connection,) = handed_in(service, range(1, 2))
        began = time.monotonic()
        ((status, body),) = answers(connection, 1)
        assert 7 < time.monotonic() - began < 10
        assert (status, body["error"]) == (503, "unavailable")
        assert "Повторите" in body["message"]
        let_go()
        connection.sendall(request(1))
        assert answers(connection, 1) == [(200, {"status": "accepted"})]
    assert len(service.deliveries()) == 1  # what was given up is not stored afterwards
    connection.close()


def test_a_refusal_too_waits_for_the_disk_and_keeps_no_thread(service: Service) -> None:
    with turn_taken(service) as let_go, connect(service) as connection:
        connection.sendall(request(0))  # no call id
        until(lambda: service.get("/healthz").ok, "the thread is free for others")
        assert silent(connection)
        let_go()
        ((status, body),) = answers(connection, 1)
    assert (status, body["error"]) == (422, "no_call_id")
    assert [stored.outcome.reason for stored in service.deliveries()] == ["no_call_id"]


def test_two_requests_in_one_packet_are_both_answered(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(request(1) + request(2) + request(3))
        assert answers(connection, 3) == [(200, {"status": "accepted"})] * 3
    bodies = [json.loads(stored.delivery.body)["call_session_id"] for stored in service.deliveries()]
    assert bodies == ["1", "2", "3"]


def test_an_old_sender_gets_its_answer_and_the_end_of_the_connection(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(request(1, version="1.0"))
        data = b""
        while part := connection.recv(4096):
            data += part
    assert data.startswith(b"HTTP/1.")
    assert data.endswith(b'{"status": "accepted"}\n')


def test_a_sender_that_hangs_up_while_it_waits_leaves_nothing_behind(service: Service) -> None:
    service.post("/hs/UIScom/in", json.dumps(ring("99")))
    service.settled()  # it has its connections open
    (worker,) = (psutil.Process(pid) for pid in service.answering())
    before = worker.num_fds()
    with turn_taken(service) as let_go:
        (first,) = handed_in(service, range(100, 101))
        others = handed_in(service, range(101, 131))
        for connection in others:  # a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        let_go()
        assert answers(first, 1) == [(200, {"status": "accepted"})]
        first.close()
    until(lambda: len(service.deliveries()) == 32, "what came is stored, told or not")
    until(lambda: worker.num_fds() < before + 5, f"no descriptor of thirty-one is left over: {before} before")
    assert service.post("/hs/UIScom/in", json.dumps(ring("200"))).ok
    assert "Traceback" not in service.log()


def test_who_does_not_close_his_connection_keeps_nobody_elses_answer(service: Service) -> None:
    with turn_taken(service) as let_go:
        slow = [connect(service) for _ in range(8)]
        for number, connection in enumerate(slow, 1):
            connection.sendall(request(number, version="1.0"))
        until(lambda: service.get("/healthz").ok, "it has read them")
        (last,) = handed_in(service, range(100, 101))
        let_go()
        began = time.monotonic()
        assert answers(last, 1) == [(200, {"status": "accepted"})]
        assert time.monotonic() - began < 2  # not two seconds for each of those before
        last.close()
    for connection in slow:
        assert answers(connection, 1) == [(200, {"status": "accepted"})]
        connection.settimeout(10)
        assert connection.recv(1) == b""  # the service has closed its side, and in the end the other one too
        connection.close()
    assert len(service.deliveries()) == 9


def test_a_fault_after_the_promise_sends_nothing(tmp_path: Path) -> None:
    """gunicorn closes such a connection in good order, and what was held must not leave by that."""
    with Service(tmp_path / "service", WORKERS="1", THREADS="1") as service:
        broken = "    response.call_on_close(lambda: 1 / 0)\n    return response\n"
        service.copy_code(tmp_path / "code", {"handlers/webhook.py": ("    return response\n", broken)})
        service.start()
        with turn_taken(service), connect(service) as connection:
            connection.sendall(request(1))
            assert connection.recv(1000) == b""
            service.logs("ZeroDivisionError")


def test_a_loop_that_was_held_up_does_not_deny_what_is_stored(tmp_path: Path) -> None:
    """It comes back when the eight seconds are over and the delivery is on disk: both are true, the second counts."""
    held_up = """        super().murder_pending()
        if self._holding:
            self.log.warning("held up")
        while self._holding and not (self._settled and self._holding[0].deadline < time.monotonic()):
            time.sleep(0.01)
"""
    with Service(tmp_path / "service", WORKERS="1", THREADS="1") as service:
        service.copy_code(
            tmp_path / "code",
            {
                "server/worker.py": ("        super().murder_pending()\n", held_up),
                "inbox/writer.py": ("STORED_WITHIN_SECONDS = 8", "STORED_WITHIN_SECONDS = 1"),
            },
        )
        service.start()
        with turn_taken(service) as let_go, connect(service) as connection:
            connection.sendall(request(1))
            until(lambda: "held up" in service.log(), "the loop is held up")
            let_go()
            assert answers(connection, 1) == [(200, {"status": "accepted"})]
    assert len(service.deliveries()) == 1


def test_a_wake_up_that_comes_too_late_is_written_into_nobody_elses_file(tmp_path: Path) -> None:
    """The loop has ended and a delivery is stored still: its descriptor may not have been given to the inbox by then."""
    settings = Config()
    worker = Worker(1, os.getppid(), [], None, 30, settings, Logger(settings))
    worker.method_queue.init()
    worker.method_queue.close()
    opened = [(tmp_path / str(number)).open("wb") for number in range(4)]
    worker.method_queue.defer(lambda: None)
    for file in opened:
        assert os.fstat(file.fileno()).st_size == 0
        file.close()
    worker.tmp.close()


def test_what_nobody_waits_for_any_longer_has_a_bound(tmp_path: Path) -> None:
    """A hanging disk under traffic: the deliveries that were given up lie in memory until it answers. Told after two
    seconds here; that it is eight is the test of `whoever_has_waited`."""
    with Service(tmp_path / "service", WORKERS="1", THREADS="1") as service:
        two = ("STORED_WITHIN_SECONDS = 8", "STORED_WITHIN_SECONDS = 2")
        service.copy_code(tmp_path / "code", {"inbox/writer.py": two})
        service.start()
        with turn_taken(service) as let_go:
            taken: list[socket.socket] = []
            while len(taken) <= MOST_WAITING:
                taken += handed_in(service, range(len(taken), len(taken) + 103))
                for connection in taken[-103:]:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()
            with connect(service) as connection:
                connection.sendall(request("one more"))
                ((status, body),) = answers(connection, 1)
                assert (status, body["error"]) == (503, "unavailable")
            let_go()
            until(lambda: service.post("/hs/UIScom/in", '{"call_session_id": 5, "direction": "in"}').ok, "on")


def test_a_service_that_stops_answers_what_it_has_taken(service: Service) -> None:
    with turn_taken(service) as let_go:
        (connection,) = handed_in(service, range(1, 2))
        stopping = threading.Thread(target=service.stop)
        stopping.start()
        until(lambda: "Handling signal: term" in service.log(), "it was told to stop")
        assert silent(connection)
        let_go()
        assert answers(connection, 1) == [(200, {"status": "accepted"})]
        connection.close()
        stopping.join()
    assert len(service.deliveries()) == 1


# ---------------------------------------------------------------------------------------------- the worker that forwards


def connections_of(service: Service) -> dict[int, int]:
    """How many senders each worker has."""
    return {
        pid: sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))
        for pid in service.workers()
    }


def test_who_forwards_takes_no_connections_and_when_it_dies_another_does(tmp_path: Path) -> None:
    with Service(tmp_path, WORKERS="2", THREADS="8") as service, contextlib.ExitStack() as kept:
        service.start()
        until(lambda: len(service.workers()) == 3, "two to answer and one to forward")
        senders = [kept.enter_context(connect(service)) for _ in range(40)]
        for number, sender in enumerate(senders):
            sender.sendall(request(1000 + number))
            assert answers(sender, 1) == [(200, {"status": "accepted"})]
        first = until(service.forwarder, "somebody forwards")
        had = connections_of(service)
        assert had.pop(first) == 0
        assert sum(had.values()) == 40
        os.kill(first, signal.SIGKILL)
        second = until(lambda: (now := service.forwarder()) not in (0, first) and now, "another forwards")
        for number, sender in enumerate(senders):  # those it has are answered, and end in good order
            sender.sendall(request(2000 + number))
            assert answers(sender, 1) == [(200, {"status": "accepted"})]
        until(lambda: connections_of(service)[second] == 0, "whoever forwards now has none left")
        assert sum(connections_of(service).values()) == 40 - had.get(second, 0)
        until(lambda: len(service.workers()) == 3, "another is born")
        senders = [kept.enter_context(connect(service)) for _ in range(40)]
        for number, sender in enumerate(senders):
            sender.sendall(request(3000 + number))
            assert answers(sender, 1) == [(200, {"status": "accepted"})]
        assert connections_of(service)[second] == 0
        service.settled()
        assert len(service.rows(models.Calls)) == 120


def test_a_turn_that_is_lost_is_told_and_taken_again(tmp_path: Path) -> None:
    """Whoever cannot wait for deliveries does not forward: his worker answers again until he can."""
    node = Node(tmp_path, f"sqlite:///{tmp_path}/calllog/calls.db")
    database.upgrade(node.settings.database_url, lambda line: None)
    pipe = node.settings.inbox_dir / "wake"
    pipe.mkdir(parents=True)
    turns: list[bool] = []
    node.forwarder.start(turns.append)
    try:
        until(lambda: turns[:2] == [True, False], "the turn was lost")
        pipe.rmdir()
        until(lambda: node.inbox.fact("call_log_state") == "ok", "it forwards")
        node.deliver("in", **ring("1"))
        until(node.rows, "the delivery is forwarded")
        assert turns == [True, False] * (len(turns) // 2) + [True]
    finally:
        node.forwarder.stop()


def test_a_lock_file_that_was_replaced_leaves_nobody_without_an_answer(service: Service) -> None:
    """Two would hold the turn, each of its own file, and neither would take connections."""
    (answering,) = service.answering()
    (service.data_dir / "inbox" / "forwarder.lock").unlink()
    os.kill(answering, signal.SIGKILL)
    until(lambda: answering not in service.workers() and len(service.workers()) == 2, "another is born")
    for number in range(1, 6):
        assert service.post("/hs/UIScom/in", json.dumps(ring(str(number)))).ok
    service.settled()
    assert len(service.answering()) == 1
    service.logs("forwarder.lock was removed or replaced")


def test_somebody_always_answers_however_few_workers_the_master_is_told_to_keep(service: Service) -> None:
    assert service.process is not None
    for count in range(1, 4):
        service.process.send_signal(signal.SIGTTOU)
        until(lambda: service.log().count("Handling signal: ttou") == count, "told")  # noqa: B023
    for number in range(1, 11):
        assert service.post("/hs/UIScom/in", json.dumps(ring(str(number)))).ok
    assert len(service.workers()) == 2
    service.process.send_signal(signal.SIGTTIN)
    until(lambda: len(service.workers()) == 3, "one more")
    until(lambda: len(service.answering()) == 2, "it answers")


def test_a_reload_runs_code_that_is_new_everywhere(tmp_path: Path) -> None:
    """The master, from which workers are forked, has the code loaded; a mixture of old and new would be the worst."""
    with Service(tmp_path / "service") as service:
        service.copy_code(tmp_path / "code", {})
        service.start()
        old = {"handlers/answers.py": '"status": "accepted"', "schemas/uis.py": "Нет номера сессии звонка"}
        new = {"handlers/answers.py": '"status": "taken"', "schemas/uis.py": "Где номер сессии звонка"}
        for name in old:
            path = tmp_path / "code" / name
            assert old[name] in path.read_text()
            path.write_text(path.read_text().replace(old[name], new[name]))
        assert service.post("/hs/UIScom/in", "{}").json()["message"].startswith("Нет номера")
        hup(service)
        assert service.post("/hs/UIScom/in", "{}").json()["message"].startswith("Где номер")
        assert service.post("/hs/UIScom/in", json.dumps(ring("1"))).json() == {"status": "taken"}


def hup(service: Service) -> None:
    """All workers are new when it returns."""
    assert service.process is not None
    many = int(service.environment["WORKERS"]) + 1
    until(lambda: len(service.workers()) == many, "all are born")
    before = set(service.workers())
    service.process.send_signal(signal.SIGHUP)
    until(lambda: len(now := set(service.workers())) == many and not before & now, "new workers")


def test_reloads_leave_nothing_of_the_old_code_in_memory(service: Service) -> None:
    """The master would keep each time what it had loaded for the workers before."""
    assert service.process is not None
    memory = psutil.Process(service.process.pid).memory_info
    for _ in range(4):
        hup(service)
    before = memory().rss
    for _ in range(10):
        hup(service)
    assert (memory().rss - before) / 2**20 < 12  # all of it ten times is 30


def test_an_answer_sent_too_early_would_be_seen(tmp_path: Path) -> None:
    """The check of the first test, on a worker that sends at once."""
    with Service(tmp_path / "service", WORKERS="1", THREADS="1") as service:
        service.copy_code(tmp_path / "code", {"server/worker.py": ("if held.promise is None:", "if True:")})
        service.start()
        with turn_taken(service):
            connections = handed_in(service, range(1, 2))
            until(lambda: not silent(connections[0]), "the answer is there")
            connections[0].close()


# ------------------------------------------------------------------------------------------- what senders do to a worker


def test_senders_of_half_a_request_hold_no_thread_for_good(tmp_path: Path) -> None:
    """On a direct BIND: nginx would wait for them in the service's place."""
    with Service(tmp_path / "s", WORKERS="1", THREADS="4") as service:
        service.copy_code(tmp_path / "code", {"server/worker.py": ("READ_SECONDS = 20", "READ_SECONDS = 1")})
        service.start()
        with contextlib.ExitStack() as stack:
            for part in [b"POST /hs/UIS", request(1)[:-5]] * 8:
                sender = stack.enter_context(connect(service))
                sender.sendall(part)
            assert service.post("/hs/UIScom/in", json.dumps(ring("2"))).ok
            assert service.get("/healthz").ok
            until(lambda: len(service.deliveries(state="dead")) == 8, "all that had a head are kept")
        assert {stored.outcome.reason for stored in service.deliveries(state="dead")} == {"cut_short"}
        assert service.call("2")["state"] == "ringing"


def test_a_worker_without_a_free_descriptor_lives_and_answers_when_it_has_one_again(service: Service) -> None:
    (answering,) = service.answering()
    soft, hard = resource.prlimit(answering, resource.RLIMIT_NOFILE)
    resource.prlimit(answering, resource.RLIMIT_NOFILE, (psutil.Process(answering).num_fds() + 4, hard))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(service))
        service.logs("a connection waits: ")
    resource.prlimit(answering, resource.RLIMIT_NOFILE, (soft, hard))
    assert service.post("/hs/UIScom/in", json.dumps(ring("3"))).ok
    assert service.answering() == [answering]


def test_a_cleaned_temporary_directory_ends_neither_master_nor_workers(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with Service(tmp_path / "s", WORKERS="1", TMPDIR=str(temporary)) as service:
        service.start()
        (answering,) = until(service.answering, "one answers")
        shutil.rmtree(temporary)
        os.kill(answering, signal.SIGKILL)
        until(lambda: answering not in service.workers() and len(service.workers()) == 2, "another is born")
        assert service.post("/hs/UIScom/in", json.dumps(ring("4"))).ok


def test_a_closed_connection_frees_its_place(tmp_path: Path) -> None:
    """More of them, one after another, than a worker has at a time."""
    with Service(tmp_path, WORKERS="1", THREADS="1") as service:
        service.start(True, "--worker-connections", "4")
        until(lambda: len(service.workers()) == 2, "one that answers and one that forwards")
        for call in range(1, 21):
            with connect(service) as connection:
                connection.settimeout(10)
                connection.sendall(request(call, "1.0"))  # closed after its answer
                assert connection.recv(12) == b"HTTP/1.0 200"


# ------------------------------------------------------------------------------------------------- an answer that was held


class Loop(Worker):
    """A worker's part that answers, without a loop round it."""

    def __init__(self) -> None:
        settings = Config()
        super().__init__(1, os.getppid(), [], None, 30, settings, Logger(settings))
        self.kept: list[bool] = []  # of each answered connection whether it stays open

    def finish_request(self, conn: Any, fs: Any) -> None:
        self.kept.append(bool(fs.result()))


def held(sock: socket.socket, answer: bytes, alive: bool = True) -> Held:
    """An answer that waits for the disk."""
    request = SimpleNamespace(method="POST", version=(1, 1), should_close=lambda: False, headers=[])
    one = Held(sock, request, SimpleNamespace(sock=sock, held=None), can_hold=True)
    one.sendall(answer)
    one.alive, one.otherwise = alive, lambda error: unavailable
    return one


def unavailable(environ: Any, start_response: Any) -> list[bytes]:
    start_response("503 Service Unavailable", [("Content-Length", "0")])
    return [b""]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_what_was_given_up_and_settles_later_is_answered_once(pair: tuple[socket.socket, socket.socket]) -> None:
    loop, one = Loop(), held(pair[0], b"accepted")
    loop._answer(one, TimeoutError())
    assert pair[1].recv(1000).startswith(b"HTTP/1.1 503")
    loop._answer(one, None)
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)
    assert loop.kept == [True]
    loop.tmp.close()


def test_who_leaves_his_answer_unread_is_let_go(pair: tuple[socket.socket, socket.socket]) -> None:
    loop = Loop()
    loop._answer(held(pair[0], b"x" * 10_000_000), None)
    pair[1].close()
    loop._answer(held(pair[0], b"x"), None)  # gone
    assert loop.kept == [False, False]
    loop.tmp.close()


@pytest.mark.parametrize(("alive", "header"), [(True, b"keep-alive"), (False, b"close")])
def test_an_old_sender_that_waited_too_long_is_told_that_its_connection_closes(
    alive: bool, header: bytes, pair: tuple[socket.socket, socket.socket]
) -> None:
    loop = Loop()
    loop._answer(held(pair[0], b"accepted", alive), TimeoutError())
    assert b"Connection: " + header in pair[1].recv(1000)
    assert loop.kept == [alive]
    loop.tmp.close()
