"""What the product is compared with, served by the same uvicorn with the same options.

`bare` is the least that can be done under ASGI: no parsing, a constant answer. `stock` is the textbook consumer of
Channels under its own routing; `writers` is an asyncio.StreamWriter for each connection, and one loop over them.
`provider` is a model provider that answers at once, `pass` the least that passes calls on to UPSTREAM with aiohttp.
Run: `python -m benchmarks.baselines bare|stock|writers|provider|pass PORT`.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import uvicorn
import uvloop

ANSWER = '{"type":"heartbeat_ack","seq":1,"server_time":"2026-01-01T00:00:00.000000Z"}'


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer each frame with the same small JSON (ASGI)."""
    if scope["type"] != "websocket":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "text": ANSWER})


def stock() -> Any:
    """Return the Channels application: an AsyncJsonWebsocketConsumer behind ProtocolTypeRouter and URLRouter."""
    import django
    from django.conf import settings

    settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}})
    django.setup()
    from channels.generic.websocket import AsyncJsonWebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    class Echo(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
        async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
            now = datetime.now(UTC).isoformat()
            await self.send_json({"type": "heartbeat_ack", "seq": content["seq"], "server_time": now})

    routes = URLRouter([path("ws", Echo.as_asgi())])
    return ProtocolTypeRouter({"websocket": routes, "http": bare})


async def writers(port: int) -> None:
    """Write what one connection sends to all the others, framed as the product's streams are, until cancelled."""
    listening: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET /stream"):
            listening.add(writer)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            await reader.read()
            listening.discard(writer)
        else:
            content = request.partition(b"?")[2].partition(b" ")[0]
            for one in listening:
                one.write(b"%x\r\n%b\r\n" % (len(content), content))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


class Provider(asyncio.Protocol):
    """Answers every request at once: a chat completion, or 20 chunks of one."""

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Remember where to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.buffer += data
        while True:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not separator or len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            self.transport.write(STREAMED if b'"stream":true' in body else WHOLE)


def _answers() -> tuple[bytes, bytes]:
    """Return a whole answer and a streamed one, as they are on the wire."""
    head = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini"}
    usage = {"prompt_tokens": 11, "completion_tokens": 20, "total_tokens": 31}
    message = {"role": "assistant", "content": "word " * 20}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    chunks = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}] * 20
    told = [{**head, "object": "chat.completion.chunk", "choices": [chunk]} for chunk in chunks]
    told.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in told] + [b"data: [DONE]\n\n"]
    streamed = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"
    kind = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
    return (
        kind % b"application/json" + b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole),
        kind % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n" + streamed,
    )


WHOLE, STREAMED = _answers()


async def provider(port: int) -> None:
    """Serve the instant provider until cancelled."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


_sessions: list[aiohttp.ClientSession] = []


async def passing(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pass a call on to UPSTREAM and its answer back, reading neither (ASGI)."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    if not _sessions:
        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False))
    url = os.environ["UPSTREAM"] + scope["path"].removeprefix("/v1")
    # Compact, as the provider looks for its one word there.
    async with _sessions[0].post(
        url, data=body.replace(b'": ', b'":'), headers={"Authorization": "Bearer x"}
    ) as answer:
        kind = [(b"content-type", answer.headers["Content-Type"].encode())]
        if answer.content_length is not None:
            content = await answer.read()
            kind.append((b"content-length", str(len(content)).encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": kind})
            await send({"type": "http.response.body", "body": content})
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": kind})
        async for part in answer.content.iter_any():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main(name: str, port: int) -> None:
    """Serve the baseline `name` on 127.0.0.1 until SIGTERM."""
    if name == "writers":
        uvloop.run(writers(port))
        return
    if name == "provider":
        uvloop.run(provider(port))
        return
    application = {"bare": bare, "pass": passing}.get(name) or stock()
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
