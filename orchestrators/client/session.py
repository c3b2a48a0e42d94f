"""One socket, from `register` to its close: handshake, heartbeat, half-open detection, goodbye (PROTOCOL §1)."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .frames import Frame, FrameError, decode, encode
from .reconnect import ABNORMAL, Ended, milliseconds, refused

HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 3.0
MISSED_INTERVALS = 2.4
"""An unanswered heartbeat older than this makes the socket half-open; looked at once an interval, so at the third."""


class Session:
    """Speak the protocol on an open socket; hand every frame that is not the session's own to `receive`."""

    def __init__(
        self,
        socket: ClientConnection,
        *,
        receive: Callable[[Frame], Awaitable[None]],
        log: logging.LoggerAdapter[logging.Logger],
        clock: Callable[[], float],
        heartbeat_interval: float | None = None,
    ) -> None:
        self._socket, self._receive, self._log, self._clock = socket, receive, log, clock
        self._interval = heartbeat_interval
        self._beats: deque[tuple[int, float]] = deque(maxlen=256)
        self._seq = 0
        self._opened_at = clock()
        self._error: str | None = None
        self._retry_after_ms: float | None = None
        self._is_refused = False
        self.ack: Frame = {}
        self.round_trip_seconds: float | None = None

    async def open(self, register: Frame) -> bool:
        """Send `register`; return True at a good `handshake_ack`, False once closed after a bad one, or without any."""
        await self.send(register)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                while not self.ack or self._is_refused:
                    await self._greet(await self._next_frame())
        except (ConnectionClosed, TimeoutError):
            return False
        return True

    async def serve(self) -> None:
        """Answer what comes until the socket closes."""
        beating = asyncio.create_task(self._beat_forever())
        try:
            while True:
                await self._dispatch(await self._next_frame())
        except ConnectionClosed:
            return
        finally:
            beating.cancel()

    def ended(self) -> Ended:
        """Return how it ended, once it is closed."""
        code = self._socket.close_code or ABNORMAL
        if self._is_refused:
            return refused(self._error, close_code=code, retry_after_ms=self._retry_after_ms)
        lasted = self._clock() - self._opened_at if self.ack else 0.0
        return Ended(code, self._error, self._retry_after_ms, lasted)

    async def send(self, frame: Frame) -> bool:
        """Send a frame; return False when the socket is closed, or the frame cannot be sent at all."""
        try:
            await self.send_data(encode(frame))
        except FrameError as error:
            self._log.error("not sent: %s", error)
            return False
        except ConnectionClosed:
            return False
        return True

    async def send_data(self, data: bytes) -> None:
        """Send an encoded frame; raises ConnectionClosed."""
        await self._socket.send(data, text=True)

    async def leave(self) -> None:
        """Say goodbye, let the controller close with 1000, and close ourselves when it does not."""
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.send({"type": "goodbye"})
                await self._socket.wait_closed()
        await self._socket.close()

    async def _next_frame(self) -> Frame:
        while True:
            frame = decode(await self._socket.recv())
            if frame is not None:
                return frame
            self._log.warning("a frame that is not a JSON object with a type was ignored")

    async def _greet(self, frame: Frame) -> None:
        """Take what comes before the session stands: the handshake_ack, or the error that explains the close."""
        if frame["type"] == "error":
            self._note(frame)
        elif frame["type"] == "handshake_ack":
            self.ack, self._is_refused = frame, not frame.get("success")
            if self._is_refused:
                self._note(frame)
            elif self._interval is None:
                offered = frame.get("heartbeat_interval")
                self._interval = offered if isinstance(offered, int | float) and offered > 0 else 30.0

    async def _dispatch(self, frame: Frame) -> None:
        match frame["type"]:
            case "heartbeat_ack":
                self._heard(frame.get("seq"))
                return
            case "poke":
                await self._beat()
                return
            case "error":
                self._note(frame)
        try:
            await self._receive(frame)
        except Exception:
            self._log.exception("a %s frame could not be handled", frame["type"])

    def _note(self, frame: Frame) -> None:
        """Remember a fatal error for the close that follows; a passing one is only logged."""
        self._log.warning("the controller says %s: %s", frame.get("error"), frame.get("detail"))
        if frame.get("fatal", True) or frame.get("error") == "server_shutdown":
            self._error = str(frame.get("error", "unknown"))
            self._retry_after_ms = milliseconds(frame.get("retry_after_ms"))

    async def _beat_forever(self) -> None:
        interval = self._interval or 30.0
        while not self._is_half_open(interval):
            try:
                async with asyncio.timeout(interval * MISSED_INTERVALS):
                    if not await self._beat():
                        return
            except TimeoutError:
                break
            await asyncio.sleep(interval)
        self._log.warning("no heartbeat_ack for %.1f intervals: the connection is dead", MISSED_INTERVALS)
        self._socket.transport.abort()

    async def _beat(self) -> bool:
        self._seq += 1
        self._beats.append((self._seq, self._clock()))
        return await self.send(
            {"type": "i_am_alive", "orchestrator_id": self.ack.get("orchestrator_id"), "seq": self._seq}
        )

    def _is_half_open(self, interval: float) -> bool:
        return bool(self._beats) and self._clock() - self._beats[0][1] > interval * MISSED_INTERVALS

    def _heard(self, seq: Any) -> None:
        if not isinstance(seq, int):
            return
        while self._beats and self._beats[0][0] <= seq:
            number, sent_at = self._beats.popleft()
            if number == seq:
                self.round_trip_seconds = self._clock() - sent_at
