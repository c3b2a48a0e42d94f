"""`/ws`: reads a socket's first frame and hands it to the orchestrator session or to the dashboard.

The socket is accepted first, then told, then closed (PROTOCOL §3). Only an unknown path, a malformed header and a
console cookie with a wrong Origin are refused before the upgrade.
"""

import asyncio
import logging
import random
import re
import secrets
import time
from typing import Any, Final
from urllib.parse import parse_qs

from django.conf import settings
from django.http import parse_cookie
from django.utils import timezone

from monitoring.dashboard import session as dashboard
from moolai import errors
from orchestrators import claims, protocol, registration
from orchestrators import hub as hubs
from orchestrators.limiter import Limiter
from orchestrators.protocol import FrameError
from orchestrators.session import Receive, Send, Session, new_id
from orgs import counters

logger = logging.getLogger(__name__)
QUERY_CREDENTIALS: Final = frozenset({"token", "access_token", "api_key", "key", "authorization"})
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f\x85]")
REJECTIONS: Final = {
    400: ("bad_request", "A header is malformed."),
    403: ("forbidden", "The Origin is not this host."),
    404: ("not_found", "The WebSocket is at /ws."),
}
OPENING_TYPES: Final = frozenset({"register", "handshake", "subscribe"})
_others: "set[Opening]" = set()  # every open socket that is no orchestrator session: the hub knows those


async def endpoint(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one WebSocket (ASGI)."""
    if scope["path"].rstrip("/") != "/ws":
        await _reject(scope, receive, send, 404)
        return
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if any(_CONTROL.search(value) for _, value in scope["headers"]):
        await _reject(scope, receive, send, 400)
        return
    bearer, cookie = _bearer(headers), _session_cookie(headers)
    if cookie and not bearer and not _is_same_origin(scope, headers):
        await _reject(scope, receive, send, 403)
        return
    await receive()
    await send({"type": "websocket.accept"})
    await Opening(scope, receive, send, bearer=bearer, cookie=cookie).run()


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


def _session_cookie(headers: dict[bytes, bytes]) -> str:
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    return str(cookies.get(settings.SESSION_COOKIE_NAME, ""))


def _is_same_origin(scope: dict[str, Any], headers: dict[bytes, bytes]) -> bool:
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    if settings.TRUSTED_PROXIES and headers.get(b"x-forwarded-proto") == b"https":
        scheme = "https"
    expected = f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}"
    return headers.get(b"origin", b"").decode("latin-1") == expected


def _remote_address(scope: dict[str, Any]) -> str:
    client = scope.get("client")
    return client[0][:64] if client else ""


async def _reject(scope: dict[str, Any], receive: Receive, send: Send, status: int) -> None:
    if status == 403:
        counters.add("origin.refused", _remote_address(scope))
        logger.warning("denied /ws: forbidden", extra={"remote_address": _remote_address(scope)})
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        code, detail = REJECTIONS[status]
        request_id = secrets.token_hex(12)
        body = protocol.dump(errors.body(code, detail, request_id=request_id)).encode()
        headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1008})


class Opening:
    """A socket until its first good frame says what it is."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send, *, bearer: str, cookie: str) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.bearer, self.cookie = bearer, cookie
        self.limiter = Limiter(rate=settings.WS_FRAMES_PER_SECOND, burst=settings.WS_FRAMES_BURST)
        self.was_warned = False

    async def run(self) -> None:
        """Wait for the first frame, serve the session, and answer whatever breaks with `internal_error`."""
        if len(_others) >= settings.WS_MAX_SESSIONS:
            problem = FrameError(
                "overloaded", "Too many sockets; try again.", close=protocol.OVERLOAD, retry_after_ms=5000
            )
            await self._end(problem)
            return
        _others.add(self)
        try:
            try:
                async with asyncio.timeout(settings.REGISTER_TIMEOUT_SECONDS):
                    frame = await self._first_frame()
            except TimeoutError:
                detail = f"Send register within {settings.REGISTER_TIMEOUT_SECONDS} s."
                await self._end(FrameError("register_timeout", detail, close=protocol.TIMEOUT))
                return
            if frame is None:
                return
            if frame["type"] == "subscribe":
                try:
                    self._check_query()
                except FrameError as problem:
                    self.log_denied(problem)
                    await self._end(problem)
                    return
                await dashboard.serve(self, frame)
            else:
                await self._serve_orchestrator(frame)
        except Exception:
            request_id = secrets.token_hex(8)
            logger.exception("a socket failed", extra={"request_id": request_id})
            detail = "Something broke on our side; quote the request_id."
            await self._end(FrameError("internal_error", detail, close=protocol.INTERNAL, request_id=request_id))
        finally:
            _others.discard(self)

    async def _first_frame(self) -> dict[str, Any] | None:
        """Return the frame that opens a session; None when the socket ended before."""
        while True:
            event = await self.receive()
            if event["type"] != "websocket.receive":
                return None
            try:
                if event.get("text") is None:
                    raise FrameError("binary_not_supported", "Send text frames.", close=protocol.UNSUPPORTED)
                if not self.limiter.take(time.monotonic()):
                    counters.add("rate_limit.hit", self.remote_address)
                    raise FrameError("rate_limited", "Send fewer frames per second.", retry_after_ms=1000)
                frame = protocol.parse(event["text"])
                kind = protocol.frame_type(frame)
                if kind in OPENING_TYPES:
                    return frame
                raise self._not_registered(kind)
            except FrameError as problem:
                if problem.close is None and self.limiter.strike(time.monotonic()):
                    problem.close = protocol.POLICY
                await self._tell(protocol.error(problem))
                if problem.close is not None:
                    await self._close(problem.close)
                    return None

    def _check_query(self) -> None:
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if QUERY_CREDENTIALS & {name.lower() for name in query}:
            detail = "Credentials in the URL end up in logs; send Authorization: Bearer or `token`."
            raise FrameError("unauthenticated", detail, close=protocol.UNAUTHENTICATED)

    def _not_registered(self, kind: str) -> FrameError:
        if kind not in protocol.RESERVED_TYPES:
            return protocol.unknown_type(kind)
        again, self.was_warned = self.was_warned, True
        detail = "Send register (or handshake, or subscribe) first."
        return FrameError("not_registered", detail, close=protocol.POLICY if again else None)

    async def _serve_orchestrator(self, frame: dict[str, Any]) -> None:
        hub = hubs.current()
        try:
            self._check_query()
            claim = claims.read(
                frame, secret=self.bearer, remote_address=self.remote_address, session_id=new_id(), node=hub.node_id
            )
            grant = await hub.register(claim)
        except FrameError as problem:
            self.log_denied(problem)
            await self._tell(protocol.refusal(problem))
            is_overload = problem.code == "overloaded"
            await self._close(problem.close or (protocol.OVERLOAD if is_overload else protocol.POLICY))
            return
        extensions = self.scope.get("extensions", {})
        drop, answer_with = extensions.get("moolai.drop"), extensions.get("moolai.answer_with")
        session = Session(hub, grant, send=self.send, limiter=self.limiter, is_legacy=claim.is_legacy, drop=drop)
        hub.add(session)
        _others.discard(self)
        try:
            await session.greet(_handshake_ack(grant), *([grant.provisioning] if grant.provisioning else []))
            hub.deliver_soon(session.orchestrator_id)
            if answer_with is not None:
                answer_with(session.answer)
            await session.run(self.receive)
        finally:
            if answer_with is not None:
                answer_with(None)
            hub.remove(session)

    @property
    def remote_address(self) -> str:
        """The client's address; behind a proxy the server has put the right one into the scope."""
        return _remote_address(self.scope)

    def log_denied(self, problem: FrameError) -> None:
        """Leave a line about a credential or a right that is missing, as HTTP does."""
        if problem.close == protocol.UNAUTHENTICATED:
            counters.add("credential.refused", self.remote_address)
        if problem.close in (protocol.UNAUTHENTICATED, protocol.FORBIDDEN):
            logger.warning("denied /ws: %s", problem.code, extra={"remote_address": self.remote_address})

    async def _end(self, problem: FrameError) -> None:
        await self._tell(protocol.error(problem))
        await self._close(problem.close or protocol.INTERNAL)

    async def _tell(self, text: str) -> None:
        try:
            await self.send({"type": "websocket.send", "text": text})
        except Exception:  # the server's own word for "the client is gone" differs by server
            logger.debug("frame not sent: the socket is gone")

    async def _close(self, code: int) -> None:
        try:
            await self.send({"type": "websocket.close", "code": code})
        except Exception:
            logger.debug("close not sent: the socket is gone")


async def shut_down() -> None:
    """Tell every open socket that the server restarts: orchestrator sessions by the hub, the others here."""
    detail, spread_ms = "The server restarts; reconnect.", settings.SHUTDOWN_SPREAD_MS
    farewells = []
    for opening in list(_others):
        wait_ms = random.randint(0, spread_ms)
        problem = FrameError("server_shutdown", detail, close=protocol.RESTART, retry_after_ms=wait_ms)
        farewells.append(asyncio.create_task(opening._end(problem)))
    await hubs.shut_down()
    if farewells:
        await asyncio.wait(farewells, timeout=1)


def _handshake_ack(grant: registration.Grant) -> str:
    row = grant.instance
    return protocol.dump(
        {
            "type": "handshake_ack",
            "success": True,
            "orchestrator_id": row.orchestrator_id,
            "organization_id": row.organization_id,
            "session_id": row.session_id,
            "epoch": row.epoch,
            "is_independent": grant.is_own_independent or grant.is_organization_independent,
            "heartbeat_interval": settings.HEARTBEAT_INTERVAL_SEC,
            "heartbeat_ttl": settings.HEARTBEAT_TTL_SEC,
            "server_time": protocol.iso(row.connected_at or timezone.now()),
            "protocol": 1,
            "reconnect": {"min_ms": settings.RECONNECT_MIN_MS, "max_ms": settings.RECONNECT_MAX_MS},
        }
    )
