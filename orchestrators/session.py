"""An orchestrator session: one registered socket. Heartbeats are answered from memory, all else goes to a handler."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from orchestrators import protocol
from orchestrators.dispatch import Workload
from orchestrators.limiter import Limiter
from orchestrators.messages.outbox import Parcel
from orchestrators.nodes import Held
from orchestrators.protocol import FrameError
from orchestrators.registration import Grant
from orgs import counters

if TYPE_CHECKING:
    from orchestrators.hub import FrameHandler, Hub

logger = logging.getLogger(__name__)
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LOG_EVERY_SECONDS: Final = 10.0
MAX_UNSETTLED: Final = 256
MAX_CONFIG_PAUSE_SECONDS: Final = 300
MAX_PLAIN_BYTES: Final = 1024  # a heartbeat above this takes the long way
OURS: Final = frozenset({"overloaded", "database_unavailable", "internal_error"})  # errors that are not the client's
BLAMELESS: Final = frozenset({"lease_lost"})  # nor one that no client can foresee
ANSWERS: Final = frozenset({"ack", "config_status", "task_result"})  # free of the rate limit when outstanding


def new_id() -> str:
    """Return a ULID: 48 bits of milliseconds and 80 random ones in Crockford's base 32, sortable by time."""
    value, text = (int(time.time() * 1000) << 80) | random.SystemRandom().getrandbits(80), ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        text = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit] + text
    return text


class Session:
    """The state of one open session; `run` reads its socket until it ends."""

    __slots__ = (
        "_early", "_push", "config_answers", "config_attempts", "config_due", "config_version", "connected_at",
        "credential_id", "epoch", "expires_at", "farewell", "has_been_poked", "has_been_warned", "health", "hub",
        "in_flight", "instance_pk", "is_acknowledging", "is_closing", "is_dark", "is_organization_independent",
        "is_own_independent", "last_log", "limiter", "orchestrator_id", "organization_id", "remote_address", "seen",
        "seen_at", "send", "sending", "sending_since", "session_id", "tasks", "unsettled", "work",
    )  # fmt: skip

    def __init__(self, hub: "Hub", grant: Grant, *, send: Send, limiter: Limiter, is_legacy: bool, drop: Any) -> None:
        row = grant.instance
        self.work = Workload(row.capabilities, running=grant.running_tasks)
        self.hub, self.send, self.limiter, self._push = hub, send, limiter, drop
        self.instance_pk, self.orchestrator_id, self.organization_id = row.pk, row.orchestrator_id, row.organization_id
        self.session_id, self.epoch = row.session_id, row.epoch
        self.connected_at, self.remote_address = row.connected_at, row.remote_address
        self.credential_id, self.expires_at = row.credential_id, grant.expires_at
        self.is_own_independent = grant.is_own_independent
        self.is_organization_independent = grant.is_organization_independent
        self.is_acknowledging = not is_legacy
        self.config_version = row.config_version
        self.config_answers = 0  # how many config_status frames are still due: two for each configuration sent
        self.config_attempts, self.config_due = 0, float("inf")  # `config_due`: when it is sent again, if unanswered
        if grant.provisioning is not None:
            self.expect_config_status()
        self.seen = time.monotonic()
        self.seen_at: float = time.time()
        self.last_log = 0.0
        self.health: dict[str, Any] | None = None
        self.in_flight: dict[str, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.sending, self.sending_since = 0, 0.0
        self.is_closing = self.is_dark = self.has_been_warned = self.has_been_poked = False
        self._early: list[Any] | None = []
        self.farewell = "connection lost"
        self.unsettled = 0

    @property
    def is_independent(self) -> bool:
        """Whether its own flag or its organization's is set: then nothing of it moves."""
        return self.is_own_independent or self.is_organization_independent

    @property
    def last_seen(self) -> datetime:
        """When it was last heard of, by the server's clock."""
        return datetime.fromtimestamp(self.seen_at, UTC)

    def held(self) -> Held:
        """Return what is needed to claim the session's row again."""
        opened_at = self.connected_at or self.last_seen
        return Held(self.instance_pk, self.epoch, self.session_id, opened_at, self.remote_address)

    def expect_config_status(self, *, is_repeat: bool = False) -> None:
        """Note that a configuration was sent: `applying` and its outcome may come back free of the rate limit.

        Without an answer it is due again after MESSAGE_ACK_TIMEOUT_SEC, and after twice as long each time.
        """
        self.config_answers = max(0, self.config_answers) + 2
        self.config_attempts = self.config_attempts + 1 if is_repeat else 1
        pause = settings.MESSAGE_ACK_TIMEOUT_SEC * 2 ** min(self.config_attempts - 1, 10)
        self.config_due = time.monotonic() + min(pause, MAX_CONFIG_PAUSE_SECONDS)

    async def greet(self, *frames: str) -> None:
        """Write the first frames; only then what others have to say to this session follows."""
        for text in frames:
            await self.write(text)
        early, self._early = self._early or [], None
        for work in early:
            self.spawn(work)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def run(self, receive: Receive) -> None:
        """Read frames until the socket ends or is closed for cause."""
        while True:
            event = await receive()
            if event["type"] != "websocket.receive":
                return
            if self.is_closing:
                continue
            text = event.get("text")
            now = time.monotonic()
            frame: dict[str, Any] = {}
            try:
                if text is None:
                    raise FrameError("binary_not_supported", "Send text frames.", close=protocol.UNSUPPORTED)
                frame = protocol.parse(text)
                self._charge(frame, now)
                await self._handle(frame, now)
            except FrameError as problem:
                reference = frame.get("message_id")
                await self.refuse(problem, now=now, reference=reference if type(reference) is str else None)

    def answer(self, data: bytes) -> str | None:
        """Handle a plain heartbeat right where it arrives; return the reply ("" for none), None to leave it to `run`.

        The same checks without a queue and a task in between, which cost more than all of them. Whatever is unusual
        has no effect here and takes the long way.
        """
        if self.is_closing or len(data) > MAX_PLAIN_BYTES or b'"i_am_alive"' not in data:
            return None
        now = time.monotonic()
        try:
            frame = protocol.parse(data.decode())
            if frame.get("type") != "i_am_alive":
                return None
            self._check_heartbeat(frame)
        except (FrameError, UnicodeDecodeError):
            return None
        return self._note_heartbeat(frame, now) if self.limiter.take(now) else None

    async def _handle(self, frame: dict[str, Any], now: float) -> None:
        kind = frame.get("type")
        if kind == "i_am_alive":
            self._check_heartbeat(frame)
            if reply := self._note_heartbeat(frame, now):
                await self.write(reply)
            return
        kind = protocol.frame_type(frame)
        handler = self.hub.handlers.get(kind)
        if handler is not None:
            self.touch(now)
            await self._hand_over(handler, frame)
        elif kind == "goodbye":
            self.farewell = "goodbye"
            await self.close(protocol.NORMAL)
        elif kind in ("register", "handshake"):
            detail = "This socket is registered; open another one."
            raise FrameError("already_registered", detail, close=protocol.POLICY)
        else:
            raise protocol.unknown_type(kind)

    def _charge(self, frame: dict[str, Any], now: float) -> None:
        """Spend one frame of the budget; an answer to something outstanding is free (PROTOCOL §3)."""
        kind = frame.get("type")
        is_free = type(kind) is str and kind in ANSWERS and self._is_answer(kind, frame)
        if not is_free and not self.limiter.take(now):
            counters.add("rate_limit.hit", f"{self.organization_id}/{self.orchestrator_id}")
            raise FrameError("rate_limited", "Send fewer frames per second.", retry_after_ms=1000)

    def _is_answer(self, kind: str, frame: dict[str, Any]) -> bool:
        if kind == "config_status":
            self.config_answers -= 1
            return self.config_answers >= 0
        reference = frame.get("message_id")
        is_message = kind == "ack" and type(reference) is str and reference in self.in_flight
        return is_message or self.work.owes(frame)

    def _check_heartbeat(self, frame: dict[str, Any]) -> None:
        named = frame.get("orchestrator_id")
        if named is not None and named != self.orchestrator_id:
            raise FrameError("orchestrator_mismatch", "This session belongs to another orchestrator_id.")
        stamp = frame.get("timestamp")
        if stamp is not None:
            protocol.timestamp(stamp, now=datetime.now(UTC))
        protocol.object_field(frame, "health")
        sequence = frame.get("seq")
        if sequence is not None and type(sequence) is not int:
            raise FrameError("invalid_field", "seq must be an integer.", path="seq")

    def _note_heartbeat(self, frame: dict[str, Any], now: float) -> str:
        """Take in a heartbeat that was checked; return the reply, "" when none is due."""
        health = frame.get("health")
        if health is not None:
            self._note_health(health)
        if now - self.last_log >= LOG_EVERY_SECONDS:
            self.last_log = now
            self._log_heartbeat()
        self.touch(now)
        self.hub.heartbeats += 1
        sequence = frame.get("seq")
        if sequence is None:
            return ""
        return f'{{"type":"heartbeat_ack","seq":{sequence},"server_time":"{self.hub.clock_text(now)}"}}'

    def _note_health(self, health: dict[str, Any]) -> None:
        if health != self.health and not self.is_independent:
            self.health = health
            self.hub.health_reports[self.instance_pk] = health

    def _log_heartbeat(self) -> None:
        if self.is_independent:
            logger.info("Ignoring heartbeat from independent orchestrator %s", self.orchestrator_id)
        else:
            logger.info("Processing heartbeat from orchestrator %s", self.orchestrator_id)

    def touch(self, now: float) -> None:
        """Note that the session is alive, unless it is independent; the hub's flusher writes it."""
        if not (self.is_own_independent or self.is_organization_independent):
            self.seen = now
            self.seen_at = time.time()
            self.hub.dirty[self.instance_pk] = self
            self.has_been_poked = False

    async def _hand_over(self, handler: "FrameHandler", frame: dict[str, Any]) -> None:
        """Validate the frame, queue it for its handler's next batch and answer when that is committed."""
        if self.unsettled >= MAX_UNSETTLED:
            detail = "Too many frames of yours wait to be stored; slow down and resend this one."
            raise FrameError("rate_limited", detail, retry_after_ms=1000)
        item = handler.check(self, frame)
        self.unsettled += 1
        answer = self.hub.submit(handler, item)
        self.spawn(self._settle(answer, handler, item, frame))

    async def _settle(
        self, answer: "asyncio.Future[Any]", handler: "FrameHandler", item: Any, frame: dict[str, Any]
    ) -> None:
        reference = frame.get("message_id")
        try:
            # What nobody sends again counts once it arrived, also when its socket ends before the batch runs.
            text = await (asyncio.shield(answer) if frame["type"] in ANSWERS else answer)
        except FrameError as problem:
            if handler.lost is not None and problem.code not in OURS:
                handler.lost(self, item)
            if frame["type"] == "task_result" and problem.code in OURS:
                self.work.unsettled(str(frame.get("task_id")))
            is_free = problem.code in OURS or problem.code in BLAMELESS
            named = reference if type(reference) is str else None
            await self.refuse(problem, now=time.monotonic(), reference=named, is_free=is_free)
        else:
            if handler.stored is not None:
                handler.stored(self, item)
            if text is not None:
                await self.write(text)
        finally:
            self.unsettled -= 1

    # --- writing ----------------------------------------------------------------------------------------------------

    async def write(self, text: str) -> bool:
        """Send one frame; False when the socket is gone. The hub watches how long a write has been waiting."""
        return await self._transmit({"type": "websocket.send", "text": text})

    async def _transmit(self, event: dict[str, Any]) -> bool:
        if not self.sending:
            self.sending_since = time.monotonic()
        self.sending += 1
        try:
            await self.send(event)
        except Exception:  # the server's own word for "the client is gone" differs by server
            logger.debug("%s to %s failed: the socket is gone", event["type"], self.orchestrator_id)
            return False
        finally:
            self.sending -= 1
            self.sending_since = time.monotonic()  # what still waits has waited since something went through
        return True

    async def refuse(
        self, problem: FrameError, *, now: float, reference: str | None = None, is_free: bool = False
    ) -> None:
        """Send an error frame; close when it is fatal or the strikes are used up."""
        close = problem.close
        if close is None and not is_free and self.limiter.strike(now):
            close = protocol.POLICY
        await self.write(protocol.error(problem, ref=reference and reference[:100], fatal=close is not None))
        if close is not None:
            self.farewell = problem.code
            await self.close(close)

    async def close(self, code: int, problem: FrameError | None = None) -> None:
        """Close the socket, telling `problem` first; the session's reader then ends by itself."""
        if self.is_closing:
            return
        self.is_closing = True
        if problem is not None:
            self.farewell = problem.code
            await self.write(protocol.error(problem, fatal=True))
        await self._transmit({"type": "websocket.close", "code": code})

    def drop(self, code: int, problem: FrameError) -> None:
        """Close a socket whose client does not read: the frames are left in its buffer, and the rest is cut."""
        self.farewell = problem.code
        if self._push is not None:
            self.is_closing = True
            self._push(protocol.error(problem, fatal=True), code)
        else:
            self.spawn(self.close(code))

    def spawn(self, work: Any) -> None:
        """Run `work` beside the reader, after the greeting and until the session ends."""
        if self._early is not None:
            self._early.append(work)
            return
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def deliver(self, parcels: list[Parcel]) -> list[Parcel]:
        """Write messages in their order; return those that were written before the socket was over."""
        written = []
        for parcel in parcels:
            if self.is_closing or not await self.write(parcel.text):
                break
            written.append(parcel)
        return written if not self.is_closing else []
