"""Wake-ups of the workers: a Celery task that says "look now". It may get lost, a sweep looks anyway."""

import logging
import threading

logger = logging.getLogger(__name__)


def jobs() -> None:
    """Ask a worker to look at the jobs; nobody waits for the broker."""
    threading.Thread(target=_send, args=("orchestrators.jobs",), daemon=True).start()


def _send(task: str) -> None:
    from moolai.celery import app  # Celery costs memory that a process which wakes nobody does not need

    try:
        app.send_task(task, retry=False, expires=10)
    except Exception as error:
        logger.debug("wake-up not sent: %s", error)
