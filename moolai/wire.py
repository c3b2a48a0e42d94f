"""The wire of HTTP: uvicorn's h11 protocol with deadlines; whatever it refuses is answered with the one error object.

Nothing here costs a request that arrives whole more than a few comparisons: a timer runs only while a part is missing.
"""

import asyncio
import errno
import json
import logging
import os
import resource
import time
from http import HTTPStatus
from typing import Any, ClassVar, Final

import h11
import orjson
from django.conf import settings
from uvicorn.protocols.http.h11_impl import H11Protocol

from moolai import errors, gateway, logs
from moolai.parser import ALLOWED, Parser, Refusal

LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 16 * 1024 * 1024
SPARE_DESCRIPTORS: Final = 64  # for databases, brokers and files, when sockets have taken the rest
logger = logging.getLogger("moolai.requests")
trouble = logging.getLogger("moolai.wire")


class Complaint:
    """A warning about something that can happen very often: one line a minute, which says how often."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.count = 0
        self.said_at = -60.0

    def add(self) -> None:
        """Count one more, and say so when the last line is a minute old."""
        self.count += 1
        now = time.monotonic()
        if now - self.said_at >= 60:
            trouble.warning(self.text, self.count)
            self.count, self.said_at = 0, now


CROWDED: Final = Complaint("too many connections without a request: the oldest was closed (%d since the last line)")
EXHAUSTED: Final = Complaint("out of file descriptors: connections are turned away (%d since the last line)")


class RequestProtocol(H11Protocol):
    """An HTTP connection whose requests must arrive in time and in size; hands over to `ws` on an upgrade."""

    # Connections that have never completed a request's head, oldest first: the only ones that may be crowded out.
    waiting: ClassVar[dict["RequestProtocol", None]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser = Parser()
        self.conn = self.parser
        self.phase = ""
        self.deadline: asyncio.TimerHandle | None = None
        self.began_at: float | None = None
        self.is_refused = self.is_handed_over = False
        self.discarded_bytes = 0
        self.stall: asyncio.TimerHandle | None = None

    # --- the life of a connection --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first byte, unless there is no room."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if not _has_room(transport):
            EXHAUSTED.add()
            self.refuse(Refusal("overloaded"), linger_seconds=0)
            return
        self.waiting[self] = None
        if len(self.waiting) > settings.HTTP_MAX_WAITING:
            CROWDED.add()
            next(iter(self.waiting)).cut()
        self.begin("idle", at=self.loop.time() + settings.HTTP_IDLE_TIMEOUT_SEC)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.begin("")
        self.waiting.pop(self, None)
        if self.stall is not None:
            self.stall.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; once it is refused, only make the client's writing end well."""
        if self.is_refused:
            self.discarded_bytes += len(data)
            if self.discarded_bytes > LINGER_BYTES:
                self.flow.pause_reading()
            return
        if self.began_at is None:
            self.began_at = self.loop.time()
        super().data_received(data)

    def handle_events(self) -> None:
        """Read what has arrived; then see what it was, and what is still missing."""
        super().handle_events()
        if self.parser.refusal is not None:
            self.refuse(self.parser.refusal)
        elif not self.is_handed_over:
            self.watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the WebSocket protocol, which has deadlines of its own."""
        self.is_handed_over = True
        self.begin("")
        self.waiting.pop(self, None)
        super().handle_websocket_upgrade(event)

    def shutdown(self) -> None:
        """End in order; a refused connection only has to be closed."""
        if self.is_refused:
            self.transport.close()
        else:
            super().shutdown()

    # --- deadlines -----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Run the deadline for what is missing: both count from the first byte of the request."""
        if self.parser.their_state is h11.SEND_BODY:
            self.waiting.pop(self, None)
            self._expect("body", within_seconds=settings.HTTP_BODY_TIMEOUT_SEC)
        elif self.parser.has_part_of_head:
            self._expect("head", within_seconds=settings.HTTP_HEAD_TIMEOUT_SEC)
        else:
            self.began_at = None
            if self.phase:
                self.waiting.pop(self, None)
                self.begin("")

    def _expect(self, phase: str, *, within_seconds: float) -> None:
        if self.began_at is None:
            self.began_at = self.loop.time()
        if self.phase != phase:
            self.begin(phase, at=self.began_at + within_seconds)

    def begin(self, phase: str, *, at: float = 0.0) -> None:
        """Enter a phase that must be over at `at` (the loop's clock); the empty phase has no end."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.phase = phase
        self.deadline = self.loop.call_at(at, self.expire) if phase else None

    def expire(self) -> None:
        """End a connection that was silent, or whose request took too long to arrive."""
        if self.phase == "idle":
            self.transport.close()
        elif self.phase == "lingering":
            self.cut()
        else:
            self.refuse(Refusal("request_timeout", f"The {self.phase} of the request did not arrive in time."))

    def pause_writing(self) -> None:
        """Start to look whether the client reads its answer at all."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """Stop looking: it does."""
        super().resume_writing()
        if self.stall is not None:
            self.stall.cancel()

    def _look_again(self, unread_bytes: int | None = None) -> None:
        """Cut a client that has taken nothing since the last look; a slow one may take its time."""
        now_unread = self.transport.get_write_buffer_size()
        if unread_bytes is not None and now_unread >= unread_bytes:
            self.cut()
        else:
            self.stall = self.loop.call_later(settings.HTTP_IDLE_TIMEOUT_SEC, self._look_again, now_unread)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that asks nothing more, also when its last answer was never read."""
        super().timeout_keep_alive_handler()
        self.close()

    def close(self) -> None:
        """Close once everything is written, or soon."""
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def cut(self) -> None:
        """End the connection at once."""
        self.waiting.pop(self, None)
        self.transport.abort()

    # --- refusing ------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal, *, linger_seconds: float = LINGER_SECONDS) -> None:
        """Answer with an error when the line is free for one, and close.

        A socket that is closed with unread input is reset, and the reset may overtake the answer: so the rest of what
        the client sends is read, and thrown away, for a moment.
        """
        if self.is_refused or self.transport.is_closing():
            return
        self.is_refused = True
        self.waiting.pop(self, None)
        self.begin("")
        self._unset_keepalive_if_required()
        is_free = self.parser.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if is_free:
            self.transport.write(self.answer(refusal))
        if is_free and linger_seconds and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
            self.begin("lingering", at=self.loop.time() + linger_seconds)
        else:
            self.close()

    def answer(self, refusal: Refusal) -> bytes:
        """Return the whole response to a request that is not read, and log it like any other."""
        status, default = errors.CODES[refusal.code]
        request = self.parser.request if self.parser.our_state is h11.SEND_RESPONSE else None
        given = next((value for name, value in request.headers if name == b"x-request-id"), b"") if request else b""
        request_id = logs.sane_request_id(given.decode("latin-1"))
        body = _body(request, refusal.code, refusal.detail or default, request_id=request_id)
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(f"{name.decode()}: {value.decode()}" for name, value in self.server_state.default_headers),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "X-Content-Type-Options: nosniff",
            f"X-Request-ID: {request_id}",
            *([f"Allow: {ALLOWED}"] if status == 405 else ["Retry-After: 5"] if status == 503 else []),
        ]
        method, target = (request.method.decode(), request.target.decode()) if request else ("-", "-")
        extra = {"error": refusal.code, "request_id": request_id, "remote_address": (self.client or ("",))[0]}
        if status != 503:
            logger.info("%s %s %s", method, target.partition("?")[0][:200], status, extra=extra)
        return "\r\n".join([*head, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else body)


def _body(request: h11.Request | None, code: str, detail: str, *, request_id: str) -> bytes:
    """Return the error object of the surface that the request is for."""
    path = request.target.decode("latin-1").partition("?")[0] if request is not None else ""
    if gateway.is_surface(path):
        return orjson.dumps(gateway.refusal(path, code, detail))
    return json.dumps(errors.body(code, detail, request_id=request_id)).encode()


def look_for_descriptors() -> None:
    """Complain when the kernel gives no file descriptor any more."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            EXHAUSTED.add()


def _has_room(transport: asyncio.BaseTransport) -> bool:
    """Tell whether descriptors are left: the kernel gives the lowest free number, so the new one says how many."""
    raw, limit = transport.get_extra_info("socket"), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or raw is None or raw.fileno() < limit - min(SPARE_DESCRIPTORS, limit // 8)
