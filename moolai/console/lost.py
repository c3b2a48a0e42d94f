"""The page for a person at a path where nothing is."""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

API = ("/api/", "/ws", "/health", "/readyz", "/static/")
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"


class LostPage(HttpResponse):
    """A 404 to read; the middleware leaves it as it is."""

    status_code = 404


def is_for_person(request: HttpRequest) -> bool:
    """Whether a browser asks, and not for a path of the API."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    return wants_page and request.method in ("GET", "HEAD") and not request.path.startswith(API)


def page(request: HttpRequest) -> LostPage:
    """Answer the page; it asks the database nothing."""
    response = LostPage(render_to_string("console/lost.html"))
    response["Content-Security-Policy"] = POLICY
    return response
