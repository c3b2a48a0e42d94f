"""A controller to test the client against: a real WebSocket server that follows one script per connection."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from orchestrators.client import OrchestratorClient

Frame = dict[str, Any]
Script = Callable[["Peer"], Awaitable[None]]
PATIENCE_SECONDS = 5.0


class Peer:
    """One connection, as the controller sees it: what arrived, and what to do to it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.headers = socket.request.headers if socket.request else {}
        self.frames: list[Frame] = []
        self.registered: Frame = {}

    async def receive(self) -> Frame:
        """Return the next frame."""
        frame: Frame = json.loads(await self.socket.recv())
        self.frames.append(frame)
        return frame

    async def expect(self, kind: str) -> Frame:
        """Return the next frame of a type, answering heartbeats and skipping the rest."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frame = await self.receive()
                if frame["type"] == kind:
                    return frame
                if frame["type"] == "i_am_alive":
                    await self.send(type="heartbeat_ack", seq=frame["seq"])

    async def send(self, **frame: Any) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps(frame))

    async def welcome(self, **changes: Any) -> Frame:
        """Read `register`, answer a good handshake_ack with `changes`, and return what was registered."""
        self.registered = await self.expect("register")
        ack = {
            "type": "handshake_ack",
            "success": True,
            "orchestrator_id": self.registered["orchestrator_id"],
            "organization_id": "org-001",
            "session_id": "session-1",
            "epoch": 1,
            "heartbeat_interval": 30,
            "heartbeat_ttl": 120,
            "reconnect": {"min_ms": 1000, "max_ms": 30000},
        }
        await self.send(**{**ack, **changes})
        return self.registered

    async def refuse(self, error: str, code: int, **extra: Any) -> None:
        """Read `register`, answer a bad handshake_ack and close."""
        self.registered = await self.expect("register")
        await self.send(type="handshake_ack", success=False, error=error, detail="no", **extra)
        await self.close(code)

    async def configure(self, version: int, *, kind: str = "config_update", config: Any = None) -> Frame:
        """Send a configuration and return its final config_status."""
        config = {"number": version} if config is None else config
        await self.send(type=kind, version=version, config_hash=f"sha256:{version}", config=config)
        while (status := await self.expect("config_status"))["status"] == "applying":
            pass
        return status

    async def message(self, message_id: str, kind: str = "restart", **content: Any) -> Frame:
        """Send a message and return its ack."""
        await self.send(type=kind, message_id=message_id, content=content, attempt=1)
        return await self.expect("ack")

    async def close(self, code: int) -> None:
        """Close with a code."""
        await self.socket.close(code)

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        self.socket.transport.abort()


async def polite(peer: Peer) -> None:
    """Welcome, acknowledge heartbeats and upward messages, and answer goodbye with 1000."""
    await peer.welcome()
    await attend(peer)


async def attend(peer: Peer) -> None:
    """Be the controller of a session that stands, until goodbye."""
    while (frame := await peer.receive())["type"] != "goodbye":
        if frame["type"] == "i_am_alive":
            await peer.send(type="heartbeat_ack", seq=frame["seq"])
        elif frame["type"] in ("message", "recommendation", "monitoring"):
            await peer.send(type="ack", message_id=frame["message_id"], success=True, duplicate=False)
    await peer.close(1000)


async def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class FakeController:
    """Serve on a free port; the n-th connection follows the n-th script, later ones the last (`polite` by default).

    A script that fails an assertion makes `async with` fail; one that ends leaves its connection open.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts or (polite,)
        self._server: Server | None = None
        self._failures: list[BaseException] = []
        self.peers: list[Peer] = []

    @property
    def url(self) -> str:
        """Return where to connect to."""
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/ws"

    async def __aenter__(self) -> Self:
        """Start."""
        self._server = await serve(self._follow, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and raise what a script found wrong."""
        assert self._server is not None
        for peer in self.peers:
            peer.drop()
        self._server.close()
        await self._server.wait_closed()
        if self._failures and kind is None:
            raise self._failures[0]

    async def _follow(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            await script(peer)
            await socket.wait_closed()
        except ConnectionClosed:
            return
        except (AssertionError, TimeoutError, KeyError) as failure:
            self._failures.append(failure)


@contextlib.asynccontextmanager
async def session(*scripts: Script, **options: Any) -> AsyncIterator[tuple[OrchestratorClient, FakeController]]:
    """Run a client against a controller with these scripts, reconnecting at once."""

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0.01)

    async with FakeController(*scripts) as controller:
        options = {"api_key": "mk_secret", "sleep": at_once, **options}
        async with OrchestratorClient(controller.url, "orch-001", **options) as client:
            yield client, controller


def scripted(step: Callable[[Peer], Awaitable[Any]]) -> tuple[Script, asyncio.Future[Any]]:
    """Return a script that welcomes, runs `step(peer)` and keeps the session; and the future of the step's result."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        try:
            result.set_result(await step(peer))
        except Exception as error:
            result.set_exception(error)
            return
        with contextlib.suppress(Exception):
            await attend(peer)

    return script, result
