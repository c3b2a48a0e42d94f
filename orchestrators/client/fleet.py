"""Many orchestrators in one process, for demonstrations and load: one event loop, one metrics sampler."""

import asyncio
import json
import logging
import ssl
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from . import rehearsal
from .frames import Frame
from .metrics import Sampler
from .orchestrator import OrchestratorClient, logger
from .rehearsal import Rehearsal

CONNECTS_PER_SECOND = 200
TTY_SECONDS, PLAIN_SECONDS = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts since the start (`ends`: how attempts ended); `connected` and `outbox` as they are now.

    `trouble` is the last thing that kept one from connecting, "" when nothing did.
    """

    size: int
    connected: int
    ever_connected: int
    configs_applied: int
    messages: int
    reconnects: int
    outbox: int
    ends: dict[str, int]
    trouble: str

    def __str__(self) -> str:
        return (
            f"connected {self.connected}/{self.size}, configs applied {self.configs_applied}, "
            f"messages {self.messages}, reconnects {self.reconnects}"
        )


class Trouble(logging.Handler):
    """Remembers the last warning of a client that said more than that it is disconnected."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line without the orchestrator's id."""
        text = record.getMessage().partition(": ")[2]
        if not text.startswith("disconnected (1006 unreachable)"):
            self.last = text


class Fleet:
    """Run `size` orchestrators named `prefix-0001`, …; connects are spread over time, goodbyes too."""

    def __init__(
        self,
        url: str,
        size: int,
        *,
        api_key: str | None,
        organization_id: str | None = None,
        prefix: str = "demo",
        heartbeat_interval: float | None = None,
        metrics_interval: float | None = None,
        rehearsed: Rehearsal | None = None,
    ) -> None:
        shared: dict[str, Any] = {
            "api_key": api_key,
            "organization_id": organization_id,
            "heartbeat_interval": heartbeat_interval,
            "metrics_interval": metrics_interval,
            "sampler": Sampler(reuse_seconds=5.0) if metrics_interval else None,
            "ssl_context": ssl.create_default_context() if url.startswith("wss:") else None,
        }
        self._running: list[asyncio.Task[None]] = []
        self._trouble = Trouble()
        self._rehearsed = rehearsed or Rehearsal()
        self.clients = [
            self._client(url, f"{prefix}-{number:04d}", name=f"{prefix.capitalize()} {number}", **shared)
            for number in range(1, size + 1)
        ]

    def _client(self, url: str, orchestrator_id: str, **more: Any) -> OrchestratorClient:
        async def take_task(task_type: str, payload: Any) -> Frame:
            return await rehearsal.perform(client, task_type, payload)

        client = OrchestratorClient(
            url,
            orchestrator_id,
            on_config=rehearsal.refusing(self._rehearsed.refuse_config, take_config),
            on_message=take_message,
            on_task=take_task if self._rehearsed.tasks else None,
            task_types=self._rehearsed.tasks,
            **more,
        )
        return client

    async def run(self, stop: asyncio.Event, *, as_json: bool = False) -> Progress:
        """Run until `stop` is set, printing the progress; then say goodbye for all and return the final counts."""
        logger.addHandler(self._trouble)
        telling = asyncio.create_task(self._tell(as_json=as_json))
        starting = asyncio.create_task(self._start())
        try:
            await stop.wait()
        finally:
            starting.cancel()
            telling.cancel()
            final = self.progress()
            await self.stop()
            logger.removeHandler(self._trouble)
        return final

    async def stop(self) -> None:
        """Say goodbye for every orchestrator, fifty at a time, and wait for the last."""
        room = asyncio.Semaphore(50)

        async def leave(client: OrchestratorClient) -> None:
            async with room:
                await client.stop(grace_seconds=1.0)

        await asyncio.gather(*(leave(client) for client in self.clients))
        await asyncio.gather(*self._running, return_exceptions=True)

    def progress(self) -> Progress:
        """Count."""
        ends: Counter[str] = Counter()
        for client in self.clients:
            ends.update(client.ends)
        return Progress(
            size=len(self.clients),
            connected=sum(client.is_connected for client in self.clients),
            ever_connected=sum(client.connections > 0 for client in self.clients),
            configs_applied=sum(client.configuration.applied for client in self.clients),
            messages=sum(client.messages.handled for client in self.clients),
            reconnects=sum(max(client.connections - 1, 0) for client in self.clients),
            outbox=sum(len(client.outbox) for client in self.clients),
            ends=dict(ends.most_common(8)),
            trouble=self._trouble.last,
        )

    async def _start(self) -> None:
        if wanted := self._rehearsed.recommendation:
            self._running.append(asyncio.create_task(rehearsal.recommend(self.clients[0], wanted)))
        for client in self.clients:
            self._running.append(asyncio.create_task(client.run()))
            await asyncio.sleep(1 / CONNECTS_PER_SECOND)

    async def _tell(self, *, as_json: bool) -> None:
        is_live = sys.stdout.isatty() and not as_json
        started = time.monotonic()
        while True:
            await asyncio.sleep(TTY_SECONDS if is_live else PLAIN_SECONDS)
            progress = self.progress()
            elapsed = time.monotonic() - started
            trouble = f" ({progress.trouble[:100]})" if progress.trouble and not progress.connected else ""
            if as_json:
                say(json.dumps({"elapsed_seconds": round(elapsed, 1), **asdict(progress)}) + "\n")
            elif is_live:
                say(f"\r\x1b[K{elapsed:6.1f} s  {progress}{trouble}")
            else:
                ends = "".join(f", {count} × {end}" for end, count in progress.ends.items())
                say(f"{elapsed:6.1f} s  {progress}{ends}{trouble}\n")


def say(text: str) -> None:
    """Show text at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


async def take_config(config: Frame) -> None:
    """Apply nothing."""


async def take_message(message_type: str, content: Any) -> Frame:
    """Say that the message was seen."""
    return {"handled": message_type}
