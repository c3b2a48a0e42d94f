"""The desk: database work of the data plane, in two threads of its own, with a time limit."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from orchestrators import database

T = TypeVar("T")
SECONDS: Final = 8.0
THREADS: Final = 2
_threads = ThreadPoolExecutor(THREADS, "gateway-desk")


async def run(work: Callable[[], T]) -> T:
    """Run database work, which may be run twice; raises what it raises, and TimeoutError when nothing comes of it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        return await loop.run_in_executor(_threads, database.guarded, work)
