"""What the product is compared with, served by the same uvicorn with the same options.

`bare` is the least that can be done under ASGI: no parsing, a constant answer. `stock` is the textbook consumer of
Channels under its own routing; `writers` is an asyncio.StreamWriter for each connection, and one loop over them.
Run: `python -m benchmarks.baselines bare|stock|writers PORT`.
"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

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


def main(name: str, port: int) -> None:
    """Serve the baseline `name` on 127.0.0.1 until SIGTERM."""
    if name == "writers":
        uvloop.run(writers(port))
        return
    application = bare if name == "bare" else stock()
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
