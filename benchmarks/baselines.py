"""What the product is compared with, served by the same uvicorn with the same options.

`bare` is the least that can be done under ASGI: no parsing, a constant answer. `stock` is the textbook consumer of
Channels under its own routing. Run: `python -m benchmarks.baselines bare|stock PORT`.
"""

import sys
from datetime import UTC, datetime
from typing import Any

import uvicorn

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


def main(name: str, port: int) -> None:
    """Serve the baseline `name` on 127.0.0.1 until SIGTERM."""
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
