"""A hub that does not tick, and real sessions on it without a socket: what is looked at or lost, step by step."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from orchestrators import claims, configuration, nodes, registration
from orchestrators.hub import FrameHandler, Hub
from orchestrators.limiter import Limiter
from orchestrators.registration import Grant
from orchestrators.session import Session
from orgs import keys, organizations

Frame = dict[str, Any]


class Held:
    """A hub that does not tick, with open sessions whose frames end up in `frames`."""

    def __init__(self, handlers: Mapping[str, FrameHandler] | None = None) -> None:
        self.hub = Hub(handlers or {"config_status": FrameHandler(configuration.check, configuration.store)})
        self.frames: dict[str, list[Frame]] = {}
        self.secret = ""

    def prepare(self) -> None:
        home = organizations.create("acme", name="Acme", acting_user=None)
        self.secret = keys.create(home, name="k", acting_user=None, scopes=["orchestrator"])[1]
        nodes.start(self.hub.node_id)

    def grant(self, name: str, fields: Frame) -> Grant:
        frame = {"type": "register", "orchestrator_id": name, "token": self.secret, **fields}
        node = self.hub.node_id
        claim = claims.read(frame, secret="", remote_address="127.0.0.1", session_id=f"s-{name}", node=node)
        [answer] = registration.register([claim])
        assert isinstance(answer, Grant), answer
        return answer

    async def open(self, name: str, /, *, is_current: bool = True, is_legacy: bool = False, **more: Any) -> Session:
        """Register `name`, up to date or not, with `more` in the frame, and greet it."""
        fields: Frame = more if is_legacy else {"capabilities": ["config"], **more}
        found = await sync_to_async(self.grant)(name, fields)
        if is_current:
            fields["config_hash"] = found.instance.config_hash
            found = await sync_to_async(self.grant)(name, fields)
            assert found.provisioning is None
        self.frames[name] = []

        async def send(event: Frame) -> None:
            self.frames[name].append(json.loads(event["text"]))

        limiter = Limiter(rate=20, burst=100)
        session = Session(self.hub, found, send=send, limiter=limiter, is_legacy=is_legacy, drop=None)
        self.hub.add(session)
        await session.greet()
        return session

    async def say(self, session: Session, *frames: Frame) -> None:
        """Let a client send frames, and wait until they are answered."""
        events = [{"type": "websocket.receive", "text": json.dumps(frame)} for frame in frames]
        incoming = iter([*events, {"type": "websocket.disconnect"}])

        async def receive() -> Frame:
            return next(incoming)

        await session.run(receive)
        await asyncio.gather(*session.tasks)

    async def look(self, *, queries: int | None = None) -> None:
        """Look once, and let what it found be written; without anything to push it is so many `queries`."""

        def counted() -> int:
            with CaptureQueriesContext(connection) as captured:
                self.hub.clock._find_overdue()
            return len(captured)

        count = await sync_to_async(counted)()
        await asyncio.sleep(0.01)
        assert queries is None or count == queries

    def versions(self, name: str) -> list[tuple[str, int]]:
        return [(frame["type"], frame["version"]) for frame in self.frames[name]]


@asynccontextmanager
async def holding(handlers: Mapping[str, FrameHandler] | None = None) -> AsyncIterator[Held]:
    """Prepare one, and stop its hub at the end."""
    found = Held(handlers)
    await sync_to_async(found.prepare)()
    yield found
    await found.hub.at_desk(connections.close_all)  # its thread ends with the hub, and its place in the pool does not
    await found.hub.stop()
