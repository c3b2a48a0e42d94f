"""A client of server-sent events over a real socket: a thread reads, a test takes what came."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

WAIT = 5.0


@dataclass
class Heard:
    """One block between blank lines: its fields as they were sent."""

    event: str = ""
    id: str = ""
    data: Any = None
    retry: int = 0
    comments: list[str] = field(default_factory=list)


class EventStream:
    """One GET; `status` and `headers` of its answer, then the blocks as they come."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
        self._connection.request("GET", path, headers=dict(headers or {}))
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self.status, self.headers = self._response.status, self._response.headers
        self.body: Any = None
        self.seen: list[Heard] = []
        self._heard: queue.Queue[Heard | None] = queue.Queue()
        if self.status == 200:
            self._socket.settimeout(None)
            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()
        else:
            self.body = json.loads(self._response.read())
            self.close()

    def _listen(self) -> None:
        block = Heard()
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._response.readline():
                text = line.decode().removesuffix("\n")
                if text:
                    _add(block, text)
                else:
                    self._heard.put(block)
                    block = Heard()
        self._heard.put(None)

    def next(self, timeout: float = WAIT) -> Heard | None:
        """Return the next block, None when the stream has ended; raises queue.Empty when nothing comes."""
        block = self._heard.get(timeout=timeout)
        if block is not None:
            self.seen.append(block)
        return block

    def take(self, name: str, timeout: float = WAIT, **fields: Any) -> Heard:
        """Return the next event called `name` whose data has these fields, passing over others."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                block = self.next(left)
            except queue.Empty:
                break
            if block is None:
                break
            if block.event == name and fields.items() <= dict(block.data).items():
                return block
        raise TimeoutError(f"no {name} {fields} within {timeout:g} s; got {self.seen[-5:]}")

    def nothing(self, seconds: float) -> list[Heard]:
        """Listen for `seconds` and return what came."""
        found, until = [], time.monotonic() + seconds
        with suppress(queue.Empty):
            while (left := until - time.monotonic()) > 0:
                block = self.next(left)
                if block is None:
                    break
                found.append(block)
        return found

    def ending(self, timeout: float = WAIT) -> list[Heard]:
        """Read until the server ends the stream; return the blocks of that time."""
        before, until = len(self.seen), time.monotonic() + timeout
        while self.next(max(0.01, until - time.monotonic())) is not None:
            pass
        return self.seen[before:]

    def events(self, name: str) -> list[Any]:
        """Return the data of all events called `name` so far."""
        return [block.data for block in self.seen if block.event == name]

    @property
    def last_event_id(self) -> str:
        """What an EventSource would send to go on."""
        return next((block.id for block in reversed(self.seen) if block.id), "")

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _add(block: Heard, line: str) -> None:
    name, _, value = line.partition(":")
    value = value.removeprefix(" ")
    match name:
        case "":
            block.comments.append(value)
        case "event":
            block.event = value
        case "id":
            block.id = value
        case "retry":
            block.retry = int(value)
        case "data":
            block.data = json.loads(value)
        case _:
            raise AssertionError(f"no field of an event stream: {line!r}")
