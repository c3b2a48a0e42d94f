"""The quick way of HTTP: plain calls of the gateway are read and answered without h11, a third of what a call costs.

Only between requests, when h11 has nothing begun, is one looked at; what is not plain (moolai/plain.py), and whatever
follows it until h11 is idle again, goes to h11, with its sizes and deadlines (moolai/wire.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h11
from django.conf import settings
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, RequestResponseCycle

from llm_gateway.plane.exchange import GONE
from moolai import plain
from moolai.wire import RequestProtocol

CLOSE: Final = (b"connection", b"close")
MIN_STATUS, MAX_STATUS = 200, 599  # of an answer; those below are no end
Message = dict[str, Any]
_line: Final = b": ".join


class QuickProtocol(RequestProtocol):
    """An HTTP connection that answers plain calls itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held = bytearray()  # a plain request whose body is not whole, or what follows one that is being answered
        self.awaited: plain.Plain | None = None
        self.is_answering = False
        self.rested_at = 0.0  # when the last plain call was answered (the loop's clock)

    def data_received(self, data: bytes) -> None:
        """Answer a plain call, or hand on to h11 what is none."""
        if self.is_answering:
            self.held += data
            self.flow.pause_reading()
        elif self.awaited is not None:
            self._go_on(self.awaited, data)
        elif self._is_between() and (found := plain.read(data)) is not None:
            self._begin(found, data)
        else:
            super().data_received(data)

    def expire(self) -> None:
        """Let h11 refuse a body that did not arrive in time."""
        if self.awaited is not None and self.phase == "body":
            self._leave_to_h11()
        else:
            super().expire()

    def shutdown(self) -> None:
        """End in order: a call whose body is on its way is h11's, which waits for it and closes after the answer."""
        if self.awaited is not None:
            self._leave_to_h11()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the call that its client left."""
        self.awaited = None
        super().connection_lost(exc)
        if isinstance(self.cycle, QuickCycle):
            self.cycle.leave()

    def on_response_complete(self) -> None:
        """Go on with what was sent meanwhile."""
        if not self.is_answering:
            super().on_response_complete()
            return
        self.is_answering = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._rest()
        self.flow.resume_reading()
        if self.held:
            data, self.held = bytes(self.held), bytearray()
            self.data_received(data)

    def _rest(self) -> None:
        """Wait for the next request for a while; a timer that runs already is left alone until it rings."""
        self.rested_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that asks nothing more; one that did since the timer began has the rest of its time."""
        self.timeout_keep_alive_task = None
        if self.is_answering or self.awaited is not None:
            return  # the end of that begins anew
        seconds = self.rested_at + self.timeout_keep_alive - self.loop.time()
        if seconds > 0.001:
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _is_between(self) -> bool:
        conn = self.parser
        if self.is_refused or conn.refusal is not None or conn.our_state is not h11.IDLE:
            return False
        return conn.their_state is h11.IDLE and not conn.has_part_of_head

    def _begin(self, found: plain.Plain, data: bytes) -> None:
        self.waiting.pop(self, None)
        if len(data) >= found.size:
            self._answer(found, data)
            return
        self.held += data
        self.awaited = found
        self.began_at = self.loop.time()
        self._expect("body", within_seconds=settings.HTTP_BODY_TIMEOUT_SEC)

    def _go_on(self, found: plain.Plain, data: bytes) -> None:
        self.held += data
        if len(self.held) >= found.size:
            whole, self.held, self.awaited = bytes(self.held), bytearray(), None
            self._answer(found, whole)

    def _leave_to_h11(self) -> None:
        data, self.held, self.awaited = bytes(self.held), bytearray(), None
        self.begin("")
        super().data_received(data)  # counts from the first byte

    def _answer(self, found: plain.Plain, data: bytes) -> None:
        if self.phase:
            self.begin("")
        self.began_at, self.is_answering = None, True
        self.held += data[found.size :]
        cycle = self.cycle = QuickCycle(self, found, data[found.head_bytes : found.size])
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


class QuickCycle(RequestResponseCycle):
    """One plain call and its answer; ASGI's side of it."""

    def __init__(self, protocol: QuickProtocol, found: plain.Plain, body: bytes) -> None:
        path = protocol.root_path + found.path.decode()
        scope: Message = {
            "type": "http",
            "asgi": {"version": protocol.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": protocol.server,
            "client": protocol.client,
            "scheme": protocol.scheme,
            "method": "POST",
            "root_path": protocol.root_path,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": found.fields,
            "state": {},
            "extensions": {GONE: self._call_when_gone},
        }
        super().__init__(
            scope=scope,  # type: ignore[arg-type]
            conn=protocol.parser,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=protocol.on_response_complete,
        )
        self.content: bytes | None = body
        self.when_gone: Callable[[], None] | None = None
        self.head = b""
        self.left: int | None = None  # bytes of the answer that are to come, None when it is sent in chunks

    def _call_when_gone(self, call: Callable[[], None] | None) -> None:
        self.when_gone = call
        if call is not None and self.disconnected:
            call()

    def leave(self) -> None:
        """Tell who asked for it that the client left before its answer was whole."""
        if not self.response_complete and self.when_gone is not None:
            self.when_gone()

    async def receive(self) -> Message:  # type: ignore[override]
        """Return the body, and then wait for the end (ASGI)."""
        if self.content is not None and not self.disconnected:
            content, self.content = self.content, None
            return {"type": "http.request", "body": content, "more_body": False}
        if not self.disconnected and not self.response_complete:
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send the head of the answer, or a part of its body (ASGI)."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("The answer is complete already.")
        if not self.response_started:
            self.head = self._head(message["status"], message.get("headers", []))
            self.response_started = True  # it is sent with the first part of the body, as ASGI says
            return
        data, is_last = message.get("body", b""), not message.get("more_body", False)
        head, self.head = self.head, b""
        self.transport.write(head + self._framed(data, is_last=is_last))
        if is_last:
            self._complete()

    async def run_asgi(self, app: Any) -> None:
        """Run the application; a call that ends without a whole answer ends its connection too."""
        try:
            await super().run_asgi(app)
        finally:
            if not self.response_complete:
                self.transport.close()

    def _head(self, status: int, given: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head of an answer; nothing has changed when it raises, for what cannot stand in one."""
        if not MIN_STATUS <= status <= MAX_STATUS:
            raise RuntimeError("This is no status of an answer.")
        fields, known = [*self.default_headers, *given], {name.lower(): value for name, value in given}
        length = known.get(b"content-length")
        left = None if length is None else int(length)
        if left is None:
            fields.append((b"transfer-encoding", b"chunked"))
        is_last = known.get(b"connection", b"").lower() == b"close"
        if not is_last and not self.keep_alive:
            fields.append(CLOSE)
        lines = [b"HTTP/1.1 %d %b" % (status, STATUS_PHRASES[status]), *map(_line, fields)]
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields) or b"\0" in head:
            raise RuntimeError("A header of the answer holds the end of a line.")
        self.left = left
        self.keep_alive = self.keep_alive and not is_last
        return head + b"\r\n\r\n"

    def _framed(self, data: bytes, *, is_last: bool) -> bytes:
        if self.left is None:
            part = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            return part + b"0\r\n\r\n" if is_last else part
        self.left -= len(data)
        if self.left < 0 or (is_last and self.left):
            raise RuntimeError("The answer is not as long as its head says.")
        return data

    def _complete(self) -> None:
        self.response_complete = True
        self.scope["extensions"].clear()  # they hold this object, which would wait for the collector
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
