"""The page a browser sees at an API path: the answer, its filters, and a form for each write (DRF's browsable API)."""

import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from django.urls import Resolver404, resolve
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from rest_framework import serializers
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from orgs import operations
from orgs.operations import Operation

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
MAX_COLOURED: Final = 200_000  # characters
TOKEN: Final = re.compile(
    r'(?P<key>"(?:\\.|[^"\\])*")(?=\s*:)|(?P<text>"(?:\\.|[^"\\])*")'
    r"|(?P<word>\b(?:true|false|null)\b|-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"
)


class PageRenderer(BrowsableAPIRenderer):
    """DRF's browsable API with the product's look, and without DRF's parsers, filters and inline scripts."""

    template = "rest_framework/api.html"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return the page, and say what it may load."""
        renderer_context["response"]["Content-Security-Policy"] = POLICY
        return super().render(data, accepted_media_type, renderer_context)

    def get_context(self, data: Any, accepted_media_type: str, renderer_context: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return what the template shows."""
        view, request, response = (renderer_context[name] for name in ("view", "request", "response"))
        described = operations.of(view, "GET")
        text = JSONRenderer().render(data, "application/json; indent=2").decode()
        return {
            "heading": _sentence(view.get).removesuffix("."),
            "path": request.path,
            "trail": list(_trail(request.path)),
            "status": f"{response.status_code} {HTTPStatus(response.status_code).phrase}",
            "headers": sorted(item for item in response.items() if item[0] != "Content-Security-Policy"),
            "content": coloured(text) if len(text) < MAX_COLOURED else text,
            "filters": list(_filters(request, described)) if described else [],
            "page": _neighbours(request, data),
            "forms": [_form(view, method, data) for method in WRITES if operations.of(view, method)],
            "user": request.user,
        }


def coloured(text: str) -> SafeString:
    """Return JSON, escaped, with its tokens in `<span>`s."""
    return format_html_join("", '<span class="{}">{}</span>', _pieces(text))


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    end = 0
    for match in TOKEN.finditer(text):
        yield "", text[end : match.start()]
        yield f"json-{match.lastgroup}", match[0]
        end = match.end()
    yield "", text[end:]


def _sentence(method: Any) -> str:
    """Return the first sentence of a method's docstring."""
    return " ".join((method.__doc__ or "").strip().partition("\n\n")[0].split())


def _trail(path: str) -> Iterator[tuple[str, str]]:
    """Yield each piece of the path with its address, "" where nothing can be read."""
    words = path.strip("/").split("/")
    for count, word in enumerate(words, start=1):
        address = "/" + "/".join(words[:count])
        yield word, address if _is_readable(address) else ""


def _is_readable(path: str) -> bool:
    try:
        view = getattr(resolve(path).func, "view_class", None)
    except Resolver404:
        return False
    return operations.of(view, "GET") is not None


def _filters(request: Request, described: Operation) -> Iterator[dict[str, Any]]:
    for name, parameter in described.parameters.items():
        choices = ("true", "false") if parameter.kind == "boolean" else parameter.choices
        default = "" if parameter.default is None else parameter.default
        value = request.query_params.get(name, default)
        yield {"name": name, "description": parameter.description, "choices": choices, "value": value}


def _neighbours(request: Request, data: Any) -> dict[str, Any] | None:
    """Return where the pages before and after this one are, None for an answer that is no page."""
    page = data.get("data") if isinstance(data, Mapping) else None
    if not isinstance(page, Mapping) or "total_pages" not in page:
        return None

    def address(number: int) -> str:
        query = request.query_params.copy()
        query["page"] = str(number)
        return f"?{query.urlencode()}"

    number = page["page"]
    return {
        "number": number,
        "of": page["total_pages"],
        "rows": page["total_items"],
        "before": address(number - 1) if page["has_prev"] else "",
        "after": address(number + 1) if page["has_next"] else "",
    }


def _form(view: Any, method: str, data: Any) -> dict[str, Any]:
    """Describe the form of a write; its body starts with what is required, and, for a change, with what is there."""
    described = operations.of(view, method)
    fields = described.body().fields if described and described.body else {}  # type: ignore[attr-defined]
    row = data.get("data") if isinstance(data, Mapping) and method in ("PUT", "PATCH") else None
    known = row if isinstance(row, Mapping) else {}
    body = {
        name: known.get(name, _sample(field))
        for name, field in fields.items()
        if field.required or (name in known and known[name] is not None)
    }
    return {
        "method": method,
        "does": _sentence(getattr(view, method.lower())),
        "has_body": bool(fields),
        "body": json.dumps(body, indent=2, ensure_ascii=False),
        "optional": [name for name, field in fields.items() if not field.required],
    }


def _sample(field: Any) -> Any:
    """Return an empty value of a field's kind."""
    match field:
        case serializers.ChoiceField():
            return next(iter(field.choices), "")
        case serializers.BooleanField():
            return False
        case serializers.IntegerField() | serializers.FloatField() | serializers.DecimalField():
            return getattr(field, "min_value", None) or 0
        case serializers.ListField() | serializers.ListSerializer():
            return []
        case serializers.DictField() | serializers.JSONField():
            return {}
        case serializers.Serializer():
            return {name: _sample(child) for name, child in field.fields.items()}
    return ""
