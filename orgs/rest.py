"""What every API view shares: the envelope, pages, bodies and who a change is attributed to (API §1)."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView

from moolai import errors
from moolai.errors import AppError, InvalidInput, NotFound
from orgs import access, audit, parsing

MAX_PAGE_SIZE: Final = 1000
PAGING: Final = ("page", "page_size")


class JsonOnly(BaseContentNegotiation):
    """Answers JSON whatever a client says it accepts, so that errors are never anything else."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        """Return no parser: bodies are read by `body` below, more strictly than DRF's `request.data` would."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the only renderer."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class View(APIView):
    """An API view whose changes are audited under its caller's name; `parameters` are those its URL takes."""

    parameters: ClassVar[tuple[str, ...]] = ()
    content_negotiation_class = JsonOnly
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Serve the request with the audit trail's origin set."""
        with audit.origin(
            "anonymous",
            remote_address=request.META.get("REMOTE_ADDR", ""),
            request_id=getattr(request, "request_id", ""),
        ):
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Attribute what follows to the caller, and refuse a URL that no view could make sense of."""
        super().initial(request, *args, **kwargs)
        audit.attribute(access.caller(request).name)
        if any("\x00" in value for value in kwargs.values()):
            raise NotFound
        for name, values in request.query_params.lists():
            if name not in self.parameters:
                raise AppError("invalid_parameter", f"There is no parameter {name[:50]!r} here.")
            if len(values) > 1 or "\x00" in values[0]:
                raise AppError("invalid_parameter", f"Send {name} once, without NUL.")


class PublicView(View):
    """A view that needs no credential, because it is where one is got."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let anybody in; the change, if any, is attributed to nobody."""
        APIView.initial(self, request, *args, **kwargs)


def answer(data: Any, *, status: int = 200) -> Response:
    """Wrap `data` in the success envelope."""
    moment = timezone.now().isoformat().replace("+00:00", "Z")
    return Response({"success": True, "data": data, "timestamp": moment}, status=status)


def page(request: Request, rows: QuerySet[Any], serializer: type[BaseSerializer[Any]]) -> Response:
    """Answer one page of `rows`: `?page=1&page_size=100` (at most 1000); past the end it is empty."""
    number = _positive(request, "page", 1)
    size = min(_positive(request, "page_size", 100), MAX_PAGE_SIZE)
    paginator = Paginator(rows, size)
    pages = paginator.num_pages if paginator.count else 0
    items = serializer(rows[(number - 1) * size : number * size], many=True).data if number <= pages else []
    return answer(
        {
            "items": items,
            "page": number,
            "page_size": size,
            "total_items": paginator.count,
            "total_pages": pages,
            "has_next": number < pages,
            "has_prev": number > 1 and pages > 0,
        }
    )


def _positive(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise AppError("invalid_parameter", f"{name} must be a whole number from 1.")
    return int(text) if len(text) <= parsing.MAX_DIGITS else parsing.MAX_INTEGER


def body(request: Request, serializer: type[Serializer[Any]], *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the validated body; unknown fields are refused by name, and a refusal names those that are taken."""
    data = parsing.read(request._request, may_be_empty=may_be_empty)
    form = serializer(data=data)
    accepted = f"Accepted fields: {', '.join(_described(form))}."
    if unknown := sorted(set(data) - set(form.fields)):
        detail = f"Leave out the fields named in `fields`. {accepted}"
        raise AppError("unknown_field", detail, fields=dict.fromkeys(unknown, "unknown field"))
    if not form.is_valid():
        raise InvalidInput(detail=f"See `fields`. {accepted}", fields=errors.flatten(form.errors))
    return dict(form.validated_data)


def _described(form: Serializer[Any]) -> list[str]:
    return [name if field.required else f"{name} (optional)" for name, field in form.fields.items()]


def choice(request: Request, name: str, allowed: list[str]) -> str:
    """Return the query parameter `name` when it is one of `allowed`, "" when absent."""
    value = request.query_params.get(name, "")
    if value and value not in allowed:
        raise AppError("invalid_parameter", f"{name} is one of {', '.join(allowed)}.")
    return value
