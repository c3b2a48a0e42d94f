"""A dashboard session: a socket that watches (PROTOCOL §2)."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from monitoring.dashboard import feed, reaches, snapshots
from monitoring.dashboard.place import Place
from monitoring.dashboard.topics import Frame, Scope
from orchestrators import protocol
from orchestrators.protocol import FrameError
from orgs import counters
from orgs.models import Organization

MAX_TOPICS: Final = 128
MAX_WAITING: Final = 2000
FLEET_ROOM: Final = 20_000  # a whole fleet that drops and comes back is no lag of who watches it
RECHECK_SECONDS: Final = 4.0
WATCH_SECONDS: Final = 1.0
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
        self._ready, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._bound = 0
        self._sending, self._sending_since = 0, 0.0
        self._is_lagging = self._is_over = False
        self._reader: asyncio.Task[None] | None = None

    async def run(self, frame: Frame) -> None:
        """Answer the first subscribe, then read and write side by side."""
        token = frame.get("token")
        self.token = self.opening.bearer or (token if type(token) is str else "")
        try:
            reach = await self._reach()
            if reach is None:
                raise await self._death("Sign in to the console, or send a bearer token.")
        except (DatabaseError, InterfaceError):
            detail = "The database does not answer; reconnect."
            await self._refuse(FrameError("database_unavailable", detail, close=protocol.OVERLOAD, retry_after_ms=5000))
            return
        except FrameError as problem:
            self.opening.log_denied(problem)
            await self._refuse(problem)
            return
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(work) for work in (self._write(), self._guard(), self._watch())]
            self._reader = tasks.create_task(self._read(frame))
            self._reader.add_done_callback(lambda _: [task.cancel() for task in beside])

    async def _read(self, frame: Frame) -> None:
        await self._answer(lambda: frame)
        while True:
            event = await self.opening.receive()
            if event["type"] != "websocket.receive":
                return
            if not self._is_over:
                await self._answer(partial(self._parse, event.get("text")))

    def _parse(self, text: str | None) -> Frame:
        if text is None:
            raise FrameError("binary_not_supported", "Send text frames.", close=protocol.UNSUPPORTED)
        if not self.opening.limiter.take(time.monotonic()):
            counters.add("rate_limit.hit", self.opening.remote_address)
            raise FrameError("rate_limited", "Send fewer frames per second.", retry_after_ms=1000)
        return protocol.parse(text)

    async def _answer(self, parse: Callable[[], Frame]) -> None:
        """Handle one frame; what is wrong with it is told, and costs a strike."""
        try:
            await self._handle(parse())
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
            raise await self._death("The credential died.")
        organization_id = protocol.text_field(frame, "organization_id", limit=50)
        scope = reach
        if organization_id:
            exists = reach.reaches(organization_id) and await self._exists(organization_id)
            if not exists:
                raise FrameError("unknown_topic", "There is no such topic.")
            scope = replace(reach, organizations=frozenset({organization_id}))
        added = wanted - self.topics if scope == self.scope else wanted
        self.scope, self.topics = scope, self.topics | wanted
        try:
            await feed.current().join(self)
            self._put({"type": "subscribed", "topics": sorted(self.topics)})
            for topic in sorted(added):
                await self._show(topic)
        except (DatabaseError, InterfaceError):
            self.topics -= added
            raise

    async def _show(self, topic: str) -> None:
        """Queue the snapshot of a topic, however large, once there is room: who reads nothing gets no second one."""
        await self._has_room.wait()
        frames = await feed.current().run(partial(snapshots.SNAPSHOTS[topic], self.scope))
        self._bound = len(self._queue) + len(frames) + MAX_WAITING
        for frame in frames:
            self._put(frame)

    async def _exists(self, organization_id: str) -> bool:
        return await feed.current().run(lambda: Organization.objects.filter(pk=organization_id).exists())

    # --- frames out -------------------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> None:
        """Queue a change; a dashboard that lags too far behind is closed and loads anew."""
        self._put(frame)

    def settle(self, place: Place) -> None:
        """Need no place: who comes back gets a snapshot."""

    def _put(self, frame: Frame) -> None:
        if len(self._queue) >= max(self._bound, MAX_WAITING + FLEET_ROOM * ("orchestrators" in self.topics)):
            self._is_lagging = True
        elif not self._is_over:
            self._queue.append(frame)
            self._ready.set()
            if len(self._queue) >= MAX_WAITING:
                self._has_room.clear()

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                await self._send(protocol.dump(self._queue.popleft()))
                if len(self._queue) < MAX_WAITING:
                    self._has_room.set()

    async def _send(self, text: str) -> None:
        """Send one frame, and let the watch see how long that has been waiting."""
        if not self._sending:
            self._sending_since = time.monotonic()
        self._sending += 1
        try:
            await self.opening._tell(text)
        finally:
            self._sending -= 1
            self._sending_since = time.monotonic()  # what still waits has waited since something went through

    async def _refuse(self, problem: FrameError) -> None:
        await self._send(protocol.error(problem))
        if problem.close is not None:
            await self.opening._close(problem.close)

    async def _watch(self) -> None:
        """End a dashboard that does not read: a write that waits too long, or a queue that is full."""
        while not self._is_over:
            await asyncio.sleep(WATCH_SECONDS)
            waits = time.monotonic() - self._sending_since if self._sending else 0.0
            if self._is_lagging or waits > float(settings.WS_LAG_SECONDS):
                detail = "You do not read what you are sent; reconnect and read."
                await self._drop(FrameError("slow_consumer", detail, close=protocol.OVERLOAD, retry_after_ms=1000))

    async def _drop(self, problem: FrameError) -> None:
        """Close a socket whose client may not read: last words into its buffer, then the line is cut."""
        self._is_over = True
        self._queue.clear()
        self._has_room.set()
        drop = self.opening.scope.get("extensions", {}).get("moolai.drop")
        if drop is not None:
            drop(protocol.error(problem), problem.close)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await self._refuse(problem)
        if self._reader is not None:
            self._reader.cancel()

    # --- credential -------------------------------------------------------------------------------------------------

    async def _guard(self) -> None:
        """End the session within 5 s of its credential's death; a role that changes changes what is shown."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                reach = await self._reach()
                problem = await self._death("The credential expired or was revoked.") if reach is None else None
            except (DatabaseError, InterfaceError):
                continue
            if problem is not None:
                await (self._drop if self._sending else self._refuse)(problem)
                return
            if reach is not None:
                self._narrow(reach)

    def _narrow(self, reach: Scope) -> None:
        """Show no more than the credential may see now."""
        if self.scope.organizations is not None and reach.organizations is None:
            return
        allowed = self.scope.organizations
        if reach.organizations is not None:
            allowed = reach.organizations if allowed is None else allowed & reach.organizations
        self.scope = replace(self.scope, organizations=allowed)

    async def _reach(self) -> Scope | None:
        """Return what the credential may see now, None when it is no good."""
        if self.token and reaches.is_static(self.token):
            return Scope(None)
        if self.token:
            return await feed.current().run(lambda: reaches.of_bearer(self.token))
        if self.opening.cookie:
            return await feed.current().run(lambda: reaches.of_cookie(self.opening.cookie))
        return None

    async def _death(self, detail: str) -> FrameError:
        """Return why the credential may see nothing: its organization is closed, or else `detail`."""
        if bool(self.token) and await feed.current().run(partial(reaches.is_suspended, self.token)):
            return FrameError("organization_suspended", "The organization is suspended.", close=protocol.FORBIDDEN)
        return FrameError("unauthenticated", detail, close=protocol.UNAUTHENTICATED)


def _topics(frame: Frame) -> set[str]:
    wanted = frame.get("topics")
    if type(wanted) is not list or not wanted:
        raise FrameError("invalid_topic", "topics must be a list of names.", path="topics")
    if len(wanted) > MAX_TOPICS:
        raise FrameError("too_many_topics", f"Subscribe to at most {MAX_TOPICS} topics.", path="topics")
    for topic in wanted:
        if type(topic) is not str or not _TOPIC.fullmatch(topic):
            raise FrameError("invalid_topic", "A topic is a name of lower-case letters and underscores.", path="topics")
        if topic not in snapshots.SNAPSHOTS:
            raise FrameError("unknown_topic", "There is no such topic.", path="topics")
    return set(wanted)
