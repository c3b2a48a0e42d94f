"""The door of the gateway's data plane: the request id, the headers of every answer, one log line and one count a call.

What Django's middleware does for other paths is done here, without Django: a warm call costs no thread.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.conf import settings

from llm_gateway.plane import app, ids, refusals
from llm_gateway.plane.exchange import TOO_LARGE, Exchange, Headers
from monitoring.metrics import requests, routes
from moolai import logs
from moolai.errors import AppError
from moolai.middleware import ContentSecurityPolicyMiddleware

logger = logging.getLogger("moolai.requests")
POLICY: Final = (b"content-security-policy", ContentSecurityPolicyMiddleware.STRICT.encode())
FIXED: Final[Headers] = [POLICY, (b"x-frame-options", b"DENY"), (b"referrer-policy", b"same-origin")]
Application = Callable[..., Awaitable[None]]


def serves(scope: dict[str, Any]) -> bool:
    """Whether a request is the data plane's; one that has to be redirected to TLS first is not, nor a preflight."""
    if scope["method"] == "OPTIONS" or (settings.SECURE_SSL_REDIRECT and scope.get("scheme") == "http"):
        return False
    return app.serves(scope["path"])


def is_surface(path: str) -> bool:
    """Whether errors at a path have the shape of OpenAI or Anthropic."""
    return app.serves(path) and not path.startswith(app.OWN)


def refusal(path: str, code: str, detail: str) -> dict[str, Any]:
    """Return the error object for a request that was not read to its end."""
    said = TOO_LARGE if code == "payload_too_large" else detail
    return refusals.body(path, refusals.of(AppError(code, said)))


async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one request of the data plane (ASGI)."""
    exchange = Exchange(scope, receive, send)
    given = exchange.header(b"x-request-id")
    request_id = exchange.request_id = logs.sane_request_id(given) if given else ids.new()
    exchange.more = [*FIXED, *_by_origin(exchange)]
    if settings.SECURE_HSTS_SECONDS:
        exchange.more.append((b"strict-transport-security", _HSTS))
    token, began = logs.request_id.set(request_id), time.monotonic()
    try:
        await app.serve(exchange)
    finally:
        _tell(exchange, round((time.monotonic() - began) * 1000, 1))
        logs.request_id.reset(token)


def _by_origin(exchange: Exchange) -> Headers:
    """Return what a page of an allowed origin needs to read the answer."""
    origin = exchange.header(b"origin")
    if not origin or origin not in settings.CORS_ALLOWED_ORIGINS:
        return []
    exposed = ", ".join(settings.CORS_EXPOSE_HEADERS)
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", exposed.encode()),
        (b"vary", b"origin"),
    ]


def _tell(exchange: Exchange, elapsed_ms: float) -> None:
    status = exchange.status or 499  # the client left before it was answered
    if status in (401, 403):
        logger.warning("denied %s %s: %s", exchange.method, exchange.path, status)
    # A good call stands in the ledger; a line for each would cost as much as serving it.
    level = logging.DEBUG if status < 400 else logging.INFO
    if logger.isEnabledFor(level):
        address = (exchange.scope.get("client") or ("",))[0]
        more = {"ms": elapsed_ms, "remote_address": address}
        logger.log(level, "%s %s %s", exchange.method, exchange.path[:200], status, extra=more)
    series = requests.Series(app.route(exchange.path), routes.method(exchange.method), f"{status // 100}xx")
    organization_id = exchange.organization_id
    requests.RECORDER.record(series, status=status, organization_id=organization_id, elapsed_ms=elapsed_ms)


_HSTS: Final = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload".encode()
