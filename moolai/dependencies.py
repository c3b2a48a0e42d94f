"""What the controller needs of others, asked now: the database, Redis, and Celery's worker and beat.

Each answer is a word; nothing here raises, and nothing waits longer than a second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from orgs import leases

STALE_SECONDS: Final = 30.0  # beat wakes the sweep every 5 s
REDIS_TIMEOUT_SECONDS: Final = 0.5  # to connect, and again to answer


@dataclass(frozen=True, slots=True)
class Dependency:
    """How one of them is: a word, whether it works, and how long it took to say so."""

    word: str
    is_well: bool
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """A process's last sign of life: who gave it, and how long ago; None when there never was one."""

    word: str
    age_seconds: float | None = None
    process: str = ""


@dataclass(frozen=True, slots=True)
class Celery:
    """The background work: `worker` ran the sweep, `beat` published a task."""

    word: str
    worker: Sign
    beat: Sign


UNKNOWN: Final = Celery("unknown", Sign("unknown"), Sign("unknown"))  # the database does not answer


def database() -> Dependency:
    """Ask the database for nothing."""
    return _asked(_ask_database)


def redis_server() -> Dependency:
    """Ask Redis for a pong; without one it is embedded, and that is well."""
    return _asked(_ask_redis) if settings.REDIS_URL else Dependency("embedded", True)


def celery(*, now: datetime) -> Celery:
    """Read the last signs of life: running, stale, or unknown (the database does not answer).

    Tasks reach the worker through beat, so a worker is only called stale while beat is not.
    """
    try:
        signs = leases.last_runs(["sweep", leases.BEAT])
    except (DatabaseError, InterfaceError):
        return UNKNOWN
    worker, beat = (_sign(signs.get(name), now=now) for name in ("sweep", leases.BEAT))
    word = worker.word
    if worker.word == "stale" and beat.word == "stale":
        worker = Sign("unknown", worker.age_seconds, worker.process)
    return Celery(word, worker, beat)


@dataclass(frozen=True, slots=True)
class Health:
    """How the controller is, and what it needs."""

    database: Dependency
    redis: Dependency
    celery: Celery

    @property
    def word(self) -> str:
        """Return unhealthy without a database, degraded without Redis or Celery, else healthy."""
        if not self.database.is_well:
            return "unhealthy"
        return "healthy" if self.redis.is_well and self.celery.word == "running" else "degraded"

    @property
    def words(self) -> dict[str, str]:
        """Return each dependency in a word, for everybody."""
        return {"database": self.database.word, "redis": self.redis.word, "celery": self.celery.word}


def health(*, now: datetime) -> Health:
    """Ask all of them."""
    asked = database()
    return Health(asked, redis_server(), celery(now=now) if asked.is_well else UNKNOWN)


def words() -> dict[str, Any]:
    """Return what everybody may know of this moment: `status`, and `dependencies` by name."""
    found = health(now=timezone.now())
    return {"status": found.word, "dependencies": found.words}


def _sign(last: tuple[str, datetime] | None, *, now: datetime) -> Sign:
    if last is None:
        return Sign("stale")
    age = max(0.0, (now - last[1]).total_seconds())
    return Sign("running" if age <= STALE_SECONDS else "stale", round(age, 1), last[0])


def _asked(ask: Callable[[], None]) -> Dependency:
    started = time.monotonic()
    try:
        ask()
    except (DatabaseError, InterfaceError, redis.RedisError, OSError):
        return Dependency("disconnected", False)
    return Dependency("connected", True, round((time.monotonic() - started) * 1000, 2))


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_redis() -> None:
    limits = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    with redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **limits) as client:
        client.ping()
