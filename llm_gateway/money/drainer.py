"""The thread that reads this process's journal into the ledger, once a second and once more at the end."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from llm_gateway.money import draining
from llm_gateway.money.journal import Journal
from orchestrators import database

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 30
STOP_SECONDS: Final = 5.0  # what the end of a process waits for a database that may be away


class Drainer:
    """Reads a journal in a thread of its own, and adopts those of dead processes when it starts."""

    def __init__(self, journal: Journal, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.journal, self.interval_seconds = journal, interval_seconds
        self.is_failing = False
        self._rounds = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-journal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Read what there is, close the journal and finish its books; what the database did not take is adopted later.

        Calls that are still open count as lost: end them before.
        """
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self.journal.close()

    def flush(self) -> bool:
        """Read what is new; return whether the database took it."""
        return self._guarded(lambda: draining.drain_folder(self.journal.folder))

    def _run(self) -> None:
        try:
            self._go_on()
        finally:
            connections.close_all()  # kept until here: a new one each second cost as much as what goes over it

    def _go_on(self) -> None:
        self._guarded(lambda: draining.adopt(self.journal.folder.parent))
        while not self._is_over.wait(self.interval_seconds):
            self._sync()
            self.flush()
            self._rounds += 1
            if self._rounds % max(1, int(BEAT_SECONDS / self.interval_seconds)) == 0:
                self._guarded(lambda: draining.beat(self.journal.holder, now=timezone.now()))
        if self.flush():
            self.journal.close()
            self._guarded(lambda: draining.adopt(self.journal.folder.parent))

    def _sync(self) -> None:
        try:
            self.journal.sync()
        except OSError as error:
            logger.error("the disk does not keep the journal of calls: %s", error)
        except Exception:
            logger.exception("the journal of calls could not be kept")

    def _guarded(self, work: Callable[[], Any]) -> bool:
        try:
            database.guarded(work)
        except (DatabaseError, InterfaceError) as error:
            if not self.is_failing:
                logger.warning("the ledger waits for the database: %s", database.reason(error))
            self.is_failing = True
            connections.close_all()
            return False
        except Exception:
            logger.exception("the journal could not be read")
            connections.close_all()
            return False
        if self.is_failing:
            logger.info("the ledger is written again")
        self.is_failing = False
        return True
