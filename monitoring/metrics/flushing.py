"""The thread that stores what a web process counted: every ten seconds, and once more when the process ends."""

import atexit
import logging
import threading
from typing import Final

from django.db import DatabaseError, InterfaceError, connections

from monitoring.metrics import requests
from monitoring.metrics.requests import Recorder
from orchestrators import database

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 10.0
STOP_SECONDS: Final = 2.0  # what the end of a process waits for a database that may be away


class Flusher:
    """Stores the counts of a recorder in a thread of its own."""

    def __init__(self, recorder: Recorder, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.recorder, self.interval_seconds = recorder, interval_seconds
        self.is_failing = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Store what there is, and end; a database that does not answer is not waited for any longer."""
        self._is_over.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._is_over.wait(self.interval_seconds):
            self.flush()
        self.flush()

    def flush(self) -> bool:
        """Store what changed; return whether that went well. What did not is tried again next time."""
        try:
            self._store()
        except (DatabaseError, InterfaceError) as error:
            if not self.is_failing:
                logger.warning("request metrics wait for the database: %s", database.reason(error))
            self.is_failing = True
            return False
        except Exception:
            if not self.is_failing:
                logger.exception("request metrics could not be stored")
            self.is_failing = True
            return False
        if self.is_failing:
            logger.info("request metrics are stored again")
        self.is_failing = False
        return True

    def _store(self) -> None:
        try:
            database.guarded(lambda: self.recorder.flush(requests.store))
        finally:
            connections.close_all()


_lock: Final = threading.Lock()
_flusher: Flusher | None = None
_is_over = False


def start() -> None:
    """Start this process's flusher, unless it runs or `stop` was called."""
    global _flusher
    if _flusher is not None or _is_over:
        return
    with _lock:
        if _flusher is None and not _is_over:
            _flusher = Flusher(requests.RECORDER)
            _flusher.start()
            atexit.register(stop)


def stop() -> None:
    """Store what this process counted, and end its flusher; one that has not begun never does."""
    global _is_over
    with _lock:
        _is_over, running = True, _flusher
    if running is not None:
        running.stop()
