"""A desk of a test's own: threads keep the database that they opened first, and tests have one each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

from django.db import connections

from llm_gateway.plane import desk


@contextmanager
def own() -> Iterator[None]:
    """Have the data plane of this process use new threads, which let go of their connections at the end."""
    before, desk._threads = desk._threads, ThreadPoolExecutor(desk.THREADS, "gateway-desk")
    try:
        yield
    finally:
        both = Barrier(desk.THREADS)
        for done in [desk._threads.submit(_let_go, both) for _ in range(desk.THREADS)]:
            done.result()
        desk._threads.shutdown()
        desk._threads = before


def _let_go(both: Barrier) -> None:
    both.wait(timeout=10)
    connections.close_all()
