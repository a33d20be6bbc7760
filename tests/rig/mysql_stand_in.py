"""A stand-in for a MySQL server: it speaks the handshake, and answers every statement OK or with the error it is given."""

import socket
import struct
import threading
from collections.abc import Callable

Answer = Callable[[str], tuple[int, str] | None]  # a statement -> (code, message) of an error, or None: OK

_CAPABILITIES = 0x00000001 | 0x00000008 | 0x00000200 | 0x00002000 | 0x00008000 | 0x00080000  # no TLS


class MysqlStandIn:
    """A server on a loopback port whose accounts log in by `plugin`. caching_sha2_password asks for the whole of the
    exchange, as MySQL 8 does after its start; pymysql does the rest, or raises."""

    def __init__(self, plugin: str = "mysql_native_password", answer: Answer = lambda statement: None) -> None:
        self.plugin, self.answer = plugin, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"mysql://calls:word@127.0.0.1:{self.port}/calls"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            try:
                self._log_in(client, stream)
                while packet := self._read(stream):
                    if packet[0] == 1:  # COM_QUIT
                        return
                    statement = packet[1:].decode(errors="replace")
                    error = self.answer(statement) if packet[0] == 3 else None
                    if error:
                        self._send(client, 1, b"\xff" + struct.pack("<H", error[0]) + b"#HY000" + error[1].encode())
                    elif statement.startswith("SELECT @@"):
                        self._send_number(client, 16_777_216)
                    else:
                        self._send(client, 1, b"\x00\x00\x00\x02\x00\x00\x00")
            except (OSError, EOFError):
                return

    def _log_in(self, client: socket.socket, stream: object) -> None:
        greeting = (
            b"\x0a8.0.36\x00" + struct.pack("<I", 7) + b"12345678\x00" + struct.pack("<H", _CAPABILITIES & 0xFFFF)
        )
        greeting += b"\xff\x02\x00" + struct.pack("<H", _CAPABILITIES >> 16) + b"\x15" + bytes(10)
        self._send(client, 0, greeting + b"123456789012\x00" + self.plugin.encode() + b"\x00")
        self._read(stream)
        number = 2
        if self.plugin == "caching_sha2_password":
            self._send(client, number, b"\x01\x04")  # the whole exchange, please
            self._read(stream)  # the client asks for the public key
            self._send(client, 4, b"\x01-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
            self._read(stream)
            number = 6
        self._send(client, number, b"\x00\x00\x00\x02\x00\x00\x00")

    def _send_number(self, client: socket.socket, number: int) -> None:
        text = str(number).encode()
        column = b"\x03def\x00\x00\x00\x01n\x00\x0c\x3f\x00\x15\x00\x00\x00\x08\x00\x00\x00\x00\x00"
        end = b"\xfe\x00\x00\x02\x00"
        for at, packet in enumerate((b"\x01", column, end, bytes([len(text)]) + text, end), 1):
            self._send(client, at, packet)

    @staticmethod
    def _send(client: socket.socket, number: int, payload: bytes) -> None:
        client.sendall(struct.pack("<I", len(payload))[:3] + bytes([number]) + payload)

    @staticmethod
    def _read(stream: object) -> bytes:
        head: bytes = stream.read(4)  # type: ignore[attr-defined]
        if len(head) < 4:
            raise EOFError
        payload: bytes = stream.read(int.from_bytes(head[:3], "little"))  # type: ignore[attr-defined]
        return payload
