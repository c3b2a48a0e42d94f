"""A provider that counts: it speaks like OpenAI and Anthropic, behaves as each call's plan says, and keeps the bill.

It bills as strictly as a provider could: the input of every request that arrived whole and that it neither refused nor
broke off itself, and every character that it sent on, four of them a token, unless it said other figures at the end.
What it may have made of an answer that was cut off before its first part is not on the bill: `unseen` counts those.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

INPUT_USD: Final = "0.15"  # per million tokens
OUTPUT_USD: Final = "0.60"
CHARACTERS_PER_TOKEN: Final = 4
WORD: Final = "twelve chars"
KIND: Final = {True: b"text/event-stream", False: b"application/json"}


def micros(input_tokens: int, output_tokens: int) -> int:
    """Return what tokens cost in whole micro-dollars, rounded half up: 15 and 60 hundredths of one each."""
    return (2 * (15 * input_tokens + 60 * output_tokens) + 100) // 200


def tokens(characters: int) -> int:
    """Return what so many characters count as."""
    return -(-characters // CHARACTERS_PER_TOKEN)


@dataclass
class Plan:
    """How the provider behaves towards one call, and what it counted.

    `acts` is taken one for each request: `whole`, `stream`, `wait` (never answers), `stall` and `early` (after `chunks`
    parts), `drop` (closes without an answer), or a status. `size` is how many bytes the client sent.
    """

    name: str
    acts: list[str]
    chunks: int = 3
    says: tuple[int, int] = (11, 7)
    pause_seconds: float = 0.0
    size: int = 0
    in_step: bool = False  # each part is sent when the client has read the one before
    seen: int = 0
    unseen: int = 0
    billed_micros: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    read: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


class Till:
    """The provider: plans by the model's name, and everything that it billed."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.otherwise: Callable[[str], Plan] | None = None
        self.surprises: list[str] = []
        self.desks: set[Desk] = set()

    def plan(self, model: str) -> Plan:
        """Return the plan of the call that names a model."""
        if model not in self.plans and self.otherwise is not None:
            self.plans[model] = self.otherwise(model)
        return self.plans[model]

    @property
    def billed_micros(self) -> int:
        """What all calls came to."""
        return sum(plan.billed_micros for plan in self.plans.values())

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        """Serve on a port of loopback."""
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Desk(self), "127.0.0.1", port, backlog=1024):
            yield
            for desk in list(self.desks):
                desk.transport.abort()


class Desk(asyncio.Protocol):
    """One connection: a request is counted in the moment in which its last byte arrives."""

    def __init__(self, till: Till) -> None:
        self.till, self.buffer = till, b""
        self.plan: Plan | None = None
        self.work: asyncio.Task[None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Remember where to answer."""
        self.transport = transport
        self.till.desks.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the gateway cut it."""
        self.till.desks.discard(self)
        if self.plan is not None:
            self.plan.cut.set()
        if self.work is not None:
            self.work.cancel()

    def data_received(self, data: bytes) -> None:
        """Take a request that is whole."""
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not separator or len(rest) < length:
            return
        body, self.buffer = json.loads(rest[:length]), rest[length:]
        self._take(body, is_anthropic=b"/messages" in head.partition(b"\r\n")[0])

    def _take(self, body: dict[str, Any], *, is_anthropic: bool) -> None:
        plan = self.plan = self.till.plan(body["model"])
        act = plan.acts[min(plan.seen, len(plan.acts) - 1)]
        plan.seen += 1
        plan.arrived.set()
        if act == "drop":
            self.transport.close()
        elif act.isdigit():
            error = json.dumps({"error": {"message": "no", "type": "x", "code": "x"}}).encode()
            self._whole(error, b"%s No\r\nRetry-After-Ms: 50" % act.encode())
        else:
            bill = Bill(plan)
            speak = anthropic_events if is_anthropic else openai_events
            self.work = asyncio.ensure_future(self._act(act, plan, bill, speak, bool(body.get("stream"))))
            self.work.add_done_callback(self._done)

    def _done(self, work: "asyncio.Task[None]") -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self.till.surprises.append(repr(error))

    def _whole(self, content: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(content)) + content)

    async def _act(self, act: str, plan: Plan, bill: "Bill", speak: Any, is_stream: bool) -> None:
        await asyncio.sleep(plan.pause_seconds)
        if act == "wait":
            await asyncio.sleep(60)
        begin, part, end, whole = speak(plan)
        if not is_stream:
            bill.say(*plan.says)
            self._whole(json.dumps(whole).encode())
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in begin:
            self._write(event)
        for number in range(plan.chunks):
            if plan.in_step and number:
                await plan.read.acquire()
            bill.sent(len(WORD))
            self._write(part)
        if act == "early":
            self.transport.close()
            return
        if act == "stall":
            await asyncio.sleep(60)
        bill.say(*plan.says)
        for event in end:
            self._write(event)
        self.transport.write(b"0\r\n\r\n")

    def _write(self, event: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))


class Bill:
    """What one request costs: its input as it arrives, what is sent as it is sent; figures that are said replace both.

    Where the beginning of a stream says what the input was, that is counted from there on.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.input_tokens, self.characters, self.counted = plan, tokens(plan.size), 0, 0
        self._count(self.input_tokens, 0)
        self.is_unseen = True
        plan.unseen += 1

    def sent(self, characters: int) -> None:
        """Count what is sent."""
        self._show()
        self.characters += characters
        self._count(self.input_tokens, tokens(self.characters))

    def say(self, input_tokens: int, output_tokens: int) -> None:
        """Count what is said."""
        self._show()
        self._count(input_tokens, output_tokens)

    def _show(self) -> None:
        self.plan.unseen -= self.is_unseen
        self.is_unseen = False

    def _count(self, input_tokens: int, output_tokens: int) -> None:
        found = micros(input_tokens, output_tokens)
        self.plan.billed_micros += found - self.counted
        self.counted = found


def openai_events(plan: Plan) -> tuple[list[bytes], bytes, list[bytes], dict[str, Any]]:
    """Return how a stream begins, one part of it, how it ends, and the whole answer."""
    given, made = plan.says
    usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    head = {"id": "chatcmpl-1", "created": 1, "model": plan.name}

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        told = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: %b\n\n" % json.dumps(told).encode()

    message = {"role": "assistant", "content": WORD * plan.chunks}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    end = [chunk({}, "stop"), chunk({}, choices=[], usage=usage), b"data: [DONE]\n\n"]
    return [], chunk({"content": WORD}), end, whole


def anthropic_events(plan: Plan) -> tuple[list[bytes], bytes, list[bytes], dict[str, Any]]:
    """Return how a stream begins, one part of it, how it ends, and the whole answer."""
    given, made = plan.says
    usage = {"input_tokens": given, "output_tokens": made}
    text = [{"type": "text", "text": WORD * plan.chunks}]
    whole = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": plan.name, "content": text,
        "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    start = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": tokens(plan.size), "output_tokens": 1},
    }

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    begin = [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]
    part = event("content_block_delta", index=0, delta={"type": "text_delta", "text": WORD})
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    end = [
        event("content_block_stop", index=0),
        event("message_delta", delta=ending, usage=usage),
        event("message_stop"),
    ]
    return begin, part, end, whole
