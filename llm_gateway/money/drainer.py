"""The thread that reads this process's journal into the ledger, once a second and once more at the end."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from llm_gateway.money import draining
from llm_gateway.money.journal import Journal
from llm_gateway.money.troubles import Trouble
from orchestrators import database

INTERVAL_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 30
STOP_SECONDS: Final = 5.0  # what the end of a process waits for a database that may be away


class Drainer:
    """Reads a journal in a thread of its own, and adopts those of dead processes when it starts."""

    def __init__(self, journal: Journal, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.journal, self.interval_seconds = journal, interval_seconds
        self._disk = Trouble(
            expected=(OSError,),
            waits="the disk does not keep the journal of calls",
            fails="the journal of calls could not be kept",
            over="the journal of calls is kept again",
        )
        self._ledger = Trouble(
            expected=(DatabaseError, InterfaceError),
            waits="the ledger waits for the database",
            fails="the journal could not be read",
            over="the ledger is written again",
        )
        self._beat = Trouble(
            expected=(DatabaseError, InterfaceError),
            waits="this process cannot tell the database that it is alive",
            fails="this process could not tell that it is alive",
            over="this process tells again that it is alive",
        )
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
        return self._guarded(lambda: draining.drain_folder(self.journal.folder), self._ledger)

    def _run(self) -> None:
        try:
            self._go_on()
        finally:
            connections.close_all()  # kept until here: a new one each second cost as much as what goes over it

    def _go_on(self) -> None:
        self._guarded(lambda: draining.adopt(self.journal.folder.parent), self._ledger)
        while not self._is_over.wait(self.interval_seconds):
            self._sync()
            self.flush()
            self._rounds += 1
            if self._rounds % max(1, int(BEAT_SECONDS / self.interval_seconds)) == 0:
                self._guarded(lambda: draining.beat(self.journal.holder, now=timezone.now()), self._beat)
        if self.flush():
            self.journal.close()
            self._guarded(lambda: draining.adopt(self.journal.folder.parent), self._ledger)

    def _sync(self) -> None:
        try:
            self.journal.sync()
        except Exception as error:
            self._disk.meet(error, now=time.monotonic())
        else:
            self._disk.end()

    def _guarded(self, work: Callable[[], Any], trouble: Trouble) -> bool:
        try:
            database.guarded(work)
        except Exception as error:
            trouble.meet(error, now=time.monotonic())
            connections.close_all()
            return False
        trouble.end()
        return True
