"""Refused calls: counted in memory by the minute, and written by a thread that begins with the first of them.

Bounded: a process tells MAX_NAMED combinations of a minute apart, the rest stand under no model, and past twice as
many under no key either. While the database is away up to MAX_WAITING rows wait; what does not fit is dropped. What a
killed process had not written yet is gone, and a commit that is never heard of may be counted twice.
"""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from llm_gateway.models import Refusal
from llm_gateway.models.refusal import MODEL_LENGTH
from llm_gateway.money.troubles import Trouble
from orchestrators import database

INTERVAL_SECONDS: Final = 2.0
STOP_SECONDS: Final = 5.0
MINUTE: Final = 60
MAX_NAMED: Final = 1_000
MAX_WAITING: Final = 10_000
BATCH: Final = 500
CODE_LENGTH: Final = 60


class Key(NamedTuple):
    """What refused calls are counted under; `minute` is its beginning, in seconds since 1970."""

    organization_id: str
    minute: int
    code: str
    key_id: str
    model: str


class Tally(NamedTuple):
    """How many, and when the last of them was."""

    number: int
    last_at: float


class Refused:
    """The refused calls of one process; `add` may be called from any thread."""

    def __init__(self, *, max_named: int = MAX_NAMED, max_waiting: int = MAX_WAITING) -> None:
        self.max_named, self.max_waiting = max_named, max_waiting
        self.dropped = 0
        self._waiting: dict[Key, Tally] = {}
        self._minute = 0
        self._known: set[Key] = set()  # of this minute
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = Trouble(
            expected=(DatabaseError, InterfaceError),
            waits="refused calls wait for the database",
            fails="refused calls could not be written",
            over="refused calls are written again",
        )

    def add(self, organization_id: str, *, code: str, key_id: str, model: str, now: float) -> None:
        """Count a refused call; `now` is in seconds since 1970, `model` "" or a name without blanks."""
        minute = int(now) // MINUTE * MINUTE
        key = Key(organization_id, minute, code[:CODE_LENGTH], key_id, model[:MODEL_LENGTH])
        with self._lock:
            self._count(self._placed(key), Tally(1, now))
            if self._thread is None and not self._is_over.is_set():
                self._thread = threading.Thread(target=self._run, name="gateway-refused", daemon=True)
                self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Write what there is, as far as the database takes it."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def flush(self) -> bool:
        """Write what waits, batch by batch; return whether the database took it."""
        while batch := self.taken():
            try:
                database.guarded(partial(write, batch))
            except Exception as error:
                self._trouble.meet(error, now=time.monotonic())
                self._give_back(batch)
                return False
            finally:
                connections.close_all()
        self._trouble.end()
        return True

    def _placed(self, key: Key) -> Key:
        """Return under what a call is counted: where too much is told apart already, under less."""
        if key.minute != self._minute:
            self._minute, self._known = key.minute, set()
        for most, found in ((self.max_named, key), (2 * self.max_named, key._replace(model=""))):
            if found in self._known or len(self._known) < most:
                self._known.add(found)
                return found
        return key._replace(model="", key_id="")

    def _count(self, key: Key, tally: Tally) -> None:
        known = self._waiting.get(key)
        if known is not None:
            self._waiting[key] = Tally(known.number + tally.number, max(known.last_at, tally.last_at))
        elif len(self._waiting) < self.max_waiting:
            self._waiting[key] = tally
        else:
            self.dropped += tally.number

    def taken(self) -> list[tuple[Key, Tally]]:
        """Return what is to be written next, in the order in which every process writes."""
        with self._lock:
            batch = sorted(self._waiting.items())[:BATCH]
            for key, _ in batch:
                del self._waiting[key]
            return batch

    def _give_back(self, batch: Sequence[tuple[Key, Tally]]) -> None:
        with self._lock:
            for key, tally in batch:
                self._count(key, tally)

    def _run(self) -> None:
        while not self._is_over.wait(INTERVAL_SECONDS):
            self.flush()
        self.flush()


@transaction.atomic
def write(batch: Sequence[tuple[Key, Tally]]) -> None:
    """Add refused calls to their rows, which are made where they are missing."""
    rows = [_row(key, tally) for key, tally in batch]
    Refusal.objects.bulk_create(rows, ignore_conflicts=True)
    for row, (_, tally) in zip(rows, batch, strict=True):
        same = Refusal.objects.filter(
            organization_id=row.organization_id,
            minute_at=row.minute_at,
            code=row.code,
            key_id=row.key_id,
            requested_model=row.requested_model,
        )
        same.update(count=F("count") + tally.number, last_at=Greatest("last_at", row.last_at))


def _row(key: Key, tally: Tally) -> Refusal:
    """Return a row that counts nothing yet."""
    return Refusal(
        organization_id=key.organization_id,
        minute_at=datetime.fromtimestamp(key.minute, UTC),
        code=key.code,
        key_id=key.key_id,
        requested_model=key.model,
        last_at=datetime.fromtimestamp(tally.last_at, UTC),
    )
