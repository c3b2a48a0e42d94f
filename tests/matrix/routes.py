"""The routes as the product has them: every pattern of `moolai.urls` with the methods it takes."""

from collections.abc import Iterator
from typing import Final

from django.urls import URLPattern, URLResolver

from moolai.urls import urlpatterns
from tests.matrix.rows import ROWS

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# The console's pages have one rule for all of them (test_matrix_console.py); a signed link is its own credential, and
# what its page does and refuses stands in monitoring/tests/test_approval_links.py.
PAGES: Final = ("admin", "^decide/")


def patterns() -> list[URLPattern]:
    """Return every route of the API; pages for people are left out."""
    found = [entry for entry in urlpatterns if isinstance(entry, URLPattern)]
    return [entry for entry in found if not str(entry.pattern).startswith(PAGES)]


def resolvers() -> list[str]:
    """Return the prefixes under which other tables of routes hang."""
    return [str(entry.pattern) for entry in urlpatterns if isinstance(entry, URLResolver)]


def methods(entry: URLPattern) -> list[str]:
    """Return what a route takes: a view class says it, a function reads."""
    view = getattr(entry.callback, "view_class", None)
    if view is None:
        return ["GET"]
    return [method for method in METHODS if hasattr(view, method.lower()) and method.lower() in view.http_method_names]


def served() -> Iterator[tuple[str, str]]:
    """Yield (route, method) of everything the API serves."""
    for entry in patterns():
        for method in methods(entry):
            yield str(entry.pattern), method


def refused() -> Iterator[tuple[str, str]]:
    """Yield (path template, method) of what each route does not serve, at a path some row of its has."""
    known = set(served())
    paths = {row.key[0]: row.path.partition("?")[0] for row in ROWS}
    for entry in patterns():
        route = str(entry.pattern)
        for method in METHODS:
            if (route, method) not in known and route in paths:
                yield paths[route], method
