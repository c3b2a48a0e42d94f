"""An exchange whose head cannot be written: its client is told in the surface's shape, and never left in silence."""

import asyncio
import json
from typing import Any

import pytest

from llm_gateway.plane import app
from llm_gateway.plane.exchange import Exchange

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("path", "kind"), [("/v1/chat/completions", "server_error"), ("/v1/messages", "api_error")])
def test_an_answer_whose_head_breaks_is_500_in_the_surfaces_shape(path: str, kind: str) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("status") == 200:
            raise RuntimeError("such a head cannot be written")
        sent.append(message)

    async def answer() -> None:
        exchange = Exchange({"method": "POST", "path": path, "headers": []}, receive, send)

        async def find() -> Any:
            await exchange.answer(200, b"{}", [])

        await app.serve(exchange, find)

    asyncio.run(answer())
    assert [message.get("status") for message in sent] == [500, None]
    assert json.loads(sent[1]["body"])["error"]["type"] == kind
