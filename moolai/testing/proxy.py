"""A TCP proxy on 127.0.0.1 that makes a network bad: late, dead, cut, or a byte at a time.

Runs in a thread of its own with its own event loop, so that plain and async tests use it alike.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from typing import Any, Literal, Self

Mode = Literal["pass", "slice", "blackhole", "reset"]
Queue = asyncio.Queue[tuple[float, bytes]]  # (when it is due, monotonic seconds; the bytes, none at the end)
CHUNK_BYTES = 65_536
QUEUE_CHUNKS = 64  # What a slow receiver makes us hold, then the sender is slowed down as well.
POLL_SECONDS = 0.02
LINGER_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """One listening port in front of `127.0.0.1:target_port`; change `mode` and `delay_ms` at any time.

    `pass` forwards, `delay_ms` later; `slice` forwards one byte a write; `blackhole` holds everything back, also new
    connections, and delivers it when the mode changes; `reset` answers new connections with a TCP reset.
    """

    def __init__(self, target_port: int, *, mode: Mode = "pass", delay_ms: float = 0) -> None:
        """Describe the proxy; it listens once started."""
        self.target_port = target_port
        self.mode: Mode = mode
        self.delay_ms = delay_ms
        self.port = 0
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def url(self, scheme: str = "http", path: str = "/") -> str:
        """Return an address that goes through the proxy."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._tasks)

    def start(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        self._run(self._listen())
        return self

    def reset(self) -> None:
        """Cut every open connection on both sides with a TCP reset; the mode stays."""
        self._run(self._reset())

    def stop(self) -> None:
        """Close the port and every connection."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _reset(self) -> None:
        for writer in list(self._writers):
            _abort(writer)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            self._forget(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._while_blackhole()
        if self.mode == "reset":
            _abort(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as both_ways:
                for source, sink in ((reader, far_writer), (far_reader, writer)):
                    queue: Queue = asyncio.Queue(QUEUE_CHUNKS)
                    both_ways.create_task(self._collect(source, queue))
                    both_ways.create_task(self._deliver(queue, sink))
        except* OSError:
            pass  # One side was cut; the other is closed with it.
        finally:
            self._forget(far_writer)

    async def _collect(self, reader: asyncio.StreamReader, queue: Queue) -> None:
        chunk = b"-"
        while chunk:
            chunk = await reader.read(CHUNK_BYTES)
            await queue.put((time.monotonic() + self.delay_ms / 1000, chunk))

    async def _deliver(self, queue: Queue, writer: asyncio.StreamWriter) -> None:
        while True:
            due_at, chunk = await queue.get()
            await asyncio.sleep(due_at - time.monotonic())
            await self._while_blackhole()
            if not chunk:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            size = 1 if self.mode == "slice" else len(chunk)
            for start in range(0, len(chunk), size):
                writer.write(chunk[start : start + size])
                await writer.drain()
                if size == 1:
                    await asyncio.sleep(0)

    async def _while_blackhole(self) -> None:
        while self.mode == "blackhole":  # noqa: ASYNC110 - the mode is set from other threads
            await asyncio.sleep(POLL_SECONDS)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        with contextlib.suppress(OSError):
            writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset: unsent data is thrown away."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    writer.transport.abort()
