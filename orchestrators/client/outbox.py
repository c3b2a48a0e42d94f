"""Messages that go up: each is sent again, under the same `message_id`, until it is acknowledged (PROTOCOL §1)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .frames import Frame, encode, new_id
from .reconnect import milliseconds

Clock = Callable[[], float]
RESEND_MAX_SECONDS = 60.0
TRANSIENT = frozenset({"rate_limited", "overloaded", "database_unavailable", "internal_error", "server_shutdown"})
"""Errors about a message that another attempt may cure; any other is the message's own fault."""


class MessageError(Exception):
    """The controller refused a message for good; `code` and `detail` say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.detail = code, detail


class MessageConflictError(MessageError):
    """The controller holds another body under the same `message_id`."""


class ClientStoppedError(Exception):
    """The client stopped before the message was acknowledged; whether it arrived is unknown."""


@dataclass(slots=True, eq=False)
class Entry:
    """One message on its way: its text, who waits for it, and when it may be sent (again)."""

    data: bytes
    answer: asyncio.Future[Frame]
    due_at: float = 0.0
    attempts: int = 0
    in_flight: bool = False


class Pace:
    """Keep below the controller's flood limit: `burst` frames at once, `per_second` sustained."""

    def __init__(self, *, clock: Clock, per_second: float = 15.0, burst: int = 50) -> None:
        self._clock, self._per_second, self._burst = clock, per_second, burst
        self._tokens, self._at = float(burst), clock()

    async def take(self) -> None:
        """Wait until one more frame may be sent."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._per_second)


class Outbox:
    """Hold at most `limit` messages, `window` of them in flight; a further `deliver` waits for room."""

    def __init__(self, *, clock: Clock, limit: int = 1000, window: int = 32, resend_seconds: float = 15.0) -> None:
        self._clock, self._window, self._resend_seconds = clock, window, resend_seconds
        self._entries: dict[str, Entry] = {}
        self._room = asyncio.Semaphore(limit)
        self._changed = asyncio.Event()
        self._pace = Pace(clock=clock)
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._entries)

    async def deliver(self, frame: Frame) -> Frame:
        """Return the controller's `ack` for `frame`, which gets a `message_id` when it has none.

        Raises FrameError or FrameTooLargeError before sending, MessageError or MessageConflictError on the controller's
        answer, ClientStoppedError when the client stops first, ValueError for a `message_id` that is under way already.
        """
        message_id = frame.setdefault("message_id", new_id())
        data = encode(frame)
        async with self._room:
            if self._is_closed:
                raise ClientStoppedError("the client has stopped")
            if message_id in self._entries:
                raise ValueError(f"message {message_id} is under way already")
            entry = self._entries[message_id] = Entry(data, asyncio.get_running_loop().create_future())
            self._changed.set()
            try:
                return await entry.answer
            finally:
                del self._entries[message_id]
                self._changed.set()

    def acknowledged(self, ack: Frame) -> None:
        """Finish the message an `ack` names; a refusal with `retry_after_ms` only delays it."""
        entry = self._find(ack.get("message_id"))
        if entry is None:
            return
        if ack.get("success", True):
            entry.answer.set_result(ack)
        else:
            self._refuse(entry, ack)

    def refused(self, error: Frame) -> None:
        """Finish or delay the message an error frame names with `ref`."""
        entry = self._find(error.get("ref"))
        if entry is not None:
            self._refuse(entry, error)

    async def pump(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what is due, oldest first, for the length of one session; everything unacknowledged is due again."""
        for entry in self._entries.values():
            entry.in_flight, entry.due_at = False, 0.0
        while True:
            self._changed.clear()
            entry_due = self._due()
            if entry_due is None:
                await self._rest()
                continue
            await self._pace.take()
            if entry_due.answer.done():
                continue
            entry_due.attempts, entry_due.in_flight = entry_due.attempts + 1, True
            patience = self._resend_seconds * 2 ** min(entry_due.attempts - 1, 10)
            entry_due.due_at = self._clock() + min(patience, max(RESEND_MAX_SECONDS, self._resend_seconds))
            await send(entry_due.data)

    def close(self) -> None:
        """Fail everything that waits with ClientStoppedError."""
        self._is_closed = True
        for entry in self._entries.values():
            if not entry.answer.done():
                entry.answer.set_exception(ClientStoppedError("the client stopped before the acknowledgement"))

    def _find(self, message_id: Any) -> Entry | None:
        entry = self._entries.get(message_id) if isinstance(message_id, str) else None
        return None if entry is None or entry.answer.done() else entry

    def _refuse(self, entry: Entry, frame: Frame) -> None:
        code, wait_ms = str(frame.get("error")), milliseconds(frame.get("retry_after_ms"))
        if wait_ms is not None or code in TRANSIENT:
            entry.in_flight = False
            entry.due_at = self._clock() + (self._resend_seconds if wait_ms is None else wait_ms / 1000)
            self._changed.set()
            return
        kind = MessageConflictError if code == "message_id_conflict" else MessageError
        entry.answer.set_exception(kind(code, str(frame.get("detail") or "")))

    def _due(self) -> Entry | None:
        """Return the oldest message that may be sent now, within the window."""
        now, in_flight = self._clock(), 0
        for entry in self._entries.values():
            if entry.due_at <= now and not entry.answer.done():
                return entry
            in_flight += entry.in_flight
            if in_flight >= self._window:
                return None
        return None

    async def _rest(self) -> None:
        """Wait for a change, or for the next message to become due."""
        due = [entry.due_at for entry in self._entries.values() if not entry.answer.done()]
        timeout = max(0.0, min(due) - self._clock()) if due else None
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return
