"""The whole document: which routes are in it, and what stands around them."""

import re
from functools import cache
from typing import Any, Final

from django.conf import settings
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator

from moolai.openapi import answers, checks, gateway, naming, requests

Document = dict[str, Any]
REFERENCE: Final = re.compile(r" \((?:API|PROTOCOL) §[^)]*\)")
WITH_SLASH: Final = ("/api/schema/",)
DESCRIPTION: Final = """\
The control plane of a fleet of LLM orchestrators.

A success holds its result in `data`, an error its code in `error` and what to do about it in `detail`. \
What belongs to another organization does not exist for the caller (404). \
Every answer names its `X-Request-ID`: the one sent, when it is sane.
"""


class Routes(EndpointEnumerator):
    """The routes as people write them: the optional slash at the end is left out."""

    def get_path_from_regex(self, path_regex: str) -> str:
        """Return the path of a route's regular expression, with names in braces."""
        path: str = super().get_path_from_regex(path_regex)  # type: ignore[no-untyped-call]
        return path if path in WITH_SLASH or not path_regex.endswith("/?$") else path.removesuffix("/")


class Generator(SchemaGenerator):
    """Generates the document from our routes."""

    endpoint_inspector_cls = Routes

    def coerce_path(self, path: str, method: str, view: Any) -> str:
        """Call identifiers what people call them."""
        return naming.written(path)


def complete(result: Document, **_: Any) -> Document:
    """Add the public checks, credentials, shared parts and the list of tags (a post-processing hook)."""
    result["info"]["description"] = DESCRIPTION
    result["paths"] |= checks.PATHS | gateway.PATHS
    parts = result.setdefault("components", {})
    parts.setdefault("schemas", {})["Error"] = answers.ERROR
    parts |= {"headers": answers.HEADERS, "parameters": requests.COMPONENTS, "securitySchemes": _credentials()}
    result["security"] = [{name: []} for name in parts["securitySchemes"]]
    for call in _calls(result):
        if {} in call.get("security", ()):
            call["security"] = [{}, *result["security"]]
    result["tags"] = [{"name": name} for name in sorted({call["tags"][0] for call in _calls(result)})]
    _name_aliases(result)
    _clean(result)
    return result


def _credentials() -> Document:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token (see Signing in), an API key `mk_…`, or the static superadmin token.",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key `mk_…`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The console's session; writes need its CSRF token in `X-CSRFToken`, too.",
        },
    }


def _calls(result: Document) -> list[Document]:
    return [call for path in result["paths"].values() for call in path.values()]


def _name_aliases(result: Document) -> None:
    """Tell a second path to the same call from the first by its name."""
    seen: set[str] = set()
    for call in _calls(result):
        if call["operationId"] in seen:
            call["operationId"] += "_alias"
        seen.add(call["operationId"])


def _clean(part: Any) -> None:
    """Mend what drf-spectacular makes of our serializers, and take out its marks and our sources' references.

    A blank or null value may match both alternatives of a `oneOf`, which allows one only.
    """
    if isinstance(part, dict):
        part.pop("x-spec-enum-id", None)
        if isinstance(part.get("description"), str):
            part["description"] = REFERENCE.sub("", part["description"])
        if alternatives := part.pop("oneOf", None):
            part |= {} if {} in alternatives else {"anyOf": alternatives}
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _clean(child)


@cache
def document() -> Document:
    """Return the document; it is the same for everybody, so it is made once a process."""
    made: Document = Generator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made
