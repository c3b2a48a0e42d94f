"""A WebSocket peer on a bare TCP socket: it can send what no library lets one send, and can refuse to read."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from typing import Any, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """Return the bytes of one frame (RFC 6455 §5.2); `length` claims another length than the payload's."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, mask_bit | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


class RawPeer:
    """The client side of one upgraded socket."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.port, self.buffer = port, b""

    def upgrade(self, *, path: str = "/ws", headers: list[tuple[str, bytes]] | None = None) -> tuple[int, bytes]:
        """Send the upgrade request with extra headers; return status and body (empty for 101)."""
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {path} HTTP/1.1".encode(), b"Host: 127.0.0.1:%d" % self.port, b"Upgrade: websocket"]
        lines += [b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key]
        lines += [name.encode() + b": " + value for name, value in headers or []]
        self.socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        while b"\r\n\r\n" not in self.buffer:
            if not (data := self.socket.recv(4096)):
                return 0, self.buffer
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        return status, b"" if status == 101 else self._rest()

    def _rest(self) -> bytes:
        try:
            while data := self.socket.recv(4096):
                self.buffer += data
        except OSError:
            pass
        return self.buffer

    def register(self, orchestrator_id: str, key: str) -> dict[str, Any]:
        """Upgrade and open a session; return the handshake_ack."""
        status, body = self.upgrade()
        assert status == 101, body
        self.send({"type": "register", "orchestrator_id": orchestrator_id, "token": key, "capabilities": ["config"]})
        return self.recv()

    def send(self, message: dict[str, Any]) -> None:
        """Send an ordinary text frame."""
        self.socket.sendall(frame(TEXT, json.dumps(message).encode()))

    def raw(self, data: bytes) -> None:
        """Send bytes as they are; a server that has closed meanwhile is no error."""
        try:
            self.socket.sendall(data)
        except OSError:
            return

    def read_frame(self) -> tuple[int, bytes]:
        """Return (opcode, payload) of the next frame; raises ConnectionError at the end of the stream."""
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._exactly(8))[0]
        return first & 0x0F, self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionError("the server closed the stream")
            self.buffer += data
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def recv(self) -> dict[str, Any]:
        """Return the next text frame's object; control frames are passed over."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == TEXT:
                found: dict[str, Any] = json.loads(payload)
                return found
            if opcode == CLOSE:
                raise ConnectionError(f"closed with {struct.unpack('!H', payload[:2])[0]}")

    def ending(self, timeout: float = 20) -> tuple[list[dict[str, Any]], int | None]:
        """Read to the close frame; return the text frames before it and its code (None: the stream just ended)."""
        frames: list[dict[str, Any]] = []
        until = time.monotonic() + timeout
        try:
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                opcode, payload = self.read_frame()
                if opcode == TEXT:
                    frames.append(json.loads(payload))
                elif opcode == CLOSE:
                    return frames, struct.unpack("!H", payload[:2])[0] if payload else 1005
        except TimeoutError:
            raise
        except OSError:
            return frames, None
        raise TimeoutError(f"no close within {timeout:g} s; got {frames[-3:]}")

    def close(self) -> None:
        """Cut the line."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
