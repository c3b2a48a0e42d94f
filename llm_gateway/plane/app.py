"""The data plane's doors: which path is which surface, and what becomes of everything that is not served."""

import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import orjson
from django.utils import timezone

from llm_gateway.cache import serving
from llm_gateway.cache.recording import Recording
from llm_gateway.guardrails import checking
from llm_gateway.guardrails.guard import Blocked
from llm_gateway.guardrails.rules import Guards
from llm_gateway.plane import accounts, choosing, ids, listing, meters, noting, planes, refusals, wishes
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.calls import Call
from llm_gateway.plane.exchange import Exchange, Gone
from llm_gateway.plane.refusals import Failed
from llm_gateway.plane.relay import Order
from llm_gateway.plane.routing import Target
from llm_gateway.problems import Problem, Refused, bad_answer
from llm_gateway.retrying import NO_RETRY
from llm_gateway.surfaces import chat, completions, embeddings, limits, messages, responses
from moolai import errors
from moolai.errors import AppError
from orgs import parsing

logger = logging.getLogger(__name__)
OWN: Final = "/api/v1/llm/"
SURFACES: Final[dict[str, Any]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/api/v1/llm/chat": chat,
}
READS: Final = ("/v1/models", "/api/v1/llm/models", "/api/v1/llm/health")
ONE_MODEL: Final = "/v1/models/"
UNKNOWN: Final = "/v1/(unknown)"
FOREIGN: Final = ("/v1/performance", "/v1/ai-orchestration")
CALL_ID: Final = b"x-moolai-call-id"
RETRY: Final = (b"x-should-retry", b"false")
_JSON: Final = re.compile(r"application/(json|octet-stream)|[^/ ]+/[^/ ]+\+json")


def serves(path: str) -> bool:
    """Whether a path is ours: all of `/v1/` but what other rooms have there, and three of `/api/v1/llm/`."""
    if path in SURFACES:
        return True
    plain = path.rstrip("/")
    if plain.startswith("/v1/") or plain == "/v1":
        return not any(plain == other or plain.startswith(f"{other}/") for other in FOREIGN)
    return plain in SURFACES or plain in READS


def route(path: str) -> str:
    """Return the name that calls of a path are counted under: there are as many as doors."""
    if path in SURFACES:
        return path
    plain = path.rstrip("/")
    if plain in SURFACES or plain in READS:
        return plain
    return f"{ONE_MODEL}{{id}}" if plain.startswith(ONE_MODEL) else UNKNOWN


async def serve(exchange: Exchange, find: Callable[[], Awaitable[Standing]] | None = None) -> None:
    """Answer one request; whatever happens, in the shape of its surface.

    With `find` it is a call that the product makes itself, for whom that returns.
    """
    try:
        await (_serve(exchange) if find is None else _serve_for(exchange, find))
    except Failed as failure:
        exchange.more += failure.headers
        await _refuse(exchange, failure.problem, is_final=failure.is_final)
    except Refused as refused:
        await _refuse(exchange, refused.problem)
    except AppError as error:
        await _refuse(exchange, refusals.of(error))
    except Gone:
        exchange.status = exchange.status or 499
    except Exception as error:
        frames = "".join(traceback.format_tb(error.__traceback__))  # its own words may hold a prompt
        logger.error("a call of the gateway failed: %s\n%s", type(error).__name__, frames)
        await _refuse(exchange, refusals.of(AppError("internal_error")))


async def _serve(exchange: Exchange) -> None:
    path = exchange.path.rstrip("/")
    surface = SURFACES.get(path)
    is_read = path in READS or path.startswith(ONE_MODEL)
    if surface is None and not is_read:
        raise Failed(refusals.unknown_path(exchange.method, exchange.path))
    presented = exchange.presented()
    plane = planes.current()
    standing = await plane.callers.find(presented)
    exchange.organization_id = standing.organization_id
    if exchange.method not in (("GET", "HEAD") if is_read else ("POST",)):
        exchange.more.append((b"allow", b"GET, HEAD" if is_read else b"POST"))
        raise AppError("method_not_allowed")
    await plane.ready()
    if surface is None:
        await listing.answer(exchange, plane, standing)
        return
    await call(exchange, plane, standing, surface)


async def _serve_for(exchange: Exchange, find: Callable[[], Awaitable[Standing]]) -> None:
    plane = planes.current()
    standing = await find()
    exchange.organization_id = standing.organization_id
    await plane.ready()
    await call(exchange, plane, standing, SURFACES[exchange.path])


async def call(exchange: Exchange, plane: planes.Plane, standing: Any, surface: Any) -> None:
    """Make one call of a surface for whoever stands there: reserve, ask, relay, settle; the one way to a provider.

    Raises Failed, Refused, AppError and Gone; `serve` turns them into answers.
    """
    exchange.standing = standing
    body, size = await _read(exchange)
    asked = surface.check(body)
    exchange.wanted = asked.model
    is_own = exchange.path.startswith(OWN)
    if is_own and asked.is_stream:
        raise Refused("stream", "This path answers as a whole; stream from /v1/chat/completions.")
    if asked.is_stream and not _takes_events(exchange.header(b"accept")):
        raise Refused("stream", "A stream is text/event-stream, which the Accept header does not take.")
    order = Order(surface, body, asked, size=size, call_id=exchange.call_id or ids.new(), created=int(time.time()))
    order.wishes = wishes.read(exchange.headers)
    order.headers = wishes.passed(exchange.headers, dialect=surface.SPEAKS)
    targets = choosing.targets(plane, standing, asked.model, order.wishes)
    guards = plane.catalog.guards.get(standing.organization_id)
    if guards is not None:
        await _guard(plane, exchange, standing, order, targets[0], guards)
    wish = serving.wish(plane, exchange, order, targets)
    entry = await serving.find(plane, wish) if wish is not None else None
    if entry is None:
        account, targets = await accounts.open_(plane, standing, order, targets)
    else:
        targets = [serving.origin(entry, targets)]
        account = await accounts.open_free(plane, standing, order, targets[0])
        account.reuse(targets[0], entry.cost_usd_micros)
    exchange.account = account
    exchange.more.append((CALL_ID, order.call_id.encode()))
    if account.reservation.scopes.limits:
        exchange.more += meters.headers(account.reservation.rates)
    account.watch = plane.observer.watch(exchange, account, plane.catalog.policy(standing.organization_id))
    envelop = (lambda content, target: _enveloped(content, target, account)) if is_own else None
    if entry is not None:
        await serving.serve(exchange, order, account, entry, target=targets[0], envelop=envelop)
        return
    order.recording = Recording() if wish is not None else None
    await Call(plane, exchange, order, account, envelop=envelop).run(targets)
    if wish is not None:
        await serving.keep(plane, wish, order, account)


async def _guard(
    plane: planes.Plane, exchange: Exchange, standing: Any, order: Order, target: Target, guards: Guards
) -> None:
    """Have a request pass the organization's guardrails, and the answer later; a blocked one stands in the ledger."""
    order.guard, order.stamp = guards.answer or None, guards.stamp
    if not guards.request:
        return
    try:
        order.body = await checking.request(guards.request, order.body, size=order.size)
    except Blocked as blocked:
        exchange.account = account = await accounts.open_free(plane, standing, order, target)
        policy = replace(plane.catalog.policy(standing.organization_id), keeps_content=False)
        account.watch = plane.observer.watch(exchange, account, policy)
        account.fail(checking.CODE)
        account.close()
        exchange.more.append((CALL_ID, order.call_id.encode()))
        raise Failed(checking.refusal(blocked.rule, "request")) from None


def _takes_events(accept: str) -> bool:
    """Whether somebody who sends this Accept takes a stream; the SDKs write application/json for it."""
    return not accept or any(kind in accept for kind in ("text/event-stream", "application/json", "*/*", "text/*"))


async def _read(exchange: Exchange) -> tuple[Any, int]:
    """Return the body's document and how many bytes it had; raises AppError."""
    if not is_json(exchange.header(b"content-type")):
        raise AppError("unsupported_media_type")
    raw = await exchange.read()
    try:
        return orjson.loads(raw), len(raw)
    except (orjson.JSONDecodeError, RecursionError):
        parsing.parse(raw, max_depth=limits.MAX_DEPTH)  # says what is wrong, and where
        raise AppError("invalid_json") from None


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is that of JSON in UTF-8; one that says nothing is taken for it."""
    if content_type in ("application/json", ""):
        return True
    kind, *parameters = content_type.lower().split(";")
    charsets = [
        value.strip().strip('"')
        for name, _, value in (one.partition("=") for one in parameters)
        if name.strip() == "charset"
    ]
    return (not kind.strip() or _JSON.fullmatch(kind.strip()) is not None) and set(charsets) <= {"utf-8", "utf8"}


def _enveloped(content: bytes, target: Target, account: accounts.Account) -> bytes:
    """Return an answer in the envelope of our own API (API §9); raises Failed for one that cannot be put in it."""
    more = {
        "cost": account.cost_usd_micros / 1_000_000,
        "provider": target.source.name,
        "latency_ms": account.elapsed_ms,
        "cached": account.saved_usd_micros is not None,
    }
    moment = timezone.now().isoformat().replace("+00:00", "Z")
    try:
        return orjson.dumps({"success": True, "data": {**orjson.loads(content), **more}, "timestamp": moment})
    except (TypeError, ValueError):  # orjson reads more levels than it writes
        raise Failed(bad_answer("The provider's answer is nested too deep.")) from None


async def _refuse(exchange: Exchange, problem: Problem, *, is_final: bool = False) -> None:
    """Answer with a problem, unless an answer has begun: then all that is left is to break it off."""
    noting.refused(exchange, problem)
    if exchange.has_head:
        raise ConnectionAbortedError(problem.message) from None  # the server logs it: what it came of may hold a prompt
    headers = [RETRY] if is_final or problem.code in NO_RETRY else []
    if problem.retry_after is not None and problem.status in (429, 503, 529):
        headers.append((b"retry-after", str(max(1, round(problem.retry_after))).encode()))
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="moolai"'))
    status, body = problem.status, refusals.body(exchange.path, problem)
    if exchange.path.startswith(OWN):
        code = refusals.own_code(problem)
        status = errors.CODES[code][0]
        fields = {problem.param: problem.message} if problem.param else None
        body = errors.body(code, problem.message, request_id=exchange.request_id, fields=fields)
    await exchange.answer_json(status, body, headers)
