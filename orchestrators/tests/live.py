"""A real web process, clients that speak to it over real sockets, and its rows through this process's ORM.

The ORM of the tests is pointed at the installation's own database, so what a test writes through the rooms reaches the
server the way it does from a worker or a command: as committed rows.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connections
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from moolai.environment import database
from moolai.testing.product import Installation, ServerProcess
from moolai.testing.world import World
from orchestrators.models import Instance
from orgs import keys
from orgs.models import ApiKey, Organization

Frame = dict[str, Any]
DEV_TOKEN = "dev-token-of-the-contract-tests"
WAIT = 20.0  # a crowded machine is slow; what comes is taken at once


class Ended(Exception):
    """The server closed the socket while the test waited for a frame; `peer.code` says how."""


class Peer:
    """A WebSocket client: frames are dictionaries, everything received is kept in `seen`."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self._stack = ExitStack()
        opening = connect(
            url, additional_headers=dict(headers or {}), compression=None, close_timeout=1, open_timeout=WAIT,
            ping_interval=None, proxy=None, max_size=None,
        )  # fmt: skip
        self.socket: ClientConnection = self._stack.enter_context(opening)
        self.seen: list[Frame] = []
        self.ack: Frame = {}

    @property
    def code(self) -> int | None:
        """The close code, None while the socket is open."""
        return self.socket.close_code

    def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame, or text or bytes as they are."""
        self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def recv(self, timeout: float = WAIT) -> Frame:
        """Return the next frame; raises TimeoutError, or Ended when the socket is closed instead."""
        try:
            frame: Frame = json.loads(self.socket.recv(timeout))
        except ConnectionClosed as error:
            raise Ended(f"closed with {self.code}") from error
        self.seen.append(frame)
        return frame

    def take(self, kind: str, timeout: float = WAIT) -> Frame:
        """Return the next frame of the type `kind`, passing over others."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            frame = self.recv(left)
            if frame["type"] == kind:
                return frame
        raise TimeoutError(f"no {kind} within {timeout:g} s; got {self.seen[-5:]}")

    def ask(self, frame: Frame | str | bytes, kind: str = "error", timeout: float = WAIT) -> Frame:
        """Send a frame and return the next one of the type `kind`."""
        self.send(frame)
        return self.take(kind, timeout)

    def is_open(self, seq: int = 4711) -> bool:
        """Tell whether a heartbeat is answered."""
        try:
            return bool(self.ask({"type": "i_am_alive", "seq": seq}, "heartbeat_ack")["seq"] == seq)
        except (Ended, ConnectionClosed):
            return False

    def ending(self, timeout: float = WAIT) -> tuple[list[Frame], int | None]:
        """Read until the server closes; return the frames of that time and the close code."""
        before, until = len(self.seen), time.monotonic() + timeout
        try:
            while True:
                self.recv(max(0.01, until - time.monotonic()))
        except Ended:
            return self.seen[before:], self.code

    def nothing(self, seconds: float, *, of: str | None = None) -> list[Frame]:
        """Listen for `seconds` and return what came (of the type `of`)."""
        found, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                found.append(self.recv(left))
            except (TimeoutError, Ended):
                break
        return [frame for frame in found if of is None or frame["type"] == of]

    def close(self) -> None:
        """Close the socket in order."""
        self._stack.close()


def eventually(condition: Callable[[], Any], timeout: float = WAIT) -> Any:
    """Poll until `condition` returns something true, and return it; the last value when the time is up."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > until:
            return value
        time.sleep(0.03)


class Live:
    """One installation with one web process."""

    def __init__(self, installation: Installation, server: ServerProcess) -> None:
        self.installation, self.server = installation, server
        self.peers: list[Peer] = []
        self._names = 0

    def new_id(self, prefix: str = "orch") -> str:
        """Return an id nobody used yet."""
        self._names += 1
        return f"{prefix}-{self._names:03d}"

    # --- rows -------------------------------------------------------------------------------------------------------

    def organization(self, organization_id: str = "acme", **fields: Any) -> Organization:
        """Return an organization, made when it is new."""
        defaults = {"name": organization_id.title(), **fields}
        return Organization.objects.get_or_create(organization_id=organization_id, defaults=defaults)[0]

    def key(self, organization_id: str = "acme", **fields: Any) -> str:
        """Make an orchestrator key and return its secret."""
        return self.key_row(organization_id, **fields)[1]

    def key_row(self, organization_id: str = "acme", **fields: Any) -> tuple[ApiKey, str]:
        """Make a key and return its row and its secret."""
        if "role" not in fields:
            fields.setdefault("scopes", ["orchestrator"])
        return keys.create(self.organization(organization_id), name="test", acting_user=None, **fields)

    def row(self, orchestrator_id: str) -> Instance:
        """Return the committed row of an orchestrator."""
        return Instance.objects.select_related("organization").get(orchestrator_id=orchestrator_id)

    # --- sockets ----------------------------------------------------------------------------------------------------

    def peer(self, *, path: str = "/ws", server: ServerProcess | None = None, **headers: str) -> Peer:
        """Open a socket; keyword arguments are headers, with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        peer = Peer((server or self.server).ws_url(path), headers=named)
        self.peers.append(peer)
        return peer

    def register(
        self, orchestrator_id: str = "", *, key: str = "", server: ServerProcess | None = None, **fields: Any
    ) -> Peer:
        """Open a session and return its peer, the greeting (handshake_ack and provisioning) consumed."""
        key = key or self.key()
        orchestrator_id = orchestrator_id or self.new_id()
        peer = self.peer(server=server, Authorization=f"Bearer {key}")
        peer.send({"type": "register", "orchestrator_id": orchestrator_id, "capabilities": ["config"], **fields})
        peer.ack = peer.recv()
        assert peer.ack["type"] == "handshake_ack", peer.ack
        assert peer.ack["success"] is True, peer.ack
        if fields.get("config_hash") is None:
            assert peer.recv()["type"] == "provisioning"
        return peer

    def refused(self, frame: Frame, *, server: ServerProcess | None = None, path: str = "/ws", **headers: str) -> Frame:
        """Send an opening frame that must be refused; return the one frame that says so, with its close code added."""
        peer = self.peer(server=server, path=path, **headers)
        peer.send(frame)
        frames, code = peer.ending()
        assert len(frames) == 1, frames
        assert frames[0].get("success") is False
        return frames[0] | {"close": code}

    # --- REST and logs ----------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, token: str = DEV_TOKEN) -> tuple[int, Any]:
        """Make an HTTP call; return status and JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.server.url(path), data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def lines(self, text: str) -> list[str]:
        """Return the server's log lines that hold `text`."""
        return [line for line in self.server.output().splitlines() if re.search(re.escape(text) + r"(?![\w.-])", line)]

    def hang_up(self) -> None:
        """Close what a test left open."""
        while self.peers:
            self.peers.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()


@contextmanager
def running(world: World, blocker: Any, env: Mapping[str, str] | None = None) -> Iterator[Live]:
    """Start an installation with a web process, and point this process's ORM at its database meanwhile."""
    with ExitStack() as stack:
        given = {
            "DEV_BEARER_TOKEN": DEV_TOKEN,
            "HEARTBEAT_TTL_SEC": "120",
            "SECRET_KEY": settings.SECRET_KEY,
            **(env or {}),
        }
        installation = stack.enter_context(world.installation(given))
        stack.enter_context(blocker.unblock())
        stack.enter_context(orm_at(installation))
        yield stack.enter_context(Live(installation, installation.serve()))


@contextmanager
def orm_at(installation: Installation, *, pool_size: int = 4) -> Iterator[None]:
    """Swap the default database for the installation's; everything else of its settings stays."""
    before = connections.settings["default"]
    _forget()
    url = installation.env["DATABASE_URL"]
    config = database(url, data_dir=installation.data_dir, pool_size=pool_size)
    connections.settings["default"] = {**before, **config}
    try:
        yield
    finally:
        _forget()
        connections.settings["default"] = before


def _forget() -> None:
    """Drop the connection of this thread, and that of the one thread in which async tests reach the ORM."""
    _forget_here()
    SyncToAsync.single_thread_executor.submit(_forget_here).result()


def _forget_here() -> None:
    connection = connections["default"]
    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()
    del connections["default"]
