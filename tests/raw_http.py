"""HTTP on a bare TCP socket: sends what no client library would, and sees when the server closes."""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    """One response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; a body that is none fails the test."""
        assert self.headers["content-type"] == "application/json", (self.headers, self.body)
        found: dict[str, Any] = json.loads(self.body)
        return found


class Line:
    """The client's end of one connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""

    def send(self, data: bytes) -> Self:
        """Send bytes as they are; a server that does not listen any more is no error."""
        try:
            self.socket.sendall(data)
        except OSError:
            return self
        return self

    def answer(self, *, is_head: bool = False) -> Answer:
        """Read one response; raises ConnectionError when the server closes before it is whole."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if is_head else int(headers["content-length"])
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(int(status.split(" ")[1]), headers, body)

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError(f"closed after {self.buffer!r}")
        self.buffer += data

    def closes_within(self, seconds: float) -> bool:
        """Tell whether the server ends the connection in time; what it still sends is passed over."""
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(65_536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def close(self) -> None:
        """Cut the line."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def ask(port: int, data: bytes) -> Answer:
    """Send bytes on a new connection and return the answer."""
    with Line(port) as line:
        return line.send(data).answer(is_head=data.startswith(b"HEAD"))


def request(target: str = "/healthz", *, method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
    """Return the bytes of a request; `headers` are whole lines, each with its line end."""
    return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode("latin-1") + body
