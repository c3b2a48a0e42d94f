"""Wake-ups of the workers: a Celery task that says "look now". It may get lost, a sweep looks anyway."""

import logging
import threading
import time
from typing import Final

logger = logging.getLogger(__name__)
BURST_SECONDS: Final = 0.1
_pending: dict[str, threading.Event] = {}


def jobs() -> None:
    """Ask a worker to look at the jobs; nobody waits for the broker."""
    threading.Thread(target=_send, args=("orchestrators.jobs",), daemon=True).start()


def deliveries() -> None:
    """Ask a worker to look at what channels are to be told; a burst of alerts is one wake-up."""
    _soon("monitoring.deliveries")


def tasks() -> None:
    """Ask a worker to look at the tasks; a burst of them is one wake-up."""
    _soon("orchestrators.work")


def _soon(task: str) -> None:
    is_pending = _pending.setdefault(task, threading.Event())
    if not is_pending.is_set():
        is_pending.set()
        threading.Thread(target=_send_soon, args=(task, is_pending), daemon=True).start()


def _send_soon(task: str, is_pending: threading.Event) -> None:
    time.sleep(BURST_SECONDS)
    is_pending.clear()
    _send(task)


def _send(task: str) -> None:
    from moolai.celery import app  # Celery costs memory that a process which wakes nobody does not need

    try:
        app.send_task(task, retry=False, expires=10)
    except Exception as error:
        logger.debug("wake-up not sent: %s", error)
