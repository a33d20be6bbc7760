"""gunicorn's threaded worker, whose threads do not wait for the disk: an answer that promises what is not on disk yet is
held, its thread serves the next request, and the worker's loop sends the answer when the promise is kept.

The application asks for that by `hold` of environ["gunicorn.socket"]; under another server it finds none, and waits. Why:
docs/decisions/0008. What is used of gunicorn beside its documented hooks: ThreadWorker's enqueue_req, handle,
handle_request, finish_request, murder_pending and method_queue.
"""

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import ThreadWorker


class Promise(Protocol):
    """What will be on disk soon."""

    def then(self, call: Callable[[], None]) -> None:
        """Call back once, from whatever thread, when it is on disk or will not be."""

    def broken(self) -> Exception | None:
        """Why it will not be, once it has called back; None: it is on disk."""

    def give_up(self) -> Exception:
        """Nobody waits for it any longer; the reason to tell."""


class Held:
    """A request's connection, which keeps what is to be sent until all of it is there: head and body of an answer leave
    in one write. nginx repeats a request only until it has the head, and a worker may be killed between two writes."""

    def __init__(self, sock: socket.socket, req: Any, conn: Any) -> None:
        self._sock = sock
        self._parts: list[bytes] = []
        self.req, self.conn = req, conn
        self.alive = False  # whether the connection is kept
        self.answered = False  # the loop's own
        self.promise: Any = None  # a Promise
        self.otherwise: Callable[[Exception], Any]
        self.deadline = 0.0

    def hold(self, promise: Promise, otherwise: Callable[[Exception], Any], seconds: float) -> None:
        """Send the answer when the promise is kept; when it is broken, or not kept within the seconds, send that of
        the WSGI application `otherwise(error)` in its place."""
        self.promise, self.otherwise, self.deadline = promise, otherwise, time.monotonic() + seconds

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self._parts.append(bytes(data))

    def take(self) -> bytes:
        """What was kept."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def flush(self) -> None:
        """Send what was kept."""
        if self._parts:
            self._sock.sendall(self.take())

    def __getattr__(self, name: str) -> Any:
        self.flush()  # what is done to the connection past us (sendfile) comes after it
        return getattr(self._sock, name)


class _Result:
    """As much of a future as ThreadWorker.finish_request asks for."""

    def __init__(self, alive: Any) -> None:
        self._alive = alive

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        return self._alive


class Worker(ThreadWorker):
    """Threads: one idle sender would block a sync worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._holding: deque[Held] = deque()  # in the order of their deadlines
        self._settled: deque[Held] = deque()
        self._told = False  # the loop, that there are settled ones

    # -------------------------------------------------------------------------------------------------- the pool's part

    def enqueue_req(self, conn: Any) -> None:
        """Serve the connection's next request in a thread of the pool."""
        self.tpool.submit(self._serve, conn)

    def _serve(self, conn: Any) -> None:
        conn.held = None
        alive = False
        try:
            alive = self.handle(conn)
        finally:
            held: Held | None = conn.held
            if held is None:
                self.method_queue.defer(self.finish_request, conn, _Result(alive))
            else:
                held.alive = alive
                self._holding.append(held)
                held.promise.then(lambda: self._settle(held))

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Have the application answer; the answer is sent, or held."""
        sock = conn.sock
        conn.sock = held = Held(sock, req, conn)
        try:
            alive: bool = super().handle_request(req, conn)
        finally:
            conn.sock = sock
        if held.promise is None:
            held.flush()
        else:
            conn.held = held
        return alive

    def _settle(self, held: Held) -> None:
        self._settled.append(held)
        if not self._told:  # one call of the loop for all that were stored together
            self._told = True
            self.method_queue.defer(self._answer_settled)

    # -------------------------------------------------------------------------------------------------- the loop's part

    def _answer_settled(self) -> None:
        self._told = False
        while self._settled:
            held = self._settled.popleft()
            self._answer(held, held.promise.broken())

    def murder_pending(self) -> None:
        """What the loop does at every turn: those who have waited too long are told so."""
        super().murder_pending()
        now = time.monotonic()
        while self._holding and (self._holding[0].answered or self._holding[0].deadline <= now):
            held = self._holding.popleft()
            if not held.answered:
                self._answer(held, held.promise.give_up())

    def _answer(self, held: Held, error: Exception | None) -> None:
        if held.answered:  # given up before it settled
            return
        held.answered = True
        try:
            answer = held.take() if error is None else self._otherwise(held, error)
            sent = held.conn.sock.send(answer, socket.MSG_DONTWAIT)
            # who leaves so much unread that a few hundred bytes do not fit is let go; his delivery is stored
            alive = held.alive and sent == len(answer)
        except OSError:
            alive = False  # the sender has gone
        except Exception:
            alive = False
            self.log.exception("Error answering a held request")
        self.finish_request(held.conn, _Result(alive))

    def _otherwise(self, held: Held, error: Exception) -> bytes:
        held.take()
        answer = Response(held.req, held, self.cfg)
        if not held.alive:
            answer.force_close()
        for part in held.otherwise(error)({"REQUEST_METHOD": held.req.method}, answer.start_response):
            answer.write(part)
        answer.close()
        return held.take()
