"""Wake-ups between processes: "look at the events now", through the channel layer where there is Redis.

They carry nothing, may be lost, and never hold anybody up: without them a process looks once a second anyway.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

logger = logging.getLogger(__name__)
GROUP: Final = "hubs"
TIMEOUT_SECONDS: Final = 1.0
_local: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None
_is_publishing = threading.Event()


def publish() -> None:
    """Wake the hub of this process and, with Redis, those of the others; callable from any thread."""
    local = _local
    if local is not None and not local[0].is_closed():
        local[1]()
    if not settings.REDIS_URL or _is_publishing.is_set():
        return
    _is_publishing.set()  # a burst is one wake-up
    if local is not None and not local[0].is_closed():
        asyncio.run_coroutine_threadsafe(_publish(), local[0])
    else:
        threading.Thread(target=async_to_sync(_publish), daemon=False).start()


async def _publish() -> None:
    try:
        await asyncio.sleep(0.005)
        _is_publishing.clear()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await get_channel_layer().group_send(GROUP, {"type": "hub.wake"})
    except Exception as error:
        logger.debug("wake-up not published: %s", error)
    finally:
        _is_publishing.clear()


async def listen(poke: Callable[[], None]) -> None:
    """Call `poke` for every wake-up; one channel for the whole process, joined anew when Redis went away."""
    global _local
    _local = (asyncio.get_running_loop(), poke)
    while settings.REDIS_URL:
        try:
            layer: Any = get_channel_layer()
            channel = await layer.new_channel()
            await layer.group_add(GROUP, channel)
            while True:
                await layer.receive(channel)
                poke()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.warning("Redis does not answer; wake-ups take up to a second: %s", error)
            await asyncio.sleep(1)
