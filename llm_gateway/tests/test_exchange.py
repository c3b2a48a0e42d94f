"""An exchange: what it takes for JSON, and that a head that cannot be written leaves nobody in silence."""

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


@pytest.mark.parametrize(
    ("content_type", "is_taken"),
    [
        ("", True),
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json;charset="utf-8"', True),
        ("application/json; profile=x", True),
        ("application/vnd.api+json", True),
        ("application/octet-stream", True),  # what libraries write for bytes
        ("application/json; charset=utf-16", False),
        ("application/json; Charset = latin-1", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("application/jsonl", False),
        ("+json", False),
        ("; charset=utf-8", True),
    ],
)
def test_what_is_taken_for_json(content_type: str, is_taken: bool) -> None:
    assert app.is_json(content_type) == is_taken
