"""A fleet of real clients for fault tests: the reference client many times in one event loop, in a thread."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from orchestrators.client import OrchestratorClient

TOKEN = "a-token-for-fault-tests-only"


def organization_key(installation: Installation, organization_id: str = "org-001") -> str:
    """Make an organization and return the secret of a key its orchestrators may share."""
    installation.manage("create_organization", organization_id)
    done = installation.manage("create_api_key", "--organization", organization_id, "--scope", "orchestrator")
    return done.stdout.strip().splitlines()[-1]


def call(url: str, *, method: str = "GET", body: Any = None) -> Any:
    """Make a call of the HTTP API as superadmin and return its `data`."""
    request = urllib.request.Request(url, method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["data"]


def items(url: str) -> list[dict[str, Any]]:
    """Return the first 1,000 items of a list."""
    found: list[dict[str, Any]] = call(f"{url}?page_size=1000")["items"]
    return found


class Fleet:
    """`count` clients of one organization, alternating between `urls`; stopped with a goodbye at the end."""

    def __init__(self, urls: list[str], *, key: str, count: int, heartbeat_interval: float | None = None) -> None:
        """Describe the fleet; it starts when the `with` block is entered."""
        self.clients = [
            OrchestratorClient(
                urls[number % len(urls)],
                f"fleet-{number:03}",
                api_key=key,
                heartbeat_interval=heartbeat_interval,
                capabilities=("config", "messages"),
            )
            for number in range(count)
        ]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: list[Any] = []

    def __enter__(self) -> Self:
        """Start every client."""
        self._thread.start()
        self._tasks = [asyncio.run_coroutine_threadsafe(client.run(), self._loop) for client in self.clients]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every client."""

        async def stop() -> None:
            await asyncio.gather(*(client.stop() for client in self.clients), return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(timeout=30)
        for task in self._tasks:
            task.result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def count(self, condition: Callable[[OrchestratorClient], bool]) -> int:
        """Return for how many clients `condition` holds."""
        return sum(condition(client) for client in self.clients)

    def wait_connected(self, *, timeout_seconds: float) -> bool:
        """Wait until all hold a session; False when some do not in time."""
        return wait_until(
            lambda: self.count(lambda client: client.is_connected) == len(self.clients),
            timeout_seconds=timeout_seconds,
        )

    @property
    def connections(self) -> int:
        """Return how many sessions all clients had, together."""
        return sum(client.connections for client in self.clients)
