"""Middleware for HTTP: the request id, one log line per request, who changes are attributed to, and the CSP."""

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseFileResponse

from monitoring.metrics import requests, routes
from moolai import errors, logs, parser
from moolai.console import lost
from orgs import audit

logger = logging.getLogger("moolai.requests")
_PAGES = ("/admin/", "/static/", "/decide/")


class RequestLogMiddleware:
    """Gives every request an id (the client's when sane), logs and counts it, answers Django's API errors as JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        request_id = logs.sane_request_id(request.headers.get("X-Request-ID", ""))
        request.request_id = request_id  # type: ignore[attr-defined]
        token, started = logs.request_id.set(request_id), time.monotonic()
        address = request.META.get("REMOTE_ADDR", "")
        try:
            with audit.origin("anonymous", remote_address=address, request_id=request_id):
                response = lost.instead_of(request, self._refused(request) or self.get_response(request))
            response = self._as_json(request, response)
            response["X-Request-ID"] = request_id
            elapsed_ms = round((time.monotonic() - started) * 1000, 1)
            level = logging.DEBUG if request.path.startswith(("/healthz", "/readyz", "/static/")) else logging.INFO
            more = {"ms": elapsed_ms, "remote_address": address}
            logger.log(level, "%s %s %s", request.method, request.path, response.status_code, extra=more)
            _count(request, response.status_code, elapsed_ms)
            return response
        finally:
            logs.request_id.reset(token)

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse a body that says it is too large, and NUL, which no row of PostgreSQL can hold."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        is_number = length.isascii() and length.isdigit()  # other scripts have digits too
        if not is_number or len(length) > 12 or int(length) > parser.body_limit(request.path.encode()):
            return errors.respond(request, "payload_too_large")
        if "\0" in request.path:
            return errors.respond(request, "not_found", "There is nothing at this path.")
        if "%00" in request.META.get("QUERY_STRING", ""):
            return errors.respond(request, "invalid_parameter", "A query parameter contains a null character.")
        return None

    def _as_json(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Replace an HTML error page of Django's by the one error object, except in the console."""
        if response.status_code < 400 or request.path.startswith(_PAGES) or isinstance(response, lost.LostPage):
            return response
        if response.get("Content-Type", "").startswith("application/json"):
            return response
        codes = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
        code = codes.get(response.status_code, "internal_error")
        answer = errors.respond(request, code)
        if allow := response.get("Allow"):
            answer["Allow"] = allow
        return answer


def _count(request: HttpRequest, status: int, elapsed_ms: float) -> None:
    """Count the call in memory, under its route and the organization it was made for."""
    match = getattr(request, "resolver_match", None)
    organization_id = getattr(request, "organization_id", "")
    if not organization_id and match is not None and status < 400:  # a superadmin's call about an organization there is
        organization_id = match.kwargs.get("organization_id", "")
    series = requests.Series(
        routes.of(match.route if match else None, request.path),
        routes.method(request.method or ""),
        f"{status // 100}xx",
    )
    requests.RECORDER.record(series, status=status, organization_id=organization_id, elapsed_ms=elapsed_ms)


class ContentSecurityPolicyMiddleware:
    """Sends a strict policy; the console's own theme needs inline script, so it is relaxed there only."""

    STRICT = "default-src 'none'; frame-ancestors 'none'"
    CONSOLE = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'self'; form-action 'self'; object-src 'none'"
    )

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the header."""
        response = _whole(self.get_response(request))
        policy = self.CONSOLE if request.path.startswith("/admin/") else self.STRICT
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


def _whole(response: HttpResponse) -> HttpResponse:
    """Read a static file that whitenoise would stream: its iterator is synchronous, so ASGI warns and reads it at once.

    The largest file has a few hundred kB, and a conditional or partial request has only what it asked for.
    """
    if not isinstance(response, WhiteNoiseFileResponse):
        return response
    whole = HttpResponse(b"".join(response.streaming_content), status=response.status_code)
    del whole["Content-Type"]
    for name, value in response.items():
        whole[name] = value
    response.close()
    return whole
