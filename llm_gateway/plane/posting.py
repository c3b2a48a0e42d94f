"""Posting: requests over aiohttp's pool of connections, without what its session does for every one of them.

The pool, TLS, the checked addresses and the parser of answers are aiohttp's. What is left out is what these requests
never have: cookies, redirects, proxies, decompression, tracing, and a URL and headers put together anew each time.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

MAX_PREPARED: Final = 1_000
ALWAYS: Final = "Accept: */*\r\nAccept-Encoding: identity\r\n"


class Answer:
    """A provider's answer whose head is there; `content` is its body, to be read."""

    def __init__(self, connection: Any, message: Any, content: aiohttp.StreamReader) -> None:
        self._connection = connection
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = content

    @property
    def content_length(self) -> int | None:
        """How long the body is to be, None when nothing says it."""
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)  # the parser took it for a number

    @property
    def content_type(self) -> str:
        """What the body is, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return all of the body."""
        return await self.content.read()

    def close(self) -> None:
        """Cut the connection."""
        self._connection.close()

    def release(self) -> None:
        """Leave the connection to the next request: the body was read to its end."""
        self._connection.release()


class Body:
    """The body of a request; `was_sent` from the moment in which it goes out with its head."""

    __slots__ = ("content", "was_sent")

    def __init__(self, content: bytes) -> None:
        self.content, self.was_sent = content, False


class Post(ClientRequest):
    """What all requests to one address have in common, put together once."""

    connection_key: Any = None

    def __init__(self, url: str) -> None:
        address = URL(url)
        super().__init__("POST", address, loop=asyncio.get_running_loop())
        self.connection_key = ClientRequest.connection_key.__get__(self)
        host = self.headers["Host"]
        self.begin = f"POST {address.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\n{ALWAYS}"

    def head(self, headers: Mapping[str, str], length: int) -> bytes:
        """Return the head of a request; raises ValueError for a header that would end its line."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
            raise ValueError("A header holds the end of a line.")
        return f"{self.begin}{lines}Content-Length: {length}\r\n\r\n".encode()


class Handler(ResponseHandler):
    """A connection that is not told to go on reading, after each part that was taken, while it was never stopped."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading, and parse what came meanwhile (aiohttp)."""
        if self._reading_paused:
            super().resume_reading(resume_parser)


class Poster:
    """Sends requests over the connections of one pool."""

    def __init__(self, connector: aiohttp.TCPConnector, *, timeout: aiohttp.ClientTimeout, read_bytes: int) -> None:
        self.connector, self.timeout, self.read_bytes = connector, timeout, read_bytes
        connector._factory = partial(Handler, loop=asyncio.get_running_loop())  # type: ignore[assignment]
        self._prepared: dict[str, Post] = {}

    async def post(self, url: str, *, body: Body, headers: Mapping[str, str]) -> Answer:
        """Send a request and return the head of its answer; raises aiohttp.ClientError, OSError, TimeoutError."""
        request = self._prepared.get(url) or self._prepare(url)
        head = request.head(headers, len(body.content))
        connection = await self.connector.connect(request, [], self.timeout)
        try:
            protocol = connection.protocol
            if protocol is None or protocol.transport is None or protocol.transport.is_closing():
                raise aiohttp.ClientConnectionResetError("The connection was closed.")
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=self.read_bytes)
            body.was_sent = True
            protocol.transport.write(head + body.content)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
            return Answer(connection, message, content)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientPayloadError(error.message) from error
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self.connector.close()

    def _prepare(self, url: str) -> Post:
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
        request = self._prepared[url] = Post(url)
        return request
