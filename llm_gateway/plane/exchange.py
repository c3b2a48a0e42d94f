"""An exchange: one HTTP request of the data plane and its answer, on bare ASGI."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import orjson

from llm_gateway.plane.callers import MAX_SECRET_LENGTH, Presented, Standing
from moolai.errors import AppError

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
MAX_BODY_BYTES: Final = 10 * 1024 * 1024
BODY_SECONDS: Final = 30.0
JSON: Final = (b"content-type", b"application/json")
EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
NO_STORE: Final = (b"cache-control", b"no-cache, no-store")
# What a server may offer among ASGI's extensions: called with what is to be called when the client leaves, or None.
GONE: Final = "moolai.gone"
logger = logging.getLogger("moolai.requests")


class Exchange:
    """A request; `status` is 0 until the answer has begun, `has_head` says whether its head went out."""

    def __init__(self, scope: Message, receive: Receive, send: Send, *, request_id: str = "") -> None:
        self.scope, self._receive, self._send, self.request_id = scope, receive, send, request_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.began_at = time.monotonic()
        self.status = 0
        self.has_head = False
        self.is_over = False
        self.organization_id = ""
        self.call_id = ""  # what the ledger is to know the call by, where that is said before
        self.standing: Standing | None = None  # whose call it is, from when one is made
        self.wanted = ""  # the model that was asked for
        self.account: Account | None = None  # from when the call's money was reserved
        self.more: Headers = []  # what every answer from here on carries

    def header(self, name: bytes) -> str:
        """Return a header's text, "" without it."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() if value else ""

    def presented(self) -> Presented:
        """Return the credential and the organization that the headers name; raises `unauthenticated`."""
        scheme, _, secret = self.header(b"authorization").partition(" ")
        if scheme.lower() != "bearer":
            if scheme and not self.header(b"x-api-key"):
                raise AppError("unauthenticated", "Send `Authorization: Bearer …`.")
            secret = self.header(b"x-api-key")
        secret = secret.strip()
        if not secret or len(secret) > MAX_SECRET_LENGTH:
            raise AppError("unauthenticated")
        wanted = self.header(b"x-organization-id") or self.header(b"openai-organization")
        return Presented(secret, wanted[:200])

    async def read(self) -> bytes:
        """Return the body; raises `payload_too_large` and `request_timeout`. moolai/wire.py is stricter, and sooner."""
        message = await self._receive()
        if not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                raise AppError("payload_too_large", TOO_LARGE)
            return body
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._rest(message)
        except TimeoutError:
            raise AppError("request_timeout") from None

    async def _rest(self, message: Message) -> bytes:
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise AppError("payload_too_large", TOO_LARGE)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await self._receive()

    async def wait_until_gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def tap(self, take: Callable[[bytes], None]) -> None:
        """Have `take` see the body of the answer as it is sent, part by part."""
        send = self._send

        async def tapped(message: Message) -> None:
            if message["type"] == "http.response.body":
                take(message.get("body", b""))
            await send(message)

        self._send = tapped

    # --- answering --------------------------------------------------------------------------------------------------

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        await self._start(status, [*headers, (b"content-length", str(len(body)).encode())])
        self.is_over = True
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def answer_json(self, status: int, document: Any, headers: Headers | None = None) -> None:
        """Send a document."""
        await self.answer(status, orjson.dumps(document), [JSON, *(headers or [])])

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer of unknown length."""
        await self._start(status, headers)

    async def write(self, body: bytes) -> None:
        """Send a part of it, as fast as the client reads."""
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """End it, with a last part."""
        self.is_over = True
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        all_headers = [*headers, (b"x-request-id", self.request_id.encode()), NOSNIFF, NO_STORE, *self.more]
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
        self.has_head = True


class Gone(Exception):
    """The client left before its request was whole."""


TOO_LARGE: Final = "Send a smaller body: 10 MiB at most."


class Departure:
    """Cancels the block when the client leaves, and ends the block then as if nothing had happened: nobody listens.

    `has_left` tells afterwards. Where the server calls us when a client leaves (GONE), no task has to wait for it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.has_left = False
        self.watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Departure":
        self.task = asyncio.current_task()
        self.tells = self.exchange.scope.get("extensions", {}).get(GONE)
        if self.tells is not None:
            self.tells(self._left)
        else:
            self.watch = asyncio.get_running_loop().create_task(self.exchange.wait_until_gone())
            self.watch.add_done_callback(self._waited)
        return self

    def _waited(self, watch: "asyncio.Task[None]") -> None:
        if not watch.cancelled():
            self._left()

    def _left(self) -> None:
        if not self.exchange.is_over and self.task is not None and not self.task.done():
            self.has_left = True
            self.task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self.watch is not None:
            self.watch.remove_done_callback(self._waited)
            self.watch.cancel()
        elif self.tells is not None:
            self.tells(None)
        if self.has_left and kind is asyncio.CancelledError and self.task is not None:
            self.task.uncancel()
            return True
        return False
