"""Which form an answer has: JSON, unless somebody who is signed in reads it in a browser. Errors are JSON always."""

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

PAGE = "text/html"
JSON = "application/json"


class Negotiation(BaseContentNegotiation):
    """Answers a GET of a browser with the view's page, everything else with its first renderer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        """Return no parser: `orgs.parsing` reads bodies, more strictly than DRF's `request.data` would."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the renderer and its media type."""
        choice = list(renderers)
        pages = [renderer for renderer in choice if renderer.media_type == PAGE]
        renderer = pages[0] if pages and _is_read_by_a_person(request) else choice[0]
        return renderer, str(renderer.media_type)


def _is_read_by_a_person(request: Request) -> bool:
    """Whether HTML is asked for, more than JSON, by somebody signed in to the console: programs get JSON always."""
    if request.method not in ("GET", "HEAD") or request._request.get_preferred_type([JSON, PAGE]) != PAGE:
        return False
    if "Authorization" in request.headers or "X-API-Key" in request.headers:
        return False
    return bool(getattr(request._request, "user", None) and request._request.user.is_authenticated)
