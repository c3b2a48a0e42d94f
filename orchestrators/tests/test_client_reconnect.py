"""How long the client waits after each kind of end (PROTOCOL §3), with time and chance passed in."""

import asyncio
import http
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from orchestrators.client import OrchestratorClient
from orchestrators.client.reconnect import Ended, Reconnect

from .fake_controller import FakeController, Peer, Script, polite, until

pytestmark = pytest.mark.once


class Waits:
    """Stand in for `asyncio.sleep`: note each wait; after `limit` of them wait for ever."""

    def __init__(self, limit: int) -> None:
        self.seconds: list[float] = []
        self._limit = limit
        self.is_full = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Note the wait and end it at once."""
        self.seconds.append(seconds)
        if len(self.seconds) >= self._limit:
            self.is_full.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def waits_of(*scripts: Script, limit: int = 1, random: float = 0.5) -> list[float]:
    """Return the first `limit` waits of a client whose connections follow `scripts`."""
    waits = Waits(limit)
    async with FakeController(*scripts) as controller:
        options: dict[str, Any] = {"sleep": waits.sleep, "random": lambda: random}
        async with OrchestratorClient(controller.url, "orch-001", **options):
            await asyncio.wait_for(waits.is_full.wait(), 5)
    return waits.seconds


def closing(code: int) -> Script:
    """Return a script that welcomes and closes with `code`; 1006 cuts the connection."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        if code == 1006:
            peer.drop()
        else:
            await peer.close(code)

    return script


def refusing(error: str, code: int, **extra: Any) -> Script:
    """Return a script that refuses the register."""
    return lambda peer: peer.refuse(error, code, **extra)


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4408, 1000])
async def test_passing_ends_wait_with_full_jitter_under_a_growing_cap(code: int) -> None:
    assert await waits_of(closing(code), limit=3) == [1.5, 2.0, 2.75]


async def test_jitter_stays_between_the_bounds_of_the_ack() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(reconnect={"min_ms": 200, "max_ms": 1000})
        peer.drop()

    assert await waits_of(script, limit=5, random=0.0) == [0.2] * 5
    highest = await waits_of(script, limit=5, random=0.999999)
    assert highest == pytest.approx([0.4, 0.6, 0.9, 0.9, 0.9], rel=1e-3)  # it accepts sessions: no long waits


async def test_a_refused_connection_is_tried_again_with_jitter_up_to_the_maximum() -> None:
    waits = Waits(9)
    client = OrchestratorClient("ws://127.0.0.1:1/ws", "orch-001", sleep=waits.sleep, random=lambda: 1.0)
    async with client:
        await asyncio.wait_for(waits.is_full.wait(), 5)
    assert waits.seconds == pytest.approx([2, 3, 4.5, 6.75, 10.125, 15.1875, 22.78125, 30, 30])


@pytest.mark.parametrize("code", [1003, 1008, 4401, 4403])
async def test_refusals_wait_a_minute_doubling_to_ten(code: int) -> None:
    assert await waits_of(closing(code), limit=6) == [60, 120, 240, 480, 600, 600]


@pytest.mark.parametrize(("error", "code"), [("unauthenticated", 4401), ("forbidden", 4403), ("invalid_field", 1008)])
async def test_a_refused_register_waits_by_its_close_code(error: str, code: int) -> None:
    assert await waits_of(refusing(error, code), limit=2) == [60, 120]


async def test_superseded_waits_at_least_a_minute() -> None:
    assert await waits_of(closing(4409), random=0.0) == [60]
    assert await waits_of(closing(4409), random=1.0) == [90]


async def test_a_suspended_organization_is_tried_every_five_minutes() -> None:
    assert await waits_of(refusing("organization_suspended", 4403), limit=3) == [300, 300, 300]


@pytest.mark.parametrize("code", [1013, 4403, 1008])
async def test_retry_after_of_a_refused_register_is_a_minimum(code: int) -> None:
    waited = await waits_of(refusing("database_unavailable", code, retry_after_ms=90_000), random=0.5)
    assert waited == [90.5]


async def test_a_shorter_retry_after_does_not_shorten_a_wait() -> None:
    assert await waits_of(refusing("unauthenticated", 4401, retry_after_ms=1000)) == [60]


async def test_a_shutdown_waits_as_the_controller_spreads_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(type="error", success=False, error="server_shutdown", fatal=True, retry_after_ms=12_000)
        await peer.close(1012)

    assert await waits_of(script, polite, random=0.0) == [12]


async def test_the_retry_after_of_a_passing_error_is_not_kept_for_a_later_close() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(type="error", success=False, error="rate_limited", fatal=False, retry_after_ms=50_000)
        await peer.close(1001)

    assert await waits_of(script) == [1.5]


async def test_a_new_credential_ends_the_wait_and_is_presented() -> None:
    waits = Waits(1)
    async with FakeController(refusing("unauthenticated", 4401), polite) as controller:
        async with OrchestratorClient(controller.url, "orch-001", api_key="old", sleep=waits.sleep) as client:
            await asyncio.wait_for(waits.is_full.wait(), 2)
            client.set_credential("new")
            await asyncio.wait_for(client.wait_connected(), 2)
        assert [peer.headers["Authorization"] for peer in controller.peers] == ["Bearer old", "Bearer new"]
    assert waits.seconds == [60]


async def test_a_key_offered_when_the_old_one_expires_is_used_at_once() -> None:
    asked: list[str] = []

    async def renew(expires_at: str) -> str:
        asked.append(expires_at)
        return "new"

    async def expiring(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(type="credential_expiring", expires_at="2026-11-20T12:00:00Z")
        await asyncio.sleep(0.05)
        await peer.close(4401)

    waits = Waits(1)
    async with FakeController(expiring, polite) as controller:
        options: dict[str, Any] = {"on_credential_expiring": renew, "sleep": waits.sleep}
        async with OrchestratorClient(controller.url, "orch-001", api_key="old", **options):
            await until(lambda: len(controller.peers) == 2)
        assert controller.peers[1].headers["Authorization"] == "Bearer new"
    assert (waits.seconds, asked) == ([], ["2026-11-20T12:00:00Z"])


async def test_silence_instead_of_a_handshake_ack_ends_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrators.client.session.HANDSHAKE_SECONDS", 0.1)

    async def silent(peer: Peer) -> None:
        await peer.expect("register")
        await peer.socket.wait_closed()

    assert await waits_of(silent) == [1.5]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (http.HTTPStatus.UNAUTHORIZED, {}, 60),
        (http.HTTPStatus.NOT_FOUND, {}, 60),
        (http.HTTPStatus.SERVICE_UNAVAILABLE, {}, 1.5),
        (http.HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "20"}, 20.5),
    ],
)
async def test_an_http_status_instead_of_an_upgrade(
    status: http.HTTPStatus, headers: dict[str, str], expected: float
) -> None:
    def answer(connection: ServerConnection, request: Any) -> Any:
        response = connection.respond(status, "no\n")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def never(connection: ServerConnection) -> None:
        raise AssertionError("the upgrade was refused")

    waits = Waits(1)
    async with serve(never, "127.0.0.1", 0, process_request=answer) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        async with OrchestratorClient(url, "orch-001", sleep=waits.sleep, random=lambda: 0.5):
            await asyncio.wait_for(waits.is_full.wait(), 5)
    assert waits.seconds == [expected]


def test_a_stable_session_starts_the_backoff_anew_and_a_short_one_does_not() -> None:
    reconnect = Reconnect(random=lambda: 1.0)
    assert [reconnect.delay(Ended(1006, lasted_seconds=1)) for _ in range(3)] == [2, 3, 4.5]
    assert reconnect.delay(Ended(1006, lasted_seconds=60)) == 2


def test_senseless_bounds_are_ignored() -> None:
    reconnect = Reconnect(random=lambda: 1.0)
    for bounds in (None, {}, {"min_ms": 0, "max_ms": 0}, {"min_ms": 5, "max_ms": 1}, {"min_ms": "1", "max_ms": True}):
        reconnect.adopt(bounds)
    assert reconnect.delay(Ended(1006)) == 2
    assert reconnect.delay(Ended(1013, retry_after_ms=10**11)) <= 3602
