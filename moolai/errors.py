"""Errors: the one list of codes, and the only place where an error body is built (API §1)."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse

logger = logging.getLogger(__name__)

# code → (HTTP status, what to do). Codes of `/ws` frames stand in docs/protocol.md.
CODES: Final[Mapping[str, tuple[int, str]]] = {
    "invalid_json": (400, "Send well-formed JSON in UTF-8."),
    "not_an_object": (400, "Send a JSON object."),
    "invalid_field": (400, "See `fields`."),
    "invalid_number": (400, "Send finite numbers: NaN and Infinity are not JSON."),
    "invalid_string": (400, "Send strings without NUL and without lone surrogates."),
    "too_deep": (400, "Nest at most 32 levels."),
    "invalid_parameter": (400, "A query parameter is unknown or has an unusable value."),
    "unknown_field": (400, "Leave out the fields named in `fields`."),
    "reserved_message_type": (400, "This type belongs to the protocol; choose another name."),
    "parameter_not_allowed": (400, "Leave out what chooses a host or a key: providers are set up here."),
    "content_blocked": (400, "A guardrail of the organization does not let this pass; the text names it."),
    "destination_not_allowed": (400, "This address may not be called from here."),
    "bad_request": (400, "The request could not be understood."),
    "unauthenticated": (401, "Send a valid credential: `Authorization: Bearer …`."),
    "token_expired": (401, "The access token is too old; refresh it."),
    "invalid_login": (401, "The user name or the password is wrong."),
    "forbidden": (403, "Your role does not allow this."),
    "organization_required": (403, "Say for which of your organizations, in X-Organization-Id."),
    "csrf_failed": (403, "The form's token is missing or stale; reload the page."),
    "not_found": (404, "There is no such object."),
    "model_not_found": (404, "Name a model that GET /v1/models lists, or an alias."),
    "method_not_allowed": (405, "See the Allow header."),
    "request_timeout": (408, "Send the whole request at once."),
    "conflict": (409, "The object is in a state that does not allow this."),
    "idempotency_conflict": (409, "This Idempotency-Key was sent with another request; take a new one."),
    "precondition_failed": (412, "The object changed meanwhile: read it again, and send If-Match with its ETag."),
    "payload_too_large": (413, "Send a smaller body: 1 MiB at most."),
    "headers_too_large": (431, "Send fewer and shorter headers: 100 of them, 16 KiB in all."),
    "unsupported_media_type": (415, "Send `Content-Type: application/json`."),
    "locked_out": (429, "Too many failed sign-ins; wait as long as Retry-After says."),
    "rate_limited": (429, "Wait as long as Retry-After says."),
    "insufficient_quota": (
        429,
        "Too little of the budget is left; send a smaller max_tokens, wait for its next window, or have it raised.",
    ),
    "internal_error": (500, "Something broke on our side; quote the request_id."),
    "provider_error": (502, "The model's provider failed, or refused its key; try again or ask another one."),
    "overloaded": (503, "Too many connections; try again in a few seconds."),
    "provider_not_configured": (503, "Set up a provider for this model, or the variable that is named."),
    "provider_unavailable": (503, "Every provider of this model fails just now; wait as long as Retry-After says."),
    "provider_timeout": (504, "The model's provider did not answer in time; try again."),
    "database_unavailable": (503, "The database does not answer; try again in a few seconds."),
}


class AppError(Exception):
    """A refusal that any door can answer: `code` stands in CODES, `detail` says what to do."""

    code = "internal_error"
    retry_after_seconds: int | None = None

    def __init__(self, code: str = "", detail: str = "", *, fields: Mapping[str, str] | None = None) -> None:
        self.code = code or self.code
        self.http_status, default = CODES[self.code]
        self.detail = detail or default
        self.fields = dict(fields or {})
        super().__init__(self.detail)


class InvalidInput(AppError):
    """What was sent cannot be used."""

    code = "invalid_field"


class Forbidden(AppError):
    """The caller may not do this."""

    code = "forbidden"


class NotFound(AppError):
    """There is no such object within the caller's reach."""

    code = "not_found"


class Conflict(AppError):
    """The object's state does not allow this."""

    code = "conflict"


def body(code: str, detail: str, *, request_id: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the one error object of the HTTP API."""
    shape: dict[str, Any] = {"success": False, "error": code, "detail": detail, "request_id": request_id}
    return shape | ({"fields": dict(fields)} if fields else {})


def respond(
    request: HttpRequest,
    code: str,
    detail: str = "",
    *,
    fields: Mapping[str, str] | None = None,
    retry_after_seconds: int | None = None,
) -> JsonResponse:
    """Build the JSON answer for `code` with its status."""
    status, default = CODES[code]
    request_id = getattr(request, "request_id", "")
    response = JsonResponse(body(code, detail or default, request_id=request_id, fields=fields), status=status)
    response["Content-Length"] = str(len(response.content))  # also where CommonMiddleware is not passed again
    if status in (429, 503):
        response["Retry-After"] = str(retry_after_seconds or 5)
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="moolai"'
    return response


def classify(error: Exception) -> AppError:
    """Turn any exception into the AppError that describes it to a client."""
    from rest_framework import exceptions as drf

    match error:
        case AppError():
            return error
        case Http404():
            return NotFound()
        case PermissionDenied() | drf.PermissionDenied():
            return Forbidden()
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return AppError("unauthenticated")
        case drf.ParseError():
            return AppError("invalid_json")
        case drf.ValidationError():
            return InvalidInput(fields=flatten(error.detail))
        case drf.MethodNotAllowed():
            return AppError("method_not_allowed")
        case drf.UnsupportedMediaType():
            return AppError("unsupported_media_type")
        case RequestDataTooBig():
            return AppError("payload_too_large")
        case SuspiciousOperation():
            return AppError("bad_request")
        case drf.Throttled():
            return AppError("rate_limited")
        case OperationalError() | InterfaceError():
            return AppError("database_unavailable")
    return AppError("internal_error")


def handle_drf(error: Exception, context: Mapping[str, Any]) -> JsonResponse:
    """Answer any exception of a DRF view (REST_FRAMEWORK's EXCEPTION_HANDLER)."""
    problem = classify(error)
    if problem.http_status == 500:
        logger.exception("unhandled error in %s", type(context.get("view")).__name__, exc_info=error)
    request: HttpRequest = context["request"]._request
    if problem.http_status in (401, 403):
        logger.warning("denied %s %s: %s", request.method, request.path, problem.code)
    response = respond(
        request,
        problem.code,
        problem.detail,
        fields=problem.fields,
        retry_after_seconds=problem.retry_after_seconds,
    )
    if problem.code == "method_not_allowed":
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def flatten(detail: Any, path: str = "") -> dict[str, str]:
    """Turn DRF's nested error details into `{"path.to.field": "text"}`."""
    if isinstance(detail, Mapping):
        flat: dict[str, str] = {}
        for key, value in detail.items():
            flat |= flatten(value, f"{path}.{key}" if path else str(key))
        return flat
    if isinstance(detail, list):
        return {path or "body": " ".join(str(item) for item in detail)}
    return {path or "body": str(detail)}
