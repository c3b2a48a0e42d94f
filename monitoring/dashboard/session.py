"""A dashboard session: a socket that watches (PROTOCOL §2)."""

import asyncio
import hmac
import re
import time
from collections import deque
from functools import partial
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from monitoring.dashboard import feed, topics
from monitoring.dashboard.topics import Frame, Scope
from orchestrators import protocol
from orchestrators.protocol import FrameError
from orgs import keys
from orgs.models import Organization, User

MAX_TOPICS: Final = 128
MAX_WAITING: Final = 2000
RECHECK_SECONDS: Final = 4.0
_TOPIC: Final = re.compile(r"[a-z_]{1,64}")


async def serve(opening: Any, frame: Frame) -> None:
    """Serve a socket whose first frame is `subscribe`, until it ends."""
    watcher = Watcher(opening)
    try:
        await watcher.run(frame)
    finally:
        feed.current().leave(watcher)


class Watcher:
    """One dashboard: its credential, its topics, and a bounded queue of frames to send."""

    def __init__(self, opening: Any) -> None:
        self.opening = opening
        self.topics: set[str] = set()
        self.scope = Scope(frozenset())
        self.token = ""
        self._queue: deque[Frame] = deque()
        self._ready = asyncio.Event()
        self._is_lagging = False

    async def run(self, frame: Frame) -> None:
        """Answer the first subscribe, then read and write side by side."""
        token = frame.get("token")
        self.token = self.opening.bearer or (token if type(token) is str else "")
        try:
            reach = await self._reach()
            if reach is None:
                detail = "Sign in to the console, or send a bearer token."
                raise FrameError("unauthenticated", detail, close=protocol.UNAUTHENTICATED)
        except (DatabaseError, InterfaceError):
            detail = "The database does not answer; reconnect."
            await self._refuse(FrameError("database_unavailable", detail, close=protocol.OVERLOAD, retry_after_ms=5000))
            return
        except FrameError as problem:
            await self._refuse(problem)
            return
        try:
            await self._subscribe(frame)
        except FrameError as problem:
            await self._refuse(problem)
            if problem.close is not None:
                return
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write())
            guard = tasks.create_task(self._guard())
            await self._read()
            writer.cancel()
            guard.cancel()

    async def _read(self) -> None:
        while True:
            event = await self.opening.receive()
            if event["type"] != "websocket.receive":
                return
            try:
                if event.get("text") is None:
                    raise FrameError("binary_not_supported", "Send text frames.", close=protocol.UNSUPPORTED)
                if not self.opening.limiter.take(time.monotonic()):
                    raise FrameError("rate_limited", "Send fewer frames per second.", retry_after_ms=1000)
                await self._handle(protocol.parse(event["text"]))
            except (DatabaseError, InterfaceError):
                detail = "The database does not answer; subscribe again."
                await self._refuse(FrameError("database_unavailable", detail, retry_after_ms=5000))
            except FrameError as problem:
                if problem.close is None and self.opening.limiter.strike(time.monotonic()):
                    problem.close = protocol.POLICY
                await self._refuse(problem)

    async def _handle(self, frame: Frame) -> None:
        match protocol.frame_type(frame):
            case "subscribe":
                await self._subscribe(frame)
            case "unsubscribe":
                self.topics -= _topics(frame)
                self._put({"type": "unsubscribed", "topics": sorted(self.topics)})
            case "ping":
                self._put({"type": "pong"})
            case kind:
                raise protocol.unknown_type(kind)

    async def _subscribe(self, frame: Frame) -> None:
        wanted = _topics(frame)
        reach = await self._reach()
        if reach is None:
            raise FrameError("unauthenticated", "The credential died.", close=protocol.UNAUTHENTICATED)
        organization_id = protocol.text_field(frame, "organization_id", limit=50)
        scope = reach
        if organization_id:
            exists = reach.allows(organization_id) and await self._exists(organization_id)
            if not exists:
                raise FrameError("unknown_topic", "There is no such topic.")
            scope = Scope(frozenset({organization_id}))
        self.scope, self.topics = scope, self.topics | wanted
        await feed.current().join(self)
        self._put({"type": "subscribed", "topics": sorted(self.topics)})
        for topic in sorted(wanted):
            for item in await feed.current().run(partial(topics.SNAPSHOTS[topic], scope)):
                self._put(item)

    async def _exists(self, organization_id: str) -> bool:
        return await feed.current().run(lambda: Organization.objects.filter(pk=organization_id).exists())

    # --- frames out -------------------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> None:
        """Queue a change; a dashboard that lags too far behind is closed and loads anew."""
        if len(self._queue) >= MAX_WAITING + 20_000 * ("orchestrators" in self.topics):
            self._is_lagging = True
        else:
            self._put(frame)

    def _put(self, frame: Frame) -> None:
        self._queue.append(frame)
        self._ready.set()

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                await self.opening._tell(protocol.dump(self._queue.popleft()))
            if self._is_lagging:
                await self._refuse(FrameError("slow_consumer", "Reconnect and read.", close=protocol.OVERLOAD))

    async def _refuse(self, problem: FrameError) -> None:
        await self.opening._tell(protocol.error(problem))
        if problem.close is not None:
            await self.opening._close(problem.close)

    # --- credential -------------------------------------------------------------------------------------------------

    async def _guard(self) -> None:
        """End the session within 5 s of its credential's death; a role that changes changes what is shown."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                reach = await self._reach()
            except (DatabaseError, InterfaceError):
                continue
            if reach is None:
                detail = "The credential expired or was revoked."
                await self._refuse(FrameError("unauthenticated", detail, close=protocol.UNAUTHENTICATED))
                return
            if self.scope.organizations is None or reach.organizations is not None:
                allowed = self.scope.organizations
                if reach.organizations is not None:
                    allowed = reach.organizations if allowed is None else allowed & reach.organizations
                self.scope = Scope(allowed)

    async def _reach(self) -> Scope | None:
        """Return what the credential may see now, None when it is no good."""
        if self.token:
            if settings.DEV_BEARER_TOKEN and hmac.compare_digest(
                self.token.encode(), settings.DEV_BEARER_TOKEN.encode()
            ):
                return Scope(None)
            return await feed.current().run(lambda: _reach_of_key(self.token))
        if self.opening.cookie:
            return await feed.current().run(lambda: _reach_of_cookie(self.opening.cookie))
        return None


def _topics(frame: Frame) -> set[str]:
    wanted = frame.get("topics")
    if type(wanted) is not list or not wanted:
        raise FrameError("invalid_topic", "topics must be a list of names.", path="topics")
    if len(wanted) > MAX_TOPICS:
        raise FrameError("too_many_topics", f"Subscribe to at most {MAX_TOPICS} topics.", path="topics")
    for topic in wanted:
        if type(topic) is not str or not _TOPIC.fullmatch(topic):
            raise FrameError("invalid_topic", "A topic is a name of lower-case letters and underscores.", path="topics")
        if topic not in topics.SNAPSHOTS:
            raise FrameError("unknown_topic", "There is no such topic.", path="topics")
    return set(wanted)


def _reach_of_key(token: str) -> Scope | None:
    credential = keys.lookup([token], now=timezone.now()).get(token)
    if credential is None or not credential.is_organization_open or not credential.role:
        return None
    return Scope(frozenset({credential.organization_id}))


def _reach_of_cookie(cookie: str) -> Scope | None:
    store = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = User.objects.filter(pk=store.get(SESSION_KEY) or 0, is_active=True).first()
    is_known = store.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    if (
        user is None
        or not is_known
        or not constant_time_compare(store.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    ):
        return None
    if user.is_superuser:
        return Scope(None)
    open_ones = user.memberships.filter(organization__is_active=True).exclude(organization__status="suspended")
    return Scope(frozenset(open_ones.values_list("organization_id", flat=True)))
