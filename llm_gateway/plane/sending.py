"""Sending: one request to a provider, up to the head of its answer. Nothing here knows of clients or of money."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.plane.catalog import Source
from llm_gateway.plane.posting import Answer, Body
from llm_gateway.plane.upstream import Lines, NoAddress
from llm_gateway.problems import Problem, bad_answer
from llm_gateway.shapes import Dialect, Outgoing

DIALECTS: Final[dict[str, Dialect]] = {"openai": openai, "anthropic": anthropic, "google": google}
API_KEY: Final = "api-key"  # Azure's header
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
MAX_WAIT_SECONDS: Final = 86_400
MIN_SECRET_LENGTH: Final = 6
ANSWERED: Final = (200, 201)  # of an answer; servers that take each POST for something new say 201
REFUSED_KEY: Final = "The provider refused the key that is stored for it."
_ID: Final = re.compile(r"(?=[A-Za-z._:\-]*[0-9])[A-Za-z0-9._:\-]{1,128}")
_KEYS: Final = re.compile(r"\b(sk-|sk_|AIza|Bearer )[A-Za-z0-9_\-*.]{6,}")


class TooLarge(Exception):
    """A provider's answer beyond MAX_ANSWER_BYTES."""


def body(outgoing: Outgoing) -> Body:
    """Return the body of a request to a provider."""
    return Body(orjson.dumps(outgoing.body))


class sent:  # noqa: N801  # reads as the function it would be, were these not so much slower
    """Send a request and give the answer's head; the connection is cut when the block is left early."""

    __slots__ = ("_content", "_lines", "_outgoing", "_response", "_source")

    def __init__(self, lines: Lines, source: Source, outgoing: Outgoing, content: Body | None = None) -> None:
        self._lines, self._source, self._outgoing, self._content = lines, source, outgoing, content

    async def __aenter__(self) -> Answer:
        session = await self._lines.session(self._source)
        headers = credential(self._source)
        headers["Content-Type"] = "application/json"
        if self._outgoing.headers is not None:
            headers |= self._outgoing.headers
        url = address(self._source.base_url, self._outgoing.path)
        self._response = await session.post(url, body=self._content or body(self._outgoing), headers=headers)
        return self._response

    async def __aexit__(self, *_: object) -> None:
        response = self._response
        response.close() if not response.content.at_eof() else response.release()


def credential(source: Source) -> dict[str, str]:
    """Return the headers that hold a provider's key, as it wants to have it."""
    if source.auth == API_KEY:
        return {API_KEY: source.api_key} if source.api_key else {}
    return DIALECTS[source.dialect].headers(source.api_key)


def address(base_url: str, path: str) -> str:
    """Return where a path lies; what the address holds as its query (Azure's `api-version`) stays at the end."""
    if "?" not in base_url:
        return base_url + path
    base, _, query = base_url.partition("?")
    return f"{base.rstrip('/')}{path}{'&' if '?' in path else '?'}{query}"


def request_id(response: Answer, source: Source) -> str:
    """Return the provider's own id of a request, empty without one that looks like an id and holds no key."""
    headers = response.headers
    found = headers.get("x-request-id") or headers.get("request-id") or ""
    if not _ID.fullmatch(found) or (source.api_key and source.api_key in found) or _KEYS.search(found):
        return ""
    return found


async def whole(response: Answer, go_on: Callable[[], object] = lambda: None) -> bytes:
    """Return the body of an answer, and call `go_on` after each part of it; raises TooLarge."""
    length = response.content_length
    if length is not None and length > MAX_ANSWER_BYTES:
        raise TooLarge
    parts, size = [], 0
    async for part in response.content.iter_any():
        go_on()
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


def parsed(content: bytes) -> Any:
    """Return an answer's document, None when it is none."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


async def problem_of(response: Answer, source: Source) -> Problem:
    """Return what an answer that is no success says, without anything secret."""
    if 300 <= response.status < 400:
        return Problem(502, "api_error", "The provider redirects; redirects are not followed.", code="provider_error")
    if not 400 <= response.status < 600:
        response.close()  # what follows such a head is anyone's guess
        return bad_answer(f"The provider answered with the status {response.status}, which is no answer.")
    body = await _some(response)
    found = DIALECTS[source.dialect].problem(response.status, body)
    if found.status in (401, 403, 407):
        return Problem(502, "api_error", REFUSED_KEY, code="provider_refused_key")
    retry_after = found.retry_after if found.retry_after is not None else _seconds(response.headers)
    return clean(found, source, retry_after=retry_after)


async def _some(response: Answer) -> bytes:
    body = b""
    while len(body) < MAX_ERROR_BYTES and (part := await response.content.readany()):
        body += part
    return body[:MAX_ERROR_BYTES]


def clean(found: Problem, source: Source, *, retry_after: float | None = None) -> Problem:
    """Return a provider's problem with its key taken out, by value and by what keys look like."""
    return Problem(
        found.status,
        found.kind,
        scrubbed(found.message, source),
        code=scrubbed(found.code, source) if found.code else None,
        param=scrubbed(found.param, source) if found.param else None,
        retry_after=retry_after if retry_after is not None else found.retry_after,
    )


def scrubbed(text: str, source: Source) -> str:
    """Return a provider's text without its key."""
    if len(source.api_key) >= MIN_SECRET_LENGTH:
        for form in (source.api_key, quote(source.api_key, safe="")):
            text = text.replace(form, "***")
    return _KEYS.sub("***", text)


def broken(error: BaseException) -> Problem:
    """Return what happened to a request that got no answer."""
    match error:
        case NoAddress():
            return Problem(502, "api_error", "The provider's address cannot be called.", code="provider_unreachable")
        case TooLarge():
            return Problem(502, "api_error", "The provider's answer is too large.", code="provider_error")
        case TimeoutError() | asyncio.TimeoutError():
            return Problem(504, "timeout_error", "The provider did not answer in time.", code="provider_timeout")
        case aiohttp.ClientConnectorError():
            return Problem(502, "api_error", "The provider cannot be reached.", code="provider_unreachable")
    return Problem(502, "api_error", "The connection to the provider broke.", code="provider_unreachable")


CUT: Final = (TimeoutError, TooLarge)  # by us: the provider may have done all that it was asked for
BROKEN: Final = (aiohttp.ClientError, TimeoutError, NoAddress, TooLarge, OSError)


def _seconds(headers: Any) -> float | None:
    """Return the seconds of a provider's Retry-After: a number, also in milliseconds as OpenAI has it, or a date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            value = float(text) * scale
        except ValueError:
            value = _until(text)
        if 0 <= value < MAX_WAIT_SECONDS:
            return value
    return None


def _until(text: str) -> float:
    """Return how many seconds there are until an HTTP date, -1 where that is none; one that is over is now."""
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())
    except (ValueError, OverflowError):
        return -1.0
