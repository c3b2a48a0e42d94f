"""The user's callbacks: their types and the one way to call them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .frames import Frame

ConfigCallback = Callable[[Frame], Awaitable[None] | None]
MessageCallback = Callable[[str, Any], Awaitable[Any] | Any]
TaskCallback = Callable[[str, Any], Awaitable[Any] | Any]
ExpiringCallback = Callable[[str], Awaitable[str | None] | str | None]


async def invoke(callback: Callable[..., Any], *args: Any) -> Any:
    """Call an async callback on the loop and a plain one in a thread, so that a slow one never stops the heartbeat."""
    if inspect.iscoroutinefunction(callback):
        return await callback(*args)
    result = await asyncio.to_thread(callback, *args)
    return await result if inspect.isawaitable(result) else result
