"""Requests to providers as they go over the wire: one connection for many, and nothing in a header but a header."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from llm_gateway.plane import sending
from llm_gateway.plane.catalog import Source
from llm_gateway.plane.posting import Answer, Body, Handler, Poster

pytestmark = pytest.mark.once
ANSWER = b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"


class Provider(asyncio.Protocol):
    """Answers each request with what `answer` says; remembers what came, and over how many connections."""

    answer: Callable[[bytes], bytes] = staticmethod(lambda _: ANSWER % b"200 OK")

    def __init__(self, seen: list[bytes], lines: list[Any]) -> None:
        self.seen, self.lines = seen, lines

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.lines.append(transport)

    def data_received(self, data: bytes) -> None:
        self.seen.append(data)
        self.transport.write(type(self).answer(data))


async def post(answers: list[bytes], *, headers: dict[str, str]) -> tuple[list[bytes], int, list[int]]:
    """Post once for each answer; return what the provider saw, over how many connections, and the statuses."""
    seen: list[bytes] = []
    lines: list[Any] = []
    left, statuses = iter(answers), []

    class Here(Provider):
        answer = staticmethod(lambda _: next(left))

    server = await asyncio.get_running_loop().create_server(lambda: Here(seen, lines), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat?api-version=1"
    poster = Poster(aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(sock_connect=1), read_bytes=1024)
    try:
        for _ in answers:
            answer = await poster.post(url, body=Body(b"[1]"), headers=headers)
            statuses.append(answer.status)
            assert (answer.content_type, answer.content_length) == ("application/json", 2)
            assert await answer.read() == b"{}"
            answer.release()
    finally:
        await poster.close()
        server.close()
    return seen, len(lines), statuses


def test_requests_share_a_connection_and_a_head() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    answers = [ANSWER % b"200 OK", early + ANSWER % b"200 OK", ANSWER % b"529 Overloaded"]
    seen, lines, statuses = asyncio.run(post(answers, headers={"Authorization": "Bearer k", "X-A": "b"}))
    assert (lines, statuses, len(set(seen))) == (1, [200, 200, 529], 1)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat?api-version=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    lines_of_head = head.split(b"\r\n")[2:]
    wanted = [b"Accept: */*", b"Accept-Encoding: identity", b"Authorization: Bearer k", b"X-A: b", b"Content-Length: 3"]
    assert (lines_of_head, body) == (wanted, b"[1]")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_that_is_larger_than_what_is_read_ahead_arrives_whole(is_chunked: bool) -> None:
    content = b"0123456789abcdef" * 65_536
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(content)
    parts = [content[place : place + 999] for place in range(0, len(content), 999)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""]) if is_chunked else content

    class Here(Provider):
        answer = staticmethod(lambda _: b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (length, sent))

    async def read() -> list[int]:
        lines: list[Any] = []
        server = await asyncio.get_running_loop().create_server(lambda: Here([], lines), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        poster = Poster(aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(sock_connect=1), read_bytes=1024)
        for is_slow in (True, False):
            answer, found = await poster.post(url, body=Body(b"[1]"), headers={}), list[bytes]()
            while part := await answer.content.readany():
                found.append(part)
                await asyncio.sleep(0.001 if is_slow else 0)
            assert b"".join(found) == content
            answer.release()
        await poster.close()
        server.close()
        return [len(lines)]

    assert asyncio.run(read()) == [1]


@pytest.mark.parametrize("bad", ["b\r\nX-B: c", "b\nX-B: c", "b\rc", "b\0c"])
def test_a_header_cannot_end_its_line(bad: str) -> None:
    with pytest.raises(ValueError, match="end of a line"):
        asyncio.run(post([b""], headers={"X-A": bad}))


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ANSWER[:5]])
def test_an_answer_that_is_none_breaks_the_request(answer: bytes) -> None:
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        asyncio.run(asyncio.wait_for(post([answer], headers={}), timeout=0.5))


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-request-id": "req_8f1c-2.a:b"}, "req_8f1c-2.a:b"),
        ({"request-id": "req_011CU"}, "req_011CU"),
        ({}, ""),
        ({"x-request-id": "what the client said 1"}, ""),
        ({"x-request-id": "word"}, ""),
        ({"x-request-id": "a1" * 65}, ""),
        ({"x-request-id": "sk-canary-0123456789"}, ""),
        ({"x-request-id": "own-secret-77"}, ""),
    ],
)
def test_only_what_looks_like_an_id_and_is_no_key_is_a_providers_id(headers: dict[str, str], found: str) -> None:
    answer = Answer(None, SimpleNamespace(code=200, headers=CIMultiDict(headers)), None)  # type: ignore[arg-type]
    source = Source("prv_1", "openai", "openai", "https://a.example", "own-secret-77")
    assert sending.request_id(answer, source) == found


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25, 0.25),
        ({"retry-after": formatdate(time.time() + 3_600, usegmt=True)}, 3_000, 3_600),
        ({"retry-after": formatdate(time.time() + 3_600)}, 3_000, 3_600),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0, 0),
        ({"retry-after": "Sun, 06 Nov 2994 08:49:37 GMT"}, None, None),
        ({"retry-after": "Sun, 99 Nov 1994 08:49:37 GMT"}, None, None),
        ({"retry-after": "Sun, 06 Nov 9999 23:59:59 -2359"}, None, None),
        ({"retry-after": f"Sun, 06 Nov {9**40} 08:49:37 GMT"}, None, None),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "nan"}, None, None),
        ({}, None, None),
    ],
)
async def test_what_a_provider_says_of_when_to_ask_again(
    headers: dict[str, str], least: float | None, most: float | None
) -> None:
    content = aiohttp.StreamReader(Handler(asyncio.get_running_loop()), 1024)
    content.feed_eof()
    answer = Answer(None, SimpleNamespace(code=429, headers=CIMultiDict(headers)), content)
    found = await sending.problem_of(answer, Source("prv_1", "openai", "openai", "https://a.example", "own-secret-77"))
    if least is None or most is None:
        assert found.retry_after is None
    else:
        assert found.retry_after is not None
        assert least <= found.retry_after <= most
