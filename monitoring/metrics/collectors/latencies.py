"""How long the controller waits: for its database, Redis, its own API, and the processor."""

import http.client
import time
from collections.abc import Callable
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitoring.metrics.collectors.base import Collector, Values, register

TIMEOUT_SECONDS: Final = 1.0
SLEEP_SECONDS: Final = 0.005


def _timed(work: Callable[[], Any]) -> float:
    """Return how many milliseconds the work took."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


@register
class Database(Collector):
    """A round trip to the database; the connection is open before."""

    columns = ("db_latency_ms",)

    def read(self) -> Values:
        """Ask it for nothing, twice."""

        def ask() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

        ask()
        return {"db_latency_ms": _timed(ask)}


@register
class Redis(Collector):
    """A round trip to Redis; null where there is none."""

    columns = ("redis_latency_ms",)

    def read(self) -> Values:
        """Ask it for a pong, twice."""
        if not settings.REDIS_URL:
            return {}
        limits = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        with redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **limits) as client:
            client.ping()
            return {"redis_latency_ms": _timed(client.ping)}


@register
class Api(Collector):
    """A request to `/healthz` of the web process on this host; null where none answers, or it speaks TLS only."""

    columns = ("api_latency_ms",)

    def read(self) -> Values:
        """Ask over loopback, by the name the controller is reached by."""
        if settings.TLS_ENABLED:
            return {}
        try:
            return {"api_latency_ms": _timed(self._ask)}
        except (OSError, http.client.HTTPException):
            return {}

    @staticmethod
    def _ask() -> None:
        client = http.client.HTTPConnection(_address(), settings.PORT, timeout=TIMEOUT_SECONDS)
        try:
            client.request("GET", "/healthz", headers={"Host": _name()})
            answer = client.getresponse()
            answer.read()
        finally:
            client.close()
        if answer.status != 200:
            raise http.client.HTTPException(f"/healthz answers {answer.status}")


def _address() -> str:
    return "127.0.0.1" if settings.HOST in ("", "0.0.0.0", "::", "localhost") else settings.HOST  # noqa: S104


def _name() -> str:
    name: str = next((host for host in settings.ALLOWED_HOSTS if host != "*"), "localhost")
    return name.lstrip(".")


@register
class Waking(Collector):
    """How late this process wakes up from a short sleep: how long it waits for a processor."""

    columns = ("system_latency_ms",)

    def read(self) -> Values:
        """Sleep for 5 ms."""
        return {"system_latency_ms": max(0.0, _timed(lambda: time.sleep(SLEEP_SECONDS)) - SLEEP_SECONDS * 1000)}
