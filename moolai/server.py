"""The web server: uvicorn with what our clients need beyond it (see docs/decisions/0002-web-server.md)."""

import asyncio
import socket as sockets
from collections.abc import Callable
from typing import Any, ClassVar, Final

import uvicorn
from django.conf import settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from llm_gateway.plane import inside, planes
from llm_gateway.workflows import endpoint as workflows
from monitoring.metrics import flushing
from monitoring.streams import desk as streams
from moolai import memory, quick, wire, ws
from orchestrators import hub
from orchestrators.limiter import Limiter

WIRE_LIMIT_BYTES: Final = 1024 * 1024  # above the protocol's own 256 KiB, so that its refusal can be sent as a frame
GONE_AFTER_SECONDS: Final = 2.0
PINGS_PER_SECOND: Final = 10
PINGS_BURST: Final = 50
_MALFORMED: Final = b'{"success": false, "error": "bad_request", "detail": "A header is malformed."}'
BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_MALFORMED), _MALFORMED)
)


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that notices a vanished peer, can be cut when its client does not read, and answers on the spot."""

    answer: Callable[[bytes], str | None] | None = None
    is_idle = False
    pings: Limiter | None = None
    replying: ClassVar["list[SocketProtocol]"] = []  # those with a reply to write in this turn of the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn on keep-alive: 60 s idle, then a probe every 15 s, gone after four (PROTOCOL §4.5)."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (sockets.AF_INET, sockets.AF_INET6):
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
            for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
                if hasattr(sockets, option):
                    raw.setsockopt(sockets.IPPROTO_TCP, getattr(sockets, option), value)

    def data_received(self, data: bytes) -> None:
        """Answer 400 to an upgrade that the parser of the handshake refuses; uvicorn would leave it hanging."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.handshake_complete = True
            self.transport.write(BAD_REQUEST)
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        """Offer the session a way to end a socket that does not drain."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["moolai.drop"] = self.drop
            extensions["moolai.answer_with"] = self.answer_with

    def handle_ping(self) -> None:
        """Answer a ping; a client that floods them, or does not read the answers, is cut: nobody needs more."""
        if self.pings is None:
            self.pings = Limiter(rate=PINGS_PER_SECOND, burst=PINGS_BURST)
        if self.writable.is_set() and self.pings.take(self.loop.time()):
            super().handle_ping()
        else:
            self.transport.abort()

    def answer_with(self, answer: Callable[[bytes], str | None] | None) -> None:
        """Have `answer` reply to text frames while the session waits for one; its None leaves the frame to it."""
        self.answer = answer

    def handle_text(self, event: Any) -> None:
        """Answer on the spot what needs no queue and no task; pass on everything else."""
        is_free = self.is_idle and self.queue.empty() and self.writable.is_set() and self.conn.state is State.OPEN
        reply = self.answer(event.data) if self.answer is not None and is_free and event.fin else None
        if reply is None:
            super().handle_text(event)
        elif reply:
            self.conn.send_text(reply.encode())
            if not self.replying:
                self.loop.call_soon(self.write_replies, self.replying)
            self.replying.append(self)

    @staticmethod
    def write_replies(replying: "list[SocketProtocol]") -> None:
        """Write the replies of this turn of the loop in one go: a client asleep is woken once, not for each of them."""
        found = replying.copy()
        replying.clear()
        for protocol in found:
            output = b"".join(protocol.conn.data_to_send())
            if output and not protocol.transport.is_closing():
                protocol.transport.write(output)

    async def receive(self) -> Any:
        """Wait for the next event; only meanwhile may `answer` overtake the session."""
        self.is_idle = True
        try:
            return await super().receive()
        finally:
            self.is_idle = False

    def drop(self, text: str, code: int) -> None:
        """Leave a last frame and the close code in the buffer, whatever waits there, and cut the line soon after."""
        if not self.transport.is_closing():
            if not self.close_sent:
                self.conn.send_text(text.encode())
                self.conn.send_close(code)
                self.close_sent = True
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.loop.call_later(GONE_AFTER_SECONDS, self.transport.abort)


class Server(uvicorn.Server):
    """Says goodbye to every orchestrator before uvicorn closes the sockets."""

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        """Announce this process before it takes sockets: what a killed one left open is cleared first."""
        hub.current()
        inside.install(asyncio.get_running_loop())
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Look once a second whether the kernel still gives descriptors: libuv drops connections without a word."""
        if counter % 10 == 0:
            wire.look_for_descriptors()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        """Stop listening, send `server_shutdown` to all sessions and streams, then shut down as uvicorn does."""
        for server in self.servers:
            server.close()
        await asyncio.gather(ws.shut_down(), streams.shut_down(), workflows.LOOKOUT.shut_down())
        await super().shutdown(sockets)
        await planes.shut_down()
        await asyncio.to_thread(flushing.stop)
        self._captured_signals.clear()  # uvicorn would raise them again: an ordered end is exit code 0


def run(*, host: str, port: int, fd: int | None = None) -> None:
    """Serve HTTP and `/ws` on host:port until SIGTERM or SIGINT."""
    options: dict[str, Any] = {"fd": fd} if fd is not None else {"host": host, "port": port}
    if settings.TLS_ENABLED:
        options |= {"ssl_certfile": settings.TLS_CERT_PATH, "ssl_keyfile": settings.TLS_KEY_PATH}
    config = uvicorn.Config(
        "moolai.asgi:application",
        loop="uvloop",
        http=quick.QuickProtocol,
        ws=SocketProtocol,
        ws_max_size=WIRE_LIMIT_BYTES,
        ws_ping_interval=None,
        ws_per_message_deflate=settings.WS_COMPRESSION,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=4096,
        proxy_headers=bool(settings.TRUSTED_PROXIES),
        forwarded_allow_ips=settings.TRUSTED_PROXIES or None,
        timeout_keep_alive=settings.HTTP_IDLE_TIMEOUT_SEC,
        timeout_graceful_shutdown=3,
        **options,
    )
    config.load()
    memory.settle()
    Server(config).run()
