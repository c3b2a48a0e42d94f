"""Names of routes: what calls are counted under, so that there are as many as routes and not as many as paths. Pure."""

import re
from functools import lru_cache
from typing import Final

MAX_LENGTH: Final = 120  # of RequestMetric.route
STATIC: Final = "/static/"
UNMATCHED: Final = "(unmatched)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GROUP: Final = re.compile(r"\(\?P<(\w+)>[^()]*\)")
_CONVERTER: Final = re.compile(r"<(?:\w+:)?(\w+)>")


@lru_cache(maxsize=2048)
def name(route: str) -> str:
    """Return a route of urlpatterns as people write it: `^a/(?P<b>[^/]+)/?$` is `/a/{b}`."""
    text = _CONVERTER.sub(r"{\1}", _GROUP.sub(r"{\1}", route))
    text = text.replace("^", "").removesuffix("$").removesuffix("/?").replace("\\Z", "")
    return f"/{text}"[:MAX_LENGTH]


def of(route: str | None, path: str) -> str:
    """Return the name for a request: `route` is the pattern that matched, None where none did."""
    if route is not None:
        return name(route)
    return STATIC if path.startswith(STATIC) else UNMATCHED


def method(text: str) -> str:
    """Return the method, `other` for what HTTP does not know: anybody may make words up."""
    return text if text in METHODS else "other"
