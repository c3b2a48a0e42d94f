"""Following: what answers that last have in common on bare ASGI: the door that grants them, the line, the places."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import DatabaseError, InterfaceError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]
AWAY: Final = (DatabaseError, InterfaceError, TimeoutError, OSError)
KEEP_ALIVE_SECONDS: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"
MAX_FOLLOWING: Final = 200  # clients of a process that wait for what others run
MAX_FOLLOWING_OF_ONE: Final = 50  # of those, of one organization
_following: Counter[str] = Counter()


async def granted(
    door: Application, scope: Message, receive: Receive, send: Send, *, slot: str, plans: list[Any]
) -> list[Message]:
    """Ask the `door` (Django), which puts what it grants into `plans`; return its answer then.

    What it refuses, or answers by itself, is sent on, and nothing returned. `slot` is where the scope has `plans`.
    """
    opening: list[Message] = []

    async def pass_on(message: Message) -> None:
        is_granted = plans and message["type"] == "http.response.start" and message["status"] < 300
        if is_granted or opening:
            opening.append(message)
        else:
            await send(message)

    await door({**scope, slot: plans}, receive, pass_on)
    return opening


async def begin(start: Message, send: Send) -> None:
    """Send the door's status and headers: an answer of unknown length follows."""
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    await send({**start, "headers": headers})


async def leaving(receive: Receive, leave: Callable[[], None]) -> None:
    """Call `leave` when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


@contextmanager
def place(organization_id: str) -> Iterator[bool]:
    """Take a place among the clients that wait; whether there was one."""
    has_room = _following.total() < MAX_FOLLOWING and _following[organization_id] < MAX_FOLLOWING_OF_ONE
    _following[organization_id] += has_room
    try:
        yield has_room
    finally:
        _following[organization_id] -= has_room
        if not _following[organization_id]:
            del _following[organization_id]


class Writer:
    """Writes the events of one stream, one after the other, and a comment when there was none for a while."""

    def __init__(self, send: Send) -> None:
        self._send, self._lock, self._wrote_at = send, asyncio.Lock(), time.monotonic()

    async def write(self, content: bytes, *, is_last: bool = False) -> None:
        """Write some events, as fast as the client reads."""
        async with self._lock:
            self._wrote_at = time.monotonic()
            await self._send({"type": "http.response.body", "body": content, "more_body": not is_last})

    async def keep_alive(self) -> None:
        """Write comments until cancelled."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if time.monotonic() - self._wrote_at >= KEEP_ALIVE_SECONDS:
                await self.write(KEEP_ALIVE)
