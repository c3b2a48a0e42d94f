"""What the provider of the tests says when it is asked for personal data (`[leak]`), or for what is nested deep."""

import json
from typing import Any

from aiohttp import web

LEAK = ["Write", " to ann.", "lee@mail.exa", "mple or pay 4111 1111", " 1111 1111", " at once."]


def words(body: dict[str, Any], usual: list[str]) -> list[str]:
    """Return the pieces of an answer."""
    return LEAK if "[leak]" in json.dumps(body) else usual


def deep(body: dict[str, Any]) -> web.Response:
    """Return a chat completion of 300 levels, or the stream of one: it can be read, and not be written again."""
    nested = '{"a":' * 300 + "1" + "}" * 300
    choice = '{"index": 0, "%s": {"role": "assistant", "content": "deep", "more": %s}, "finish_reason": "stop"}'
    usage = '{"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}'
    told = '{"id": "c", "object": "chat.completion%s", "created": 1, "model": "m", "choices": [%s], "usage": %s}'
    if not body.get("stream"):
        return web.Response(text=told % ("", choice % ("message", nested), usage), content_type="application/json")
    event = told % (".chunk", choice % ("delta", nested), usage)
    return web.Response(text=f"data: {event}\n\ndata: [DONE]\n\n", content_type="text/event-stream")


def abyss(body: dict[str, Any]) -> web.Response:
    """Return a document of 3,000 levels, or the stream of one: nobody reads it."""
    told = '{"a":' * 3_000 + "1" + "}" * 3_000
    if not body.get("stream"):
        return web.Response(text=told, content_type="application/json")
    return web.Response(text=f"data: {told}\n\ndata: [DONE]\n\n", content_type="text/event-stream")
