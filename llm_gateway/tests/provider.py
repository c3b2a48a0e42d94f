"""A provider to test against: a real HTTP server that speaks like OpenAI, Anthropic and Google, well and badly.

The last user message says how it behaves: `[500]`, `[429]`, `[hang]`, `[early]`, `[garbage]`, `[parrot]` …, with
`once` behind it for the first call only, and with `openai`, `anthropic` or `google` for that one alone. Everything it
was sent is kept.
"""

import asyncio
import base64
import json
import re
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from llm_gateway.tests import claude, gemini, leaking, responding

MODE = re.compile(r"\[([\w-]+)( once)?( openai| anthropic| google)?\]")
WORDS = ["Hello", " from", " the", " provider", "."]
TEXT = "".join(WORDS)
CHAT_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
PIECE = 8  # characters of a scripted answer in one event
CITIES = ["Paris", "Oslo"]
KEY_ECHO = "Incorrect API key provided: {key}."


@dataclass
class Seen:
    """One request as the provider got it; `closed_at` is when its client hung up early (the server's loop clock)."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    mode: str = ""
    was_cut: bool = False
    query: str = ""

    @property
    def status(self) -> int:
        return 201 if self.mode == "created" else 200


@dataclass
class Provider:
    """The server's address and what it has seen."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    script: Callable[[dict[str, Any]], str | None] | None = None  # what a chat is answered, None for the usual

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def last(self) -> Seen:
        return self.seen[-1]

    def of(self, word: str) -> list[Seen]:
        """Return the requests whose messages hold a word."""
        return [seen for seen in self.seen if word in json.dumps(seen.body)]


@contextmanager
def running() -> Iterator[Provider]:
    """Serve on a free port of loopback, in a thread of its own."""
    provider, loop = Provider(), asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=20 * 1024 * 1024)
        app.on_response_prepare.append(identify)
        desk = Desk(provider)
        app.router.add_post("/v1/chat/completions", desk.chat)
        app.router.add_post("/v1/embeddings", desk.embeddings)
        app.router.add_post("/v1/messages", desk.messages)
        app.router.add_post("/v1/responses", desk.responses)
        app.router.add_post("/v1/completions", desk.completions)
        app.router.add_post("/v1beta/models/{call}", desk.generations)
        app.router.add_post("/{place:old/v1|openai/v1|openai/deployments/[^/]+}/chat/completions", desk.chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        provider.port = runner.addresses[0][1]
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


async def identify(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the id that a provider's support asks for, under the name that its SDK knows."""
    response.headers["request-id" if _dialect(request.path) == "anthropic" else "x-request-id"] = (
        "req_of_the-provider.1"
    )


class Desk:
    """What the server answers."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    async def take(self, request: web.Request) -> Seen:
        body = await request.json()
        seen = Seen(request.path, {name.lower(): text for name, text in request.headers.items()}, body)
        seen.query = request.query_string
        found = MODE.search(_last(body))
        if found is not None:
            self.provider.modes[found[0]] += 1
            is_due = not found[2] or self.provider.modes[found[0]] == 1
            is_meant = not found[3] or found[3].strip() == _dialect(seen.path)
            seen.mode = found[1] if is_due and is_meant else ""
        self.provider.seen.append(seen)
        return seen

    async def misbehave(self, seen: Seen, request: web.Request) -> web.StreamResponse | None:
        """Return a bad answer where that was asked for."""
        key = request.headers.get("authorization", "") + request.headers.get("x-api-key", "")
        match seen.mode:
            case "slow":
                await asyncio.sleep(1.0)
            case "never":
                await self.wait(seen)
            case "garbage":
                return web.Response(text="<html>not what you wanted</html>", content_type="application/json")
            case "abyss":
                return leaking.abyss(seen.body)
            case "trickle" | "stall":
                return await self.drip(request, seen, json.dumps(completion(seen.body)).encode())
            case "deep":
                return leaking.deep(seen.body)
            case "parrot":
                said = _last(seen.body)
                error = {"message": said, "type": said, "code": said, "param": said}
                return web.json_response({"type": "error", "error": error}, status=400)
            case "redirect":
                raise web.HTTPFound("http://127.0.0.1:1/")
            case "mute" if not seen.body.get("stream"):
                return _mute(seen)
            case "queued" | "in_progress":
                return web.json_response(responding.response(seen.body, status=seen.mode))
            case "quota":
                kind = "insufficient_quota"
                spent = {"message": "You exceeded your quota.", "type": kind, "code": kind, "param": None}
                return web.json_response({"error": spent}, status=429)
            case mode if mode.isdigit():
                return _failing(mode, seen, request, key)
        return None

    async def drip(self, request: web.Request, seen: Seen, content: bytes) -> web.StreamResponse:
        """Answer a whole in six parts within three seconds, or stop after the first."""
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(content))})
        await response.prepare(request)
        size = -(-len(content) // 6)
        for place in range(0, len(content), size):
            await response.write(content[place : place + size])
            if seen.mode == "stall":
                await self.wait(seen)
            await asyncio.sleep(0.5)
        await response.write_eof()
        return response

    async def wait(self, seen: Seen) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.was_cut = True
            raise

    def said(self, seen: Seen) -> list[str] | None:
        """Return what the script has it say, in the pieces of a stream; None for the usual."""
        text = self.provider.script(seen.body) if self.provider.script is not None else None
        return None if text is None else [text[start : start + PIECE] for start in range(0, len(text), PIECE)]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        seen = await self.take(request)
        if (bad := await self.misbehave(seen, request)) is not None:
            return bad
        if not seen.body.get("stream"):
            told = completion(seen.body)
            if (said := self.said(seen)) is not None:
                told["choices"][0]["message"]["content"] = "".join(said)
            return web.json_response(told, status=seen.status)
        has_usage = (seen.body.get("stream_options") or {}).get("include_usage", False)
        said = self.said(seen)
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks(seen.body, has_usage=has_usage, said=said)]
        return await self.stream(request, seen, [*events, "data: [DONE]\n\n"])

    async def messages(self, request: web.Request) -> web.StreamResponse:
        seen = await self.take(request)
        if (bad := await self.misbehave(seen, request)) is not None:
            return bad
        if not seen.body.get("stream"):
            told = claude.message(seen.body)
            if (said := self.said(seen)) is not None:
                told["content"][0]["text"] = "".join(said)
            return web.json_response(told)
        told_events = claude.message_events(seen.body, said=self.said(seen))
        events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in told_events]
        return await self.stream(request, seen, events)

    async def generations(self, request: web.Request) -> web.StreamResponse:
        seen = await self.take(request)
        if (bad := await self.misbehave(seen, request)) is not None:
            return bad
        if "mbed" in seen.path:
            return web.json_response(gemini.embedded(seen.body))
        if ":stream" in seen.path:
            return await self.stream(request, seen, gemini.events(seen.body))
        return web.json_response(gemini.generation(seen.body))

    async def responses(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, responding.response, responding.response_events)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, responding.completion, responding.completion_events)

    async def answer(self, request: web.Request, whole: Any, events: Any) -> web.StreamResponse:
        seen = await self.take(request)
        if (bad := await self.misbehave(seen, request)) is not None:
            return bad
        if seen.body.get("stream"):
            return await self.stream(request, seen, events(seen.body))
        return web.json_response(whole(seen.body))

    async def stream(self, request: web.Request, seen: Seen, events: list[str]) -> web.StreamResponse:
        response = web.StreamResponse(status=seen.status, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(events):
            if number == 3 and seen.mode in ("hang", "early", "noise"):
                if seen.mode == "hang":
                    await self.wait(seen)
                if seen.mode == "noise":
                    await response.write(b"data: {not json\n\n")
                assert request.transport is not None
                request.transport.close()
                return response
            try:
                await response.write(event.encode())
                if seen.mode == "drip":
                    await asyncio.sleep(0.05)
            except (ConnectionResetError, asyncio.CancelledError):
                seen.was_cut = True
                raise
        await response.write_eof()
        return response

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        seen = await self.take(request)
        texts = seen.body["input"] if isinstance(seen.body["input"], list) else [seen.body["input"]]
        is_packed = seen.body.get("encoding_format") == "base64"
        vector: Any = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode() if is_packed else [0.5, -0.25]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(texts)]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response({"object": "list", "data": data, "model": seen.body["model"], "usage": usage})


def _dialect(path: str) -> str:
    return "google" if "v1beta" in path else "anthropic" if path.endswith("messages") else "openai"


def _last(body: dict[str, Any]) -> str:
    told = next((body[name] for name in ("messages", "contents", "input", "prompt") if body.get(name)), "")
    return json.dumps(told[-1] if isinstance(told, list) else told)


# --- OpenAI ----------------------------------------------------------------------------------------------------------


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer: the tools asked for are called, for each city; a format asked for is kept to."""
    text = '{"city": "Paris", "population": 2}' if body.get("response_format") else "".join(leaking.words(body, WORDS))
    told: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    reason = "stop"
    if body.get("tools"):
        told |= {"content": None, "tool_calls": [_tool(number, city) for number, city in enumerate(CITIES)]}
        reason = "tool_calls"
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": CHAT_USAGE,
        "choices": [
            {"index": index, "message": told, "logprobs": None, "finish_reason": reason}
            for index in range(body.get("n") or 1)
        ],
    }  # fmt: skip


def _tool(number: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"id": f"call_{number}", "type": "function", "function": function}


def chunks(body: dict[str, Any], *, has_usage: bool, said: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a stream; two parallel tool calls, interleaved, where there are tools."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": "" if not body.get("tools") else None})
    if body.get("tools"):
        for number, city in enumerate(CITIES):
            call = _tool(number, city)
            start = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
            yield chunk({"tool_calls": [start]})
            for part in re.findall(r".{1,6}", call["function"]["arguments"]):
                yield chunk({"tool_calls": [{"index": number, "function": {"arguments": part}}]})
        yield chunk({}, "tool_calls")
    else:
        usual = leaking.words(body, WORDS) * (200 if "[drip" in _last(body) else 1)
        for word in usual if said is None else said:
            yield chunk({"content": word})
        yield chunk({}, "stop")
    if has_usage:
        yield {**head, "choices": [], "usage": CHAT_USAGE}


def _mute(seen: Seen) -> web.Response:
    """Return an answer that does not say what was used."""
    makers = {"completions": responding.completion, "responses": responding.response}
    makers |= {"chat/completions": completion, "messages": claude.message}
    place = seen.path.partition("/v1/")[2]
    told: dict[str, Any] = makers[place](seen.body) if place else gemini.generation(seen.body)
    return web.json_response({name: part for name, part in told.items() if "usage" not in name})


def _odd(status: str, request: web.Request) -> web.Response:
    """Write an answer whose status is none for an error, past the server, which would not."""
    assert request.transport is not None
    body = json.dumps({"error": {"message": "odd", "type": "some_error", "code": "some_code"}})
    head = f"HTTP/1.1 {status} Odd\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request.transport.write(head.encode() + body.encode())
    request.transport.close()
    return web.Response()


def _failing(mode: str, seen: Seen, request: web.Request, key: str) -> web.Response:
    """Return an error of a status, which repeats the key that it was sent."""
    status = int(mode)
    if not 400 <= status < 600:
        return _odd(mode, request)
    headers = {"Retry-After": "1", "Retry-After-Ms": "150"} if status == 429 else {}
    key += request.headers.get("x-goog-api-key", "") + request.headers.get("api-key", "")
    error = {"message": KEY_ECHO.format(key=key), "type": "some_error", "code": "some_code"}
    told = {"type": "error", "error": error}
    if "v1beta" in seen.path:
        told = gemini.error(status, KEY_ECHO.format(key=key))
    return web.json_response(told, status=status, headers=headers)
