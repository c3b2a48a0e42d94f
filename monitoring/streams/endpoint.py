"""The ASGI side of the streams: the door is asked like any other, and once it opens, no thread is held any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from monitoring.streams import desk
from monitoring.streams.api import SLOT
from monitoring.streams.plans import Plan
from monitoring.streams.seats import SEATS
from monitoring.streams.subscriber import Subscriber

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]
PREFIX: Final = "/api/v1/stream"
logger = logging.getLogger(__name__)


def is_stream(scope: Message) -> bool:
    """Whether an HTTP request may be for a stream."""
    path: str = scope["path"]
    return path.startswith(PREFIX)


async def serve(door: Application, scope: Message, receive: Receive, send: Send) -> None:
    """Ask the `door` (Django); when it grants a stream, answer with its headers and write events until the end."""
    slot: list[Plan] = []
    opening: list[Message] = []

    async def pass_on(message: Message) -> None:
        if slot and message["type"] == "http.response.start" and message["status"] == 200:
            opening.append(message)
        elif not opening:
            await send(message)

    try:
        async with desk.current().doorway:
            await door({**scope, SLOT: slot}, receive, pass_on)
        if opening:
            await _stream(slot[0], opening[0], receive, send)
    finally:
        for plan in slot:
            SEATS.give_back(plan.caller_id)


async def _stream(plan: Plan, start: Message, receive: Receive, send: Send) -> None:
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    await send({**start, "headers": headers})
    loop = asyncio.get_running_loop()
    subscriber = Subscriber(plan, send, now=loop.time())
    leaving = loop.create_task(_wait_for_end(receive, subscriber))
    desk.current().add(subscriber)
    try:
        await subscriber.run()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        leaving.cancel()
        desk.current().remove(subscriber)
        seconds = round(loop.time() - subscriber.opened_at, 1)
        logger.info("the %s stream ended", plan.stream, extra={"request_id": plan.request_id, "seconds": seconds})


async def _wait_for_end(receive: Receive, subscriber: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscriber.give_up()
