"""What answers carry in production: the headers that bind browsers, and the flags of cookies."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any

import pytest

from moolai.testing.product import ServerProcess
from moolai.testing.world import World
from tests.raw_http import ask, request
from tests.test_checks import SAFE

pytestmark = [pytest.mark.once, pytest.mark.services]
PASSWORD = "correct horse battery"
HOST, ORIGIN = "moolai.example.com", "https://ops.example.com"
PATHS = {
    "/healthz": 200,
    "/health": 200,
    "/": 200,
    "/api/v1/controller/orchestrators": 401,
    "/api/v1/nothing": 404,
    "/admin/login/": 200,
    "/admin/nothing/": 302,
    "/static/moolai/console.css": 200,
}


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        """Return no next request."""


@pytest.fixture(scope="module")
def production(world: World) -> Iterator[ServerProcess]:
    """A web process as in production, behind a proxy on loopback that speaks TLS to the outside."""
    env = {**SAFE, "TRUSTED_PROXIES": "127.0.0.1", "CORS_ALLOWED_ORIGINS": ORIGIN}
    with world.installation(env) as place:
        place.manage("collectstatic", "--noinput", "--verbosity", "0")
        script = f"from orgs.models import User; User.objects.create_superuser('root', password='{PASSWORD}')"
        place.manage("shell", "--no-imports", "-c", script)
        server = place.process("serve")
        server.spawn()
        server.wait_ready(lambda: lives(server), timeout_seconds=60)
        yield server


def lives(server: ServerProcess) -> bool:
    try:
        return get(server, "/healthz")[0] == 200
    except OSError:
        return False


def get(server: ServerProcess, path: str, data: bytes | None = None, /, **headers: Any) -> tuple[int, Message]:
    named = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.build_opener(Stay).open(
            urllib.request.Request(server.url(path), data=data, headers=named), timeout=10
        ) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_binds_the_browser(production: ServerProcess, path: str) -> None:
    status, headers = get(production, path)
    assert status == PATHS[path]
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert path.startswith("/static/") or headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Server"] is None
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    if path.startswith("/admin/"):
        assert "default-src 'self'" in policy
        assert "http" not in policy, "nothing comes from elsewhere"
    else:
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def flags(cookie: str) -> set[str]:
    return {part.strip() for part in cookie.split(";")[1:]}


def test_the_consoles_cookies_travel_over_tls_only_and_scripts_do_not_see_the_session(
    production: ServerProcess,
) -> None:
    _, headers = get(production, "/admin/login/")
    (given,) = headers.get_all("Set-Cookie") or []
    assert given.startswith("moolai_csrf_")
    assert {"Secure", "SameSite=Lax", "Path=/"} <= flags(given)
    name, _, token = given.partition(";")[0].partition("=")
    words = {"csrfmiddlewaretoken": token, "next": "/admin/", "username": "root", "password": PASSWORD}
    page = f"https://{HOST}/admin/login/"
    status, headers = get(
        production, "/admin/login/", urllib.parse.urlencode(words).encode(), Cookie=f"{name}={token}", Referer=page
    )
    assert (status, headers["Location"]) == (302, "/admin/")
    session = next(cookie for cookie in headers.get_all("Set-Cookie") or [] if cookie.startswith("moolai_session_"))
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={8 * 3600}"} <= flags(session)


def test_plain_http_is_sent_to_https(production: ServerProcess) -> None:
    status, headers = get(production, "/admin/login/", X_Forwarded_Proto="http")
    assert (status, headers["Location"]) == (301, f"https://{HOST}/admin/login/")


def test_another_host_is_refused(production: ServerProcess) -> None:
    assert get(production, "/admin/login/", Host="evil.example")[0] == 400


def test_what_is_refused_on_the_wire_is_not_sniffed_either(production: ServerProcess) -> None:
    answer = ask(production.port, request(method="TRACE"))
    assert answer.status == 405
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        f"{ORIGIN}.evil.example",
        "http://ops.example.com",
        f"{ORIGIN}:8443",
        "https://ops",
    ],
)
def test_pages_from_elsewhere_may_not_read_answers(production: ServerProcess, origin: str) -> None:
    for headers in ({"Origin": origin}, {"Origin": origin, "Access_Control_Request_Method": "PUT"}):
        _, answer = get(production, "/api/v1/controller/orchestrators", **headers)
        assert answer["Access-Control-Allow-Origin"] is None
        assert answer["Access-Control-Allow-Credentials"] is None
    _, answer = get(production, "/health", Origin=ORIGIN)
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert answer["Access-Control-Allow-Credentials"] is None, "a page never speaks with the console's session"


def test_without_a_list_no_page_from_elsewhere_may(web: Callable[..., ServerProcess]) -> None:
    server = web()
    _, answer = get(server, "/health", Host="127.0.0.1", Origin=ORIGIN)
    assert answer["Access-Control-Allow-Origin"] is None
