"""The thread that keeps contents: they wait in memory, bounded, and never in the way of the money's records.

What a killed process had not written yet is gone: the ledger does not need it.
"""

import logging
import threading
from collections import deque
from typing import Final

from django.db import DatabaseError, InterfaceError, connections

from llm_gateway.watching import contents
from llm_gateway.watching.contents import Heard
from orchestrators import database

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 1.0
BATCH: Final = 50
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
STOP_SECONDS: Final = 5.0


class Keeper:
    """Writes what was heard of calls; its thread begins with the first of them."""

    def __init__(self, *, interval_seconds: float = INTERVAL_SECONDS, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.interval_seconds, self.max_bytes = interval_seconds, max_bytes
        self.dropped = 0
        self.is_failing = False
        self._waiting: deque[Heard] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, heard: Heard) -> None:
        """Have a content kept; where too much waits already it is dropped, and counted."""
        with self._lock:
            if self._waiting_bytes + heard.size > self.max_bytes:
                self.dropped += 1
                return
            self._waiting.append(heard)
            self._waiting_bytes += heard.size
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gateway-contents", daemon=True)
            self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Write what there is, as far as the database takes it."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def flush(self) -> bool:
        """Write what waits, batch by batch; return whether the database took it."""
        while batch := [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]:
            if not self._write(batch):
                return False
            with self._lock:
                for heard in batch:
                    self._waiting.popleft()
                    self._waiting_bytes -= heard.size
        return True

    def _run(self) -> None:
        while not self._is_over.wait(self.interval_seconds):
            self.flush()
        self.flush()

    def _write(self, batch: list[Heard]) -> bool:
        """Write a batch; one that breaks for another reason than the database's absence is given up."""
        try:
            database.guarded(lambda: contents.write(batch))
        except (DatabaseError, InterfaceError):
            if not self.is_failing:
                logger.warning("contents of calls wait for the database")
            self.is_failing = True
            return False
        except Exception as error:
            logger.error("contents of %d calls could not be kept: %s", len(batch), type(error).__name__)
            self.dropped += len(batch)
        finally:
            connections.close_all()
        self.is_failing = False
        return True
