"""A limit a minute that all workers share: made before they are forked, it needs no disk and no lock survives a kill."""

import fcntl
import os
import struct
import threading
import time

_MINUTE = struct.Struct("dq")  # when it began (monotonic seconds), how many since


class MinuteLimit:
    """At most so many a minute by all processes that were forked from the one that made it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._file = os.memfd_create("minute-limit")
        os.pwrite(self._file, _MINUTE.pack(0, 0), 0)
        self._lock = threading.Lock()  # a record lock keeps out other processes, not threads of its own

    def one_more(self) -> bool:
        """Count one; False beyond the limit."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                began, count = _MINUTE.unpack(os.pread(self._file, _MINUTE.size, 0))
                clock = time.monotonic()
                if clock - began >= 60:
                    began, count = clock, 0
                os.pwrite(self._file, _MINUTE.pack(began, count + 1), 0)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return bool(count < self._most)

    def __del__(self) -> None:
        os.close(self._file)
