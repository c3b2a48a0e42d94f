"""The ASGI side of the prompts: the door is asked like any other; what it grants is run here, and holds no thread."""

import asyncio
import re
import time
from contextlib import suppress
from typing import Final

import orjson
from django.conf import settings
from django.utils import timezone

from llm_gateway import following
from llm_gateway.following import AWAY, Application, Message, Receive, Send, Writer
from llm_gateway.models import Prompt
from llm_gateway.plane import desk, refusals
from llm_gateway.plane.exchange import JSON
from llm_gateway.prompts import frames
from llm_gateway.prompts.api import SLOT
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.prompts.running import Plan, Run
from moolai import errors
from orchestrators.protocol import iso
from orgs import spending

LOOK_SECONDS: Final = 0.5
SLOWEST_LOOK_SECONDS: Final = 2.0
REPLACED: Final = (b"content-length", b"content-type")
_PATH: Final = re.compile(r"/api/v1/orchestrators/[^/]+/prompts(/[^/]+/stream)?/?")


def is_ours(scope: Message) -> bool:
    """Whether an HTTP request may run a prompt."""
    found = _PATH.fullmatch(scope["path"])
    return found is not None and scope["method"] == ("GET" if found[1] else "POST")


async def serve(door: Application, scope: Message, receive: Receive, send: Send) -> None:
    """Ask the `door` (Django); when it grants a prompt, run it and answer with what comes of it."""
    slot: list[Plan] = []
    opening = await following.granted(door, scope, receive, send, slot=SLOT, plans=slot)
    if not opening:
        return
    start, content = opening[0], b"".join(message.get("body", b"") for message in opening[1:])
    if slot[0].is_stream:
        await _stream(slot[0], start, receive, send)
    else:
        await _answer(slot[0], start, content, receive, send)


# --- as a whole ------------------------------------------------------------------------------------------------------


async def _answer(plan: Plan, start: Message, content: bytes, receive: Receive, send: Send) -> None:
    run = Run(plan)
    watch = asyncio.get_running_loop().create_task(following.leaving(receive, run.leave))
    try:
        outcome = await run.run()
    except AWAY:
        await _send(send, start, *_error("database_unavailable", "", plan))
        return
    finally:
        watch.cancel()
    if outcome is None:
        await _send(send, start, *_error("conflict", "It is run elsewhere.", plan))
    elif outcome.problem is not None:
        await _send(send, start, *_refusal(outcome, plan))
    else:
        await _send(send, start, 201, _told(content, outcome), outcome.headers)


def _told(content: bytes, outcome: Outcome) -> bytes:
    """Return the door's answer with what the prompt came to."""
    body = orjson.loads(content)
    body["timestamp"] = now = iso(timezone.now())
    body["data"] |= outcome.columns() | {
        "model": outcome.model, "requested_model": outcome.asked_model, "tokens_used": outcome.tokens_used,
        "cost": spending.usd(outcome.cost_usd_micros) or 0.0, "response": outcome.text, "finished_at": now,
        "call_id": outcome.call_id,
    }  # fmt: skip
    del body["data"]["cost_usd_micros"]
    return orjson.dumps(body)


def _refusal(outcome: Outcome, plan: Plan) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    problem = outcome.problem
    assert problem is not None
    fields = {problem.param: problem.message} if problem.param else None
    status, body, headers = _error(refusals.own_code(problem), problem.message, plan, fields=fields)
    if problem.retry_after is not None and status in (429, 503):
        headers = [(b"retry-after", str(max(1, round(problem.retry_after))).encode())]
    return status, body, [*headers, *([(b"x-should-retry", b"false")] if outcome.is_final else [])]


def _error(
    code: str, detail: str, plan: Plan, *, fields: dict[str, str] | None = None
) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    status, default = errors.CODES[code]
    body = errors.body(code, detail or default, request_id=plan.request_id, fields=fields)
    return status, orjson.dumps(body), [(b"retry-after", b"5")] if status in (429, 503) else []


async def _send(send: Send, start: Message, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer in the door's place, with the headers that it gave."""
    kept = [(name, value) for name, value in start["headers"] if name.lower() not in REPLACED]
    length = (b"content-length", str(len(body)).encode())
    await send({**start, "status": status, "headers": [*kept, JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


# --- as a stream -----------------------------------------------------------------------------------------------------


async def _stream(plan: Plan, start: Message, receive: Receive, send: Send) -> None:
    await following.begin(start, send)
    writer, loop = Writer(send), asyncio.get_running_loop()
    await writer.write(frames.start(plan.prompt_id))
    work = loop.create_task(_tell(plan, writer, receive))
    beat = loop.create_task(writer.keep_alive())
    try:
        last = await work
    except AWAY:
        last = frames.broken("database_unavailable", request_id=plan.request_id)
    finally:
        beat.cancel()
        work.cancel()
    await writer.write(last, is_last=True)


async def _tell(plan: Plan, writer: Writer, receive: Receive) -> bytes:
    """Run the prompt where it waits, else wait until it is over; return the last events."""

    async def tell(piece: str) -> None:
        await writer.write(frames.token(piece))

    if plan.standing is not None:
        run = Run(plan, tell=tell)
        watch = asyncio.get_running_loop().create_task(following.leaving(receive, run.leave))
        try:
            outcome = await run.run()
        finally:
            watch.cancel()
        if outcome is not None:
            return frames.end(plan.prompt_id, outcome, request_id=plan.request_id)
    return await _follow(plan, receive)


async def _follow(plan: Plan, receive: Receive) -> bytes:
    """Return the events of a prompt once it is over: whoever runs it tells its pieces to one client."""
    with following.place(plan.organization_id) as has_room:
        if not has_room:
            return frames.broken("overloaded", request_id=plan.request_id)
        return await _wait(plan, receive)


async def _wait(plan: Plan, receive: Receive) -> bytes:
    gone, pause = asyncio.Event(), LOOK_SECONDS
    watch = asyncio.get_running_loop().create_task(following.leaving(receive, gone.set))
    ends_at = time.monotonic() + settings.LLM_TOTAL_SECONDS
    try:
        while not gone.is_set() and time.monotonic() < ends_at:
            told = await desk.run(lambda: _look(plan.prompt_id))
            if told is not None:
                return told
            with suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), pause)
            pause = min(SLOWEST_LOOK_SECONDS, pause * 1.5)
    finally:
        watch.cancel()
    return frames.broken("provider_timeout", request_id=plan.request_id)


def _look(prompt_id: str) -> bytes | None:
    """Return the last events of a prompt that is over, None for one that is not: its texts are left where they are."""
    rows = Prompt.objects.filter(prompt_id=prompt_id)
    if rows.filter(status__in=(Prompt.Status.PENDING, Prompt.Status.RUNNING)).exists():
        return None
    row = rows.select_related("content").first()
    return frames.told(row) if row is not None else frames.broken("not_found", request_id="")
