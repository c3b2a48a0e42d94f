"""What every API view shares: the envelope, pages, bodies, rate limits and who a change is attributed to (API §1)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView

from moolai import errors
from moolai.errors import AppError, InvalidInput, NotFound
from orgs import access, audit, counters, operations, parsing, rates
from orgs.negotiation import Negotiation
from orgs.operations import PAGING, Parameter, Shape, one_of, operation
from orgs.rates import Verdict

__all__ = [
    "PAGING",
    "Parameter",
    "PublicView",
    "Reason",
    "Shape",
    "View",
    "answer",
    "body",
    "one_of",
    "operation",
    "page",
    "page_of",
]


class View(APIView):
    """An API view whose changes are audited under its caller's name.

    `rate` names the limit in settings.RATE_LIMITS (None: no limit), which holds for a credential, or for a credential
    at one address where a fleet shares it; `query` holds the values of the parameters.
    """

    rate: ClassVar[str | None] = "API"
    is_counted_by_address: ClassVar[bool] = False
    content_negotiation_class = Negotiation
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    query: dict[str, Any]
    verdict: Verdict | None = None

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Serve the request with the audit trail's origin set."""
        with audit.origin(
            "anonymous",
            remote_address=request.META.get("REMOTE_ADDR", ""),
            request_id=getattr(request, "request_id", ""),
        ):
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Attribute what follows to the caller, count the call, and refuse a URL that no view could make sense of."""
        try:
            super().initial(request, *args, **kwargs)
            who = access.caller(request)
        except Exception:
            self.count(request, request.META.get("REMOTE_ADDR", ""))
            raise
        request._request.organization_id = access.home(who)  # type: ignore[attr-defined]  # it is counted there
        place = f"@{request.META.get('REMOTE_ADDR', '')}" if self.is_counted_by_address else ""
        self.count(request, who.caller_id + place)
        audit.attribute(who.name)
        if wanted := access.chosen(request):
            access.check(request, wanted)
            request._request.organization_id = wanted  # type: ignore[attr-defined]
        self.read_url(request, kwargs)

    def read_url(self, request: Request, parts: dict[str, Any]) -> None:
        """Read the parameters the method takes into `query`; raises `invalid_parameter`, and `not_found` for NUL."""
        if any("\x00" in value for value in parts.values()):
            raise NotFound
        described = operations.of(self, request.method or "")
        if described is not None:
            self.query = described.read(request)

    def count(self, request: Request, who: str) -> None:
        """Count the call against the route's limit; raises `rate_limited` with the seconds to wait."""
        if self.rate is None:
            return
        bucket = f"{self.__class__.__module__}.{self.__class__.__qualname__}.{request.method}.{who}"
        self.verdict = rates.count(bucket, rates.parse(settings.RATE_LIMITS[self.rate]))
        if self.verdict.is_over:
            counters.add("rate_limit.hit", who)
            problem = AppError("rate_limited")
            problem.retry_after_seconds = self.verdict.reset_seconds
            raise problem

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Say how many calls are left (`X-RateLimit-Reset`: seconds since 1970, as the field has it)."""
        if self.verdict is not None:
            response["X-RateLimit-Limit"] = str(self.verdict.limit)
            response["X-RateLimit-Remaining"] = str(self.verdict.remaining)
            response["X-RateLimit-Reset"] = str(int(timezone.now().timestamp()) + self.verdict.reset_seconds)
        return super().finalize_response(request, response, *args, **kwargs)


class PublicView(View):
    """A view that needs no credential, because it is where one is got."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let anybody in, counted by address; the change, if any, is attributed to nobody."""
        APIView.initial(self, request, *args, **kwargs)
        self.count(request, request.META.get("REMOTE_ADDR", ""))
        self.read_url(request, kwargs)


class Reason(serializers.Serializer[Any]):
    """A body that says why, for the audit trail."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)


def answer(data: Any, *, status: int = 200) -> Response:
    """Wrap `data` in the success envelope."""
    moment = timezone.now().isoformat().replace("+00:00", "Z")
    return Response({"success": True, "data": data, "timestamp": moment}, status=status)


def page(request: Request, rows: QuerySet[Any], serializer: type[BaseSerializer[Any]]) -> Response:
    """Answer one page of `rows`: `?page=1&page_size=100` (at most 1000); past the end it is empty."""
    return _paged(request, rows, rows.count(), serializer)


def page_of(request: Request, rows: Sequence[Any], serializer: type[BaseSerializer[Any]]) -> Response:
    """Answer one page of rows that are read already."""
    return _paged(request, rows, len(rows), serializer)


def _paged(request: Request, rows: Any, total: int, serializer: type[BaseSerializer[Any]]) -> Response:
    query = request.parser_context["view"].query
    number, size = query["page"], query["page_size"]
    pages = -(-total // size)
    items = serializer(rows[(number - 1) * size : number * size], many=True).data if number <= pages else []
    return answer(
        {
            "items": items,
            "page": number,
            "page_size": size,
            "total_items": total,
            "total_pages": pages,
            "has_next": number < pages,
            "has_prev": number > 1 and pages > 0,
        }
    )


def body(request: Request, serializer: type[Serializer[Any]], *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the validated body; unknown fields are refused by name, and a refusal names those that are taken."""
    data = parsing.read(request._request, may_be_empty=may_be_empty)
    form = serializer(data=data)
    accepted = f"Accepted fields: {', '.join(_described(form))}."
    if unknown := sorted(set(data) - set(form.fields)):
        detail = f"Leave out the fields named in `fields`. {accepted}"
        wrong = {} if form.is_valid() else errors.flatten(form.errors)
        raise AppError("unknown_field", detail, fields={**dict.fromkeys(unknown, "unknown field"), **wrong})
    if not form.is_valid():
        raise InvalidInput(detail=f"See `fields`. {accepted}", fields=errors.flatten(form.errors))
    return dict(form.validated_data)


def _described(form: Serializer[Any]) -> list[str]:
    return [name if field.required else f"{name} (optional)" for name, field in form.fields.items()]
