"""A subscriber: one open response, a bounded queue of events, and what is written in which order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from django.db import DatabaseError, InterfaceError

from monitoring.dashboard import feed
from monitoring.dashboard.place import NOWHERE, Place
from monitoring.dashboard.topics import Frame
from monitoring.streams import ids, snapshots, wire
from monitoring.streams.plans import TOPICS, Plan

Send = Callable[[dict[str, Any]], Awaitable[None]]
MAX_WAITING: Final = 5000
CHUNK_BYTES: Final = 32 * 1024
KEEP_ALIVE_SECONDS: Final = 15.0
MAX_AGE_SECONDS: Final = 3600.0
RESYNC: Final = {
    "reason": "The Last-Event-ID is unknown or too old, or too much was missed; what follows is everything."
}


class Subscriber:
    """Who reads a stream. Frames are offered without waiting; a reader that falls behind begins anew."""

    def __init__(self, plan: Plan, send: Send, *, now: float) -> None:
        self.plan, self.scope, self.topics = plan, plan.scope, set(TOPICS[plan.stream])
        self._bound = ids.bound(plan.stream, plan.scope, plan.window)
        self._send = send
        self._offered: list[Frame] = []  # in this turn of the feed
        self._queue: deque[tuple[bytes, Place]] = deque()
        self._ready = asyncio.Event()
        self._last_words: bytes | None = None
        self._is_behind = False
        self.opened_at = self.wrote_at = now  # the loop's clock
        self.place = NOWHERE

    async def run(self) -> None:
        """Write until the stream ends or the client is gone."""
        await self._write(wire.retry())
        try:
            await feed.current().join(self)
            await self._begin()
            while self._last_words is None:
                await self._ready.wait()
                self._ready.clear()
                await self._drain()
        except (DatabaseError, InterfaceError):
            self.end("database_unavailable", "The database does not answer; connect again.")
        if self._last_words:
            await self._write(self._last_words)

    # --- frames in ------------------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> None:
        """Take a change of this turn."""
        self._offered.append(frame)

    def settle(self, place: Place) -> None:
        """Queue what was offered: only its last event says that all of the turn was told."""
        if self._offered:
            offered, self._offered = self._offered, []
            self._queue_up([(BODIES.of(frame), self.place) for frame in offered[:-1]])
            self._queue_up([(BODIES.of(offered[-1]), place)])
        self.place = place

    def _queue_up(self, events: list[tuple[bytes, Place]]) -> None:
        if self._last_words is not None:
            return
        if self._is_behind or len(self._queue) + len(events) > MAX_WAITING:
            self._is_behind = True
            self._queue.clear()
        self._queue.extend(() if self._is_behind else events)
        self._ready.set()

    def tick(self, now: float) -> None:
        """Keep the line alive when nothing was written for a while, and end it when it is old."""
        if now - self.opened_at >= MAX_AGE_SECONDS:
            self.end("expired", "A stream lasts an hour; connect again.")
        elif now - self.wrote_at >= KEEP_ALIVE_SECONDS and not self._queue and not self._is_behind:
            self._queue_up([(wire.KEEP_ALIVE, self.place)])

    def end(self, code: str, detail: str, *, retry_ms: int = wire.RETRY_MS) -> None:
        """Have the stream end with an event that says why; nothing else is written before it."""
        if self._last_words is None:
            self._last_words = wire.retry(retry_ms) + wire.event("end", {"error": code, "detail": detail})
            self._queue.clear()
            self._ready.set()

    def give_up(self) -> None:
        """Stop: the client is gone."""
        self._last_words = self._last_words or b""
        self._queue.clear()
        self._ready.set()

    # --- events out -----------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Tell what was missed where that is known, else everything."""
        if self.plan.after is not None:
            after = self.plan.after
            place = feed.current().place
            frames = await feed.current().run(partial(snapshots.missed, self.plan, after))
            if frames is not None:
                await self._write_all(frames, before=after, after=place)
                return
        if self.plan.last_event_id:
            await self._write(wire.event("resync", RESYNC))
        await self._show()

    async def _show(self) -> None:
        """Write everything as it is; only its last event is a place to go on from."""
        self._is_behind = False
        place = feed.current().place
        key = (self.plan.stream, self.scope, self.plan.window)
        frames = await feed.current().snapshot(key, partial(snapshots.read, self.plan))
        await self._write_all(frames, before=NOWHERE, after=place)

    async def _write_all(self, frames: list[Frame], *, before: Place, after: Place) -> None:
        self.wrote_at = asyncio.get_running_loop().time()
        chunk = bytearray()
        for number, frame in enumerate(frames, 1):
            place = after if number == len(frames) else before
            chunk += wire.identified(wire.body(frame), ids.write(place, self._bound))
            if len(chunk) >= CHUNK_BYTES:
                await self._write(bytes(chunk))
                chunk.clear()
            if self._last_words is not None:
                return
        await self._write(bytes(chunk) if frames else wire.identified(b"", ids.write(after, self._bound)))

    async def _drain(self) -> None:
        while self._last_words is None and (self._queue or self._is_behind):
            if self._is_behind:
                await self._write(wire.event("resync", RESYNC))
                await self._show()
            chunk = bytearray()
            while self._queue and len(chunk) < CHUNK_BYTES:
                lines, place = self._queue.popleft()
                chunk += wire.identified(lines, ids.write(place, self._bound))
            await self._write(bytes(chunk))

    async def _write(self, content: bytes) -> None:
        if content:
            self.wrote_at = asyncio.get_running_loop().time()
            await self._send({"type": "http.response.body", "body": content, "more_body": True})


class Bodies:
    """The lines of the frames of this moment, written once for all subscribers."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[Frame, bytes]] = {}

    def of(self, frame: Frame) -> bytes:
        """Return a frame's lines."""
        known = self._lines.get(id(frame))
        if known is not None and known[0] is frame:
            return known[1]
        lines = wire.body(frame)
        if len(self._lines) >= MAX_WAITING:
            self._lines.clear()
        self._lines[id(frame)] = frame, lines
        return lines

    def forget(self) -> None:
        """Let go of them: their turn is over."""
        self._lines.clear()


BODIES = Bodies()
