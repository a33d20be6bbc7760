"""gunicorn's threaded worker, in four things different.

Its threads do not wait for the disk: an answer that promises what is not on disk yet is held, its thread serves the next
request, and the worker's loop sends the answer when the promise is kept. The application asks for that by `hold` of
environ["gunicorn.socket"]; under another server it finds none, and waits.

And the one of the workers that forwards takes no connections: who answers never waits for the interpreter's lock behind
a batch, nor the batch behind who answers.

And nothing from outside ends a worker or holds its threads for good: a request has READ_SECONDS to arrive, and a worker
without a free descriptor waits for one.

And a request line with raw UTF-8 or blanks in its address is read; one that is refused is counted.

Why: docs/decisions/0008. What is used of gunicorn beside its documented hooks: ThreadWorker's enqueue_req, accept, handle,
handle_request, finish_request, murder_keepalived, murder_pending, set_accept_enabled, wait_for_and_dispatch_events, poller,
nr_conns, worker_connections, max_keepalived, method_queue and handle_error; RequestParser's mesg_class; Request's parse,
read_line and parse_request_line.
"""

import contextlib
import errno
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gunicorn import glogging
from gunicorn.http import message
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import ThreadWorker

LINGER_SECONDS, LINGER_BYTES = 2, 65_536  # gunicorn's own: util.close_graceful
READ_SECONDS = 20  # for a request to arrive whole, head and body; nginx waits for slow senders, a direct BIND cannot
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Logger(glogging.Logger):
    """gunicorn's, but for its access log: its lines would hold the keys, and with a logconfig it formats them even for
    nobody. The master keeps this class for life: nothing that it reaches may hold settings."""

    def access(self, *_: Any) -> None:
        """Nothing."""


_NOT_PLAIN = re.compile(rb"[ \x80-\xff]")


class Request(message.Request):
    """gunicorn's, but a request line may have raw UTF-8 and blanks in its address (UIS puts values into a GET as they are):
    they are percent-encoded, where gunicorn answers 400. What is refused for another reason keeps how it began."""

    began = b""

    def parse(self, unreader: Any) -> bytes:
        """The request's head; what follows it."""
        try:
            rest: bytes = super().parse(unreader)
        except ParseException as error:
            error.began = self.began
            raise
        return rest

    def read_line(self, unreader: Any, buf: bytearray, limit: int = 0) -> Any:
        """The request line, and what was read beyond it."""
        self.began = bytes(buf[:1024])
        return super().read_line(unreader, buf, limit)

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Method, address and version."""
        method, _, rest = line_bytes.partition(b" ")
        target, blank, version = rest.rpartition(b" ")
        if _NOT_PLAIN.search(target):
            target = _NOT_PLAIN.sub(lambda found: b"%%%02X" % found[0][0], target)
        super().parse_request_line(b" ".join((method, target, version)) if blank else line_bytes)


RequestParser.mesg_class = Request


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

    def __init__(self, sock: socket.socket, req: Any, conn: Any, can_hold: bool) -> None:
        self._sock = sock
        self.hold = self._hold if can_hold else None
        self._parts: list[bytes] = []
        self.req, self.conn = req, conn
        self.alive = False  # whether the connection is kept
        self.answered = False  # the loop's own
        self.promise: Any = None  # a Promise
        self.otherwise: Callable[[Exception], Any]
        self.deadline = 0.0

    def _hold(self, promise: Promise, otherwise: Callable[[Exception], Any], seconds: float) -> None:
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
        if self.promise is None:  # what is promised leaves by the loop alone, whatever goes wrong here
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
        self.malformed: Callable[[bytes], None] = lambda began: None  # a request that was refused: how it began
        self._told = False  # the loop, that there are settled ones
        self._closing: dict[Any, None] = {}  # in the order of their deadlines
        self._reading: dict[socket.socket, float] = {}  # the connections that a thread serves, and their deadlines
        self._exhausted = False  # no descriptor was left for a new connection
        # its descriptor is not given to somebody else while a late delivery may still wake a loop that has ended
        self.method_queue.close = lambda: None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answer what is no HTTP, and have it counted."""
        super().handle_error(req, client, addr, exc)
        if isinstance(exc, ParseException) and self.wsgi is not None:
            self.malformed(getattr(exc, "began", b""))

    def forwards(self, ours: bool) -> None:
        """It is this worker's turn to forward, or no longer: while it is, the worker takes no new connections, and closes
        those that it has after their next answer. Called from whatever thread."""
        self.worker_connections = 0 if ours else self.cfg.worker_connections
        self.max_keepalived = 0 if ours else self.cfg.worker_connections - self.cfg.threads
        self.method_queue.defer(lambda: None)  # the loop looks at them

    # -------------------------------------------------------------------------------------------------- the pool's part

    def enqueue_req(self, conn: Any) -> None:
        """Serve the connection's next request in a thread of the pool."""
        self.tpool.submit(self._serve, conn)

    def _serve(self, conn: Any) -> None:
        conn.held = None
        alive = False
        sock = conn.sock
        self._reading[sock] = time.monotonic() + READ_SECONDS
        try:
            alive = self.handle(conn)
        finally:
            self._reading.pop(sock, None)
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
        conn.sock = held = Held(sock, req, conn, can_hold=not self.cfg.is_ssl)  # TLS cannot be sent in part
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

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; without a free descriptor idle ones are closed, and the next try is a moment later."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS:
                raise
            self.log.error("a connection waits: %s; raise LimitNOFILE or ulimit -n", error.strerror)
            self.murder_keepalived(force=True)
            self._exhausted = True

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """No longer than the first one is held."""
        if self._exhausted:
            self._exhausted = False
            self.set_accept_enabled(False)  # the loop turns it on again
            timeout = min(timeout, 0.1)
        if self._holding:
            timeout = min(timeout, max(0.0, self._holding[0].deadline - time.monotonic()))
        super().wait_for_and_dispatch_events(timeout)

    def _answer_settled(self) -> None:
        self._told = False
        while self._settled:
            held = self._settled.popleft()
            self._answer(held, held.promise.broken())

    def murder_pending(self) -> None:
        """What the loop does at every turn: those who have waited too long are told so, who does not close is closed."""
        super().murder_pending()
        self._answer_settled()
        now = time.monotonic()
        while self._closing and (conn := next(iter(self._closing))).timeout <= now:
            self._close(conn)
        for sock, deadline in list(self._reading.items()):
            if deadline <= now and self._reading.pop(sock, 0.0):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)  # ends the read that its thread waits in; an answer can still be sent
        while self._holding and (self._holding[0].answered or self._holding[0].deadline <= now):
            held = self._holding.popleft()
            if not held.answered:
                self._answer(held, held.promise.give_up())

    def _answer(self, held: Held, error: Exception | None) -> None:
        if held.answered:  # given up before it settled
            return
        held.answered, held.conn.held = True, None
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

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep the connection or close it, as gunicorn does; but its close waits in the loop until the other side has
        closed too, and here everybody's answers would wait with it."""
        if fs.result() or self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):
            self.nr_conns -= 1
            conn.close()
        else:
            conn.timeout, conn.left = time.monotonic() + LINGER_SECONDS, LINGER_BYTES
            self._closing[conn] = None

    def _drain(self, conn: Any, sock: socket.socket) -> None:
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.left -= len(data)
        if not data or conn.left <= 0:
            self._close(conn)

    def _close(self, conn: Any) -> None:
        del self._closing[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
