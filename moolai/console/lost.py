"""The pages for a person at a path where nothing is, or that may not be opened."""

from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from moolai import errors

API = ("/api/", "/ws", "/health", "/readyz", "/static/")
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
CONSOLE = ("/admin/", "Open the console")


class LostPage(HttpResponse):
    """An error to read; the middleware leaves it as it is."""


def is_for_person(request: HttpRequest) -> bool:
    """Whether a browser opens a page, and not a path of the API."""
    return request.method in ("GET", "HEAD") and _wants_page(request)


def page(request: HttpRequest) -> LostPage:
    """Answer the page of a path where nothing is; it asks the database nothing."""
    text = "The address may have a typing error, or what it named was deleted."
    return _page(404, "There is nothing at this path", text, CONSOLE)


def denied(request: HttpRequest) -> HttpResponse:
    """Answer who may not open a page, or not do what it was asked for: a person with what to do about it."""
    if not _wants_page(request):
        return errors.respond(request, "forbidden")
    if getattr(getattr(request, "user", None), "is_superuser", False):
        text = "The page shows its rows only, or this one may not be changed in the console."
        return _page(403, "This cannot be done here", text, CONSOLE)
    text = "Only superadmins use the console. Ask one of them, or sign in with another account."
    way = f"/admin/login/?next={quote(request.path)}", "Sign in with another account"
    return _page(403, "Your account may not open this page", text, way)


def instead_of(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the page in the place of a refusal without a word, where a person would read it."""
    is_bare = response.status_code == 403 and not response.streaming and not response.content
    return denied(request) if is_bare and _wants_page(request) else response


def outside(request: HttpRequest) -> HttpResponse:
    """Answer who asks for the console from a network that is not allowed."""
    title = "The console is not reached from this network."
    if not _wants_page(request):
        return errors.respond(request, "forbidden", title)
    text = "Use it from one of the networks in ADMIN_ALLOWED_CIDRS, or have whoever runs moolai add yours."
    return _page(403, title.rstrip("."), text, None)


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token is missing or stale (Django's CSRF_FAILURE_VIEW)."""
    if not _wants_page(request):
        return errors.respond(request, "csrf_failed")
    text = "Nothing was saved: its token does not fit your session any more. Load the page again and send it once more."
    return _page(403, "This form is too old", text, (quote(request.path), "Load the page again"))


def _wants_page(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(API)


def _page(status: int, title: str, text: str, way: tuple[str, str] | None) -> LostPage:
    address, label = way or ("", "")
    about = {"title": title, "text": text, "address": address, "label": label}
    response = LostPage(render_to_string("console/lost.html", about), status=status)
    response["Content-Security-Policy"] = POLICY
    return response
