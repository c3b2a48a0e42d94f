"""Plain calls: what is read without h11 is read as h11 would, and answered as ASGI says."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.plane.exchange import GONE
from moolai import plain
from moolai.parser import Parser
from moolai.quick import QuickCycle, QuickProtocol

pytestmark = pytest.mark.once
PATH = "/v1/chat/completions"


def call(path: str = PATH, *, headers: str = "", body: bytes = b'{"model":"m"}', length: str = "") -> bytes:
    """Return a call as client libraries write it."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


OTHERS = {
    "another path": call("/v1/models"),
    "a query": call(f"{PATH}?a=b"),
    "another method": call().replace(b"POST", b"PUT"),
    "HTTP/1.0": call().replace(b"1.1", b"1.0"),
    "a whole address": call(f"http://a{PATH}"),
    "no host": call().replace(b"Host: a\r\n", b""),
    "an empty host": call().replace(b"Host: a", b"Host: "),
    "two hosts": call(headers="Host: b\r\n"),
    "two lengths": call(headers="Content-Length: 13\r\n"),
    "two ends": call(headers="Connection: keep-alive\r\nConnection: close\r\n"),
    "chunks": call(headers="Transfer-Encoding: chunked\r\n"),
    "a signed length": call(length="+13"),
    "a list of lengths": call(length="13, 13"),
    "a length in other digits": call(length="13").replace(b"13", "١٣".encode()),
    "a long body": call(length=str(plain.MAX_BODY_BYTES + 1)),
    "an expectation": call(headers="Expect: 100-continue\r\n"),
    "an upgrade": call(headers="Connection: upgrade\r\nUpgrade: websocket\r\n"),
    "an end": call(headers="Connection: close\r\n"),
    "a space before the colon": call(headers="X-A : b\r\n"),
    "a folded header": call(headers="X-A: b\r\n c\r\n"),
    "a bare line feed": call(headers="X-A: b\nX-B: c\r\n"),
    "a bare carriage return": call(headers="X-A: b\rX-B: c\r\n"),
    "a null": call(headers="X-A: \0\r\n"),
    "no ASCII": call(headers="X-A: é\r\n"),
    "a line without a colon": call(headers="nonsense\r\n"),
    "too many fields": call(headers="".join(f"X-{number}: b\r\n" for number in range(100))),
    "a large head": call(headers=f"X-A: {'b' * 16_384}\r\n"),
    "an empty line first": b"\r\n" + call(),
    "half a head": call()[:60],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_plain_is_left_to_the_parser(kind: str) -> None:
    assert plain.read(OTHERS[kind]) is None


def by_h11(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes, Any]:
    """Return path, headers and body of the one request in `data`, and what comes after it."""
    parser = Parser()
    parser.receive_data(data)
    request, body = parser.next_event(), b""
    assert type(request) is h11.Request, parser.refusal
    while type(event := parser.next_event()) is h11.Data:
        body += event.data
    assert type(event) is h11.EndOfMessage
    return request.target, list(request.headers), body, parser.trailing_data[0]


GOOD = call(headers="Authorization: Bearer mk_x\r\nConnection: Keep-Alive\r\nX-Request-ID:\t a b \r\nAccept:\r\n")
PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b" ",
        b"\t",
        b"\0",
        b",",
        b"1",
        b"\xff",
        b"Host: a\r\n",
        b"X-B: c\r\nx-b: d\r\n",
        b"\r\n\r\n",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 3), PIECES), max_size=3))
def test_what_is_read_without_the_parser_is_read_as_it_would(changes: list[tuple[int, int, bytes]]) -> None:
    data = GOOD
    for place, cut, piece in changes:
        data = data[:place] + piece + data[place + cut :]
    found = plain.read(data)
    assert found is not None or changes
    if found is None or len(data) < found.size:
        return
    path, headers, body, rest = by_h11(data)
    assert (found.path, found.fields, data[found.head_bytes : found.size]) == (path, headers, body)
    assert data[found.size :] == rest


def test_a_header_that_stands_twice_is_read_as_the_parser_reads_it() -> None:
    data = call(headers="Authorization: Bearer a\r\nX-A: b\r\nauthorization: Bearer c\r\n")
    found = plain.read(data)
    assert found is not None
    assert found.fields == by_h11(data)[1]


# --- answers ---------------------------------------------------------------------------------------------------------

gone: list[str] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer the body in the way that the path asks for."""
    message = await receive()
    while message.get("more_body"):  # it came by h11
        more = await receive()
        message = {**more, "body": message["body"] + more.get("body", b"")}
    if scope["path"] == "/v1/messages":  # waits until its client leaves
        left = asyncio.Event()
        scope["extensions"][GONE](left.set)
        await left.wait()
        gone.append((await receive())["type"])
        return
    status = int(message["body"][1:]) if message["body"][:1] == b"S" else 200
    headers = {
        PATH: [(b"content-length", b"%d" % len(message["body"]))],
        "/v1/completions": [(b"x-a", b"b\r\nx-injected: c")],
        "/v1/embeddings": [(b"content-length", b"1")],
        "/v1/responses": [(b"Content-Length", b"28"), (b"Connection", b"close")] if message["body"][:1] == b"D" else [],
    }.get(scope["path"], [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"] == "/v1/responses":
        for _ in range(2):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
    await send({"type": "http.response.body", "body": message["body"]})


async def until(is_so: Callable[[], bool]) -> None:
    """Return when something is so, within five seconds."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # whoever makes it so tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """Serve the application on the loop that runs, as the product is served; give the port."""
    config = uvicorn.Config(
        application, port=0, http=QuickProtocol, lifespan="off", log_config=None, access_log=False, server_header=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def exchange(port: int, *pieces: bytes, ends_with: bytes = b"") -> bytes:
    """Send pieces, one after another, and return what came until the server closed or the end was read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(5):
        answer = await (reader.readuntil(ends_with) if ends_with else reader.read())
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def leftovers(count: int) -> int:
    """Return how many calls are still in memory after `count` were answered, without the collector's help."""
    async with served() as port:
        gc.collect()
        gc.disable()
        try:
            for number in range(count):
                body = b"%d." % number
                await exchange(port, call(body=body), ends_with=body)
            return sum(type(one) is QuickCycle for one in gc.get_objects())
        finally:
            gc.enable()


def test_an_answered_call_is_gone_from_memory_at_once() -> None:
    assert asyncio.run(leftovers(5)) <= 1  # the one of the last connection


async def answers() -> None:
    async with served() as port:
        both = call(body=b"first") + call(body=b"second")
        for cut in (1, 40, len(call(body=b"first")) - 3, len(call(body=b"first")) + 30):
            answer = await exchange(port, both[:cut], both[cut:], ends_with=b"second")
            assert answer.count(b"HTTP/1.1 200 OK") == 2
            assert answer.index(b"first") < answer.index(b"second")
        mixed = call() + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + call(body=b"last")
        assert (await exchange(port, mixed, ends_with=b"last")).count(b"200 OK") == 3
        answer = await exchange(port, call("/v1/responses", body=b"x" * 20), ends_with=b"0\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert body == b"4\r\npart\r\n4\r\npart\r\n14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n"
        answer = await exchange(port, call("/v1/responses", body=b"D" * 20))  # with headers as Django writes them
        assert answer.endswith(b"Connection: close\r\n\r\npartpart" + b"D" * 20)
        assert b"transfer-encoding" not in answer.lower()
        answer = await exchange(port, call("/v1/completions"))
        assert b"x-injected" not in answer
        assert answer.startswith(b"HTTP/1.1 500")
        assert b'{"model"' not in await exchange(port, call("/v1/embeddings"))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call("/v1/messages"))
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await until(lambda: bool(gone))
    assert gone == ["http.disconnect"]


@pytest.mark.parametrize("status", [99, 101, 600, 999])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_head_that_cannot_be_written_is_no_silence(status: int, is_plain: bool) -> None:
    async def ask() -> bytes:
        body = b"S%d" % status
        chunked = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode()
        by_h11 = chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        async with served() as port:
            return await exchange(port, call(body=body) if is_plain else by_h11)

    answer = asyncio.run(ask())  # and the connection was closed
    assert answer.startswith(b"HTTP/1.1 500") or (not is_plain and not answer)
    assert b"S%d" % status not in answer


async def last_answer() -> bytes:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        whole = call(body=b"half and half")
        writer.write(whole[:-4])
        await asyncio.sleep(0.05)

        async def go_on() -> bytes:
            await asyncio.sleep(0.4)
            writer.write(whole[-4:])
            async with asyncio.timeout(5):
                return await reader.read()

        answer = asyncio.create_task(go_on())
    writer.close()
    return await answer


def test_a_call_whose_body_is_on_its_way_is_answered_while_the_process_ends() -> None:
    answer = asyncio.run(last_answer())
    assert answer.endswith(b"\r\n\r\nhalf and half")  # and the connection was closed


def test_answers_are_whole_in_order_and_framed_or_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    quick: list[str] = []
    run = QuickCycle.run_asgi

    async def noted(self: QuickCycle, app: Any) -> None:
        quick.append(self.scope["path"])
        await run(self, app)

    monkeypatch.setattr(QuickCycle, "run_asgi", noted)
    asyncio.run(answers())
    assert quick.count(PATH) == 4, "plain calls go the quick way, also when their body comes later"
