"""`OrchestratorClient`: keep one orchestrator in session with its controller, whatever happens (PROTOCOL §1, §3)."""

import asyncio
import logging
import random as random_module
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.uri import parse_uri

from .callbacks import ConfigCallback, ExpiringCallback, MessageCallback, TaskCallback, invoke
from .configuration import Configuration
from .frames import Frame
from .identity import VERSION, NamedLog, register_frame
from .lane import Lane
from .messages import Messages
from .metrics import Sampler, report_forever
from .outbox import Outbox
from .reconnect import ABNORMAL, Ended, Reconnect, rejected
from .session import Session
from .tasks import Tasks

MAX_RECEIVED_BYTES = 4 * 1024 * 1024
logger = logging.getLogger("moolai.client")


class OrchestratorClient:
    """Hold a session for `orchestrator_id`: `await client.run()`, or `async with client:` beside your own work.

    `on_config(config)`, `on_message(type, content)` and `on_task(task_type, payload)` are async functions, or plain
    ones, which run in a thread. What a message or task callback returns is the result, what it raises is the error.
    `task_types` are what `on_task` can do; without them it gets every type that no worker of the controller does.
    A message may come twice after a crash of this process: what was handled is remembered in memory only.
    `config_hash` and `config_version` are what an earlier process had applied. `heartbeat_interval` (seconds)
    overrides the controller's. Without `keep_trying`, `run` ends at a refused credential, and `refusal` says how.
    `sleep`, `random` and `clock` serve all waits and deadlines.
    Raises ValueError for an id the protocol does not allow, websockets' InvalidURI for a bad `url`.
    """

    def __init__(  # noqa: PLR0913 - the public constructor: a keyword per setting
        self,
        url: str,
        orchestrator_id: str,
        *,
        api_key: str | None = None,
        organization_id: str | None = None,
        name: str | None = None,
        version: str = VERSION,
        capabilities: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_config: ConfigCallback | None = None,
        on_message: MessageCallback | None = None,
        on_task: TaskCallback | None = None,
        task_types: Sequence[str] | None = None,
        on_credential_expiring: ExpiringCallback | None = None,
        config_hash: str | None = None,
        config_version: int | None = None,
        heartbeat_interval: float | None = None,
        metrics_interval: float | None = None,
        sampler: Sampler | None = None,
        resend_seconds: float = 15.0,
        outbox_limit: int = 1000,
        ssl_context: ssl.SSLContext | None = None,
        keep_trying: bool = True,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ssl = ssl_context or (ssl.create_default_context() if parse_uri(url).secure else None)
        self.url, self.orchestrator_id = url, orchestrator_id
        self._api_key, self._heartbeat_interval = api_key, heartbeat_interval
        self._metrics_interval, self._sampler = metrics_interval, sampler
        self._sleep, self._clock, self._reconnect = sleep, clock, Reconnect(random=random)
        if capabilities is None:
            able = () if on_task is None else ("tasks",) if task_types is None else task_types
            capabilities = ("config", "messages", *able)
        self._register = register_frame(
            orchestrator_id,
            organization_id=organization_id,
            name=name,
            version=version,
            capabilities=capabilities,
            metadata=metadata,
        )
        self._log = log = NamedLog(logger, {"id": orchestrator_id})
        self._lane = lane = Lane(log=log)
        self.outbox = Outbox(clock=clock, limit=outbox_limit, resend_seconds=resend_seconds)
        self.messages = Messages(handler=on_message, lane=lane, send=self._send, log=log)
        self.tasks = Tasks(handler=on_task, send=self._send, log=log)
        self.configuration = Configuration(
            handler=on_config, lane=lane, send=self._send, log=log, config_hash=config_hash, version=config_version
        )
        self._on_credential_expiring = on_credential_expiring
        self._session: Session | None = None
        self._runner: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[None]
        self._background: set[asyncio.Task[Any]] = set()
        self._connected, self._credential_changed = asyncio.Event(), asyncio.Event()
        self._is_stopping, self._keep_trying = False, keep_trying
        self.refusal: Ended | None = None
        self.connections, self.ends = 0, Counter[str]()

    @property
    def is_connected(self) -> bool:
        """Tell whether a session stands."""
        return self._session is not None

    @property
    def session_id(self) -> str | None:
        """Return the id of the session that stands."""
        return self._session.ack.get("session_id") if self._session else None

    async def wait_connected(self) -> None:
        """Return once a session stands."""
        await self._connected.wait()

    async def recommend(self, content: Frame, *, message_id: str | None = None) -> Frame:
        """Send a recommendation and return its `ack` once it is durable; raises what `Outbox.deliver` raises."""
        return await self._deliver({"type": "recommendation", "content": content}, message_id)

    async def send(self, message_type: str, content: Frame, *, message_id: str | None = None) -> Frame:
        """Send a message of any type and return its `ack` once it is durable; raises what `Outbox.deliver` raises."""
        return await self._deliver({"type": "message", "message_type": message_type, "content": content}, message_id)

    async def report_metrics(self, metrics: Frame | list[Frame], *, message_id: str | None = None) -> Frame:
        """Send one row of metrics, or several with a `timestamp` each, and return the `ack` once they are durable."""
        return await self._deliver({"type": "monitoring", "metrics": metrics}, message_id)

    async def report_progress(self, percent: float) -> None:
        """Report the progress (0 to 100) of the task whose `on_task` calls this."""
        await self.tasks.progress(percent)

    def set_credential(self, api_key: str) -> None:
        """Use another key from the next connection on; end a wait that a refused credential caused."""
        self._api_key = api_key
        self._reconnect.forgive()
        self._credential_changed.set()

    async def run(self) -> None:
        """Connect, and connect again by the rules of PROTOCOL §3, until `stop`."""
        self._runner = asyncio.current_task()
        if self._metrics_interval:
            self._spawn(report_forever(self, sampler=self._sampler or Sampler(), interval=self._metrics_interval))
        try:
            while not self._is_stopping:
                self._credential_changed.clear()
                ended = await self._attempt()
                self.ends[str(ended)] += 1
                if ended.is_refused and not (self._keep_trying or self._credential_changed.is_set()):
                    self.refusal, self._is_stopping = ended, True
                elif not self._is_stopping:
                    await self._pause(ended)
        except asyncio.CancelledError:
            if not self._is_stopping or self._runner is None:
                raise
            self._runner.uncancel()
        finally:
            self._runner, self._is_stopping = None, True
            await self._close()

    async def stop(self, *, grace_seconds: float = 5.0) -> None:
        """Finish what is being handled (at most `grace_seconds`), say goodbye, close, and end `run`."""
        self._is_stopping = True
        if self._session is not None:
            await self._lane.settle(grace_seconds)
        if self._session is not None:
            await self._session.leave()
        elif self._runner is not None:
            self._runner.cancel()

    async def __aenter__(self) -> Self:
        """Start `run` in the background."""
        self._entered = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and wait for the end."""
        await self.stop()
        await self._entered

    async def _attempt(self) -> Ended:
        """Hold one connection from its start to its end, and say how it ended."""
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else None
        try:
            async with connect(
                self.url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,
                proxy=None,
                ssl=self._ssl,
                max_size=MAX_RECEIVED_BYTES,
                close_timeout=2,
            ) as opened:
                session = Session(
                    opened,
                    receive=self._receive,
                    log=self._log,
                    clock=self._clock,
                    heartbeat_interval=self._heartbeat_interval,
                )
                if await session.open(self._register_frame()):
                    await self._serve(session)
            return session.ended()
        except InvalidStatus as refusal:
            return rejected(refusal.response.status_code, refusal.response.headers.get("Retry-After"))
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            self._log.warning("cannot connect to %s: %s", self.url, error)
        except Exception:
            self._log.exception("the session failed")
        return Ended(ABNORMAL, "unreachable")

    async def _serve(self, session: Session) -> None:
        self._reconnect.adopt(session.ack.get("reconnect"))
        self.configuration.meet(session.ack)
        self._session = session
        self.connections += 1
        self._connected.set()
        self._log.info("connected, session %s", session.ack.get("session_id"))
        pump = asyncio.create_task(self.outbox.pump(session.send_data))
        try:
            await self.tasks.resume()
            await session.serve()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._session = None
            self._connected.clear()

    async def _receive(self, frame: Frame) -> None:
        match frame["type"]:
            case "provisioning" | "config_update":
                self.configuration.receive(frame)
            case "ack":
                self.outbox.acknowledged(frame)
                self.tasks.acknowledged(frame)
            case "error":
                self.outbox.refused(frame)
                self.tasks.refused(frame)
            case "task":
                await self.tasks.receive(frame)
            case "task_cancel":
                self.tasks.cancel(frame)
            case "credential_expiring":
                self._spawn(self._renew_credential(str(frame.get("expires_at"))))
            case "handshake_ack":
                self._log.debug("a second handshake_ack was ignored")
            case _ if isinstance(frame.get("message_id"), str):
                await self.messages.receive(frame)
            case kind:
                self._log.debug("a %s frame was ignored", kind)

    async def _renew_credential(self, expires_at: str) -> None:
        self._log.warning("the credential expires at %s", expires_at)
        if self._on_credential_expiring is not None:
            api_key = await invoke(self._on_credential_expiring, expires_at)
            if isinstance(api_key, str):
                self.set_credential(api_key)

    async def _pause(self, ended: Ended) -> None:
        """Wait as long as `ended` asks; not at all for a credential that has changed since."""
        if ended.needs_credential and self._credential_changed.is_set():
            return
        seconds = self._reconnect.delay(ended)
        self._log.warning("disconnected (%s), next attempt in %.1f s", ended, seconds)
        if not ended.needs_credential:
            await self._sleep(seconds)
            return
        waits = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._credential_changed.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _send(self, frame: Frame) -> bool:
        return self._session is not None and await self._session.send(frame)

    async def _deliver(self, frame: Frame, message_id: str | None) -> Frame:
        return await self.outbox.deliver(frame if message_id is None else {**frame, "message_id": message_id})

    def _register_frame(self) -> Frame:
        frame = {**self._register, "config_hash": self.configuration.hash}
        if self.tasks.is_able:
            frame["running_tasks"] = self.tasks.unsettled
        return {key: value for key, value in frame.items() if value is not None}

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _close(self) -> None:
        self._lane.close()
        self.outbox.close()
        await self.tasks.close()
        for task in list(self._background):
            task.cancel()
        self._log.info("stopped")
