"""Every door of HTTP and of the sockets, one by one: none opens without a credential, or by a cookie alone."""

import asyncio
import json
import re
import string
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from moolai import asgi, ws
from moolai.testing.world import World
from orchestrators import protocol
from orchestrators.tests.live import Live, running
from orchestrators.tests.raw import RawPeer
from orgs import organizations
from orgs.models import User

pytestmark = pytest.mark.once
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}  # /metrics is open on this host
UNSAFE = ("post", "put", "patch", "delete")
ANY = {"get", *UNSAFE}
VALUES = ("org-001", "orch-001", "1", "orgs")
# Doors that need no credential: they tell whether we live, or are where a credential is got.
PUBLIC = {
    "/": {"get"},
    "/health": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/admin": ANY,  # leads to /admin/
    "/admin/login/": ANY,
    "/admin/logout/": ANY,  # leads to /admin/
    "/api/v1/internal/auth/login": {"post"},
    "/api/v1/internal/auth/refresh": {"post"},
    "/api/v1/internal/auth/logout": {"post"},
    "/api/v1/controller/health": {"get"},
    "/api/v1/system/health": {"get"},
    "/stats": {"get"},
    "/decide/org-001": {"get", "post"},  # the link is the credential; this one is none, and is told so (404)
}


def patterns(resolver: URLResolver | None = None, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield (a path that leads there, pattern) of every route."""
    for entry in (resolver or get_resolver()).url_patterns:
        here = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, here)
        else:
            yield example(here), entry


def example(route: str) -> str:
    """Return a path that a route written as a pattern or with converters matches."""
    route = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: "1", route) if "(?P" not in route else route
    while found := re.search(r"\(\?P<(\w+)>", route):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(route[end], 0)
            end += 1
        route = route[: found.start()] + value(found[1], route[found.end() : end - 1]) + route[end:]
    path = "/" + re.sub(r"/\?|[\^$\\]|\.\*|\(\?:.*\)", "", route).lstrip("/")
    assert set(path) <= set(string.ascii_letters + string.digits + "/-_."), f"no path known for {route}"
    return path


def value(name: str, pattern: str) -> str:
    """Return something that the group takes: an id of the world below where it can."""
    fitting = [text for text in VALUES if re.fullmatch(pattern, text)]
    assert fitting, f"add to VALUES something that {name} takes: {pattern}"
    return fitting[1] if name.startswith("orchestrator") and len(fitting) > 1 else fitting[0]


def view_class(entry: URLPattern) -> type[APIView] | None:
    found = getattr(entry.callback, "cls", None)
    return found if isinstance(found, type) and issubclass(found, APIView) else None


ROUTES = list(patterns())
API = [(path, view) for path, entry in ROUTES if (view := view_class(entry))]
WRITES = [(method, path) for path, view in API for method in UNSAFE if hasattr(view, method)]
PRIVATE = [(method, path) for method, path in WRITES if method not in PUBLIC.get(path, set())]


@pytest.fixture
def root(db: None) -> User:
    organizations.create("org-001", name="Acme", acting_user=None)
    return User.objects.create_superuser("root", password="correct horse battery")


def test_the_routes_are_found_at_all() -> None:
    assert len(API) > 15
    assert ("put", "/api/v1/internal/orchestrators/orch-001/independence") in WRITES
    assert ("delete", "/api/v1/orchestrators/org-001/users/1") in WRITES
    assert "/admin/orgs/user/add/" in dict(ROUTES)


# --- CSRF ------------------------------------------------------------------------------------------------------------


def test_a_write_with_the_consoles_cookie_alone_is_refused(root: User) -> None:
    client, told = Client(enforce_csrf_checks=True), {}
    client.force_login(root)
    for method, path in PRIVATE:
        answer = client.generic(method.upper(), path, b"{}", content_type="application/json")
        told[method, path] = (answer.status_code, answer.json()["error"])
    assert {door: said for door, said in told.items() if said != (403, "csrf_failed")} == {}


def test_only_the_api_which_checks_by_itself_is_exempt_from_djangos_check() -> None:
    exempt = [path for path, entry in ROUTES if getattr(entry.callback, "csrf_exempt", False) and not view_class(entry)]
    assert [path for path in exempt if PUBLIC.get(path) != {"get"}] == []


def test_every_page_of_the_console_refuses_a_form_without_its_token(root: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    told = {path: client.post(path).status_code for path, _ in ROUTES if path.startswith("/admin/")}
    assert {path: status for path, status in told.items() if status not in (403, 405)} == {}


# --- no credential ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("path", sorted({path for path, _ in ROUTES}))
def test_every_http_door_asks_for_a_credential(path: str) -> None:
    methods = ["get", *UNSAFE]
    if path.startswith("/admin/"):  # Django's views know GET and POST alone: the others take turns
        methods = ["get", "post", ("put", "patch", "delete")[len(path) % 3]]
    for method in methods:
        if method in PUBLIC.get(path, set()):
            continue
        answer = getattr(Client(headers=ELSEWHERE), method)(path)
        is_sent_to_sign_in = answer.status_code == 302 and answer.headers["Location"].startswith("/admin/login/")
        assert is_sent_to_sign_in or answer.status_code in (401, 405), (method, path, answer.status_code)


# --- sockets ---------------------------------------------------------------------------------------------------------


def test_the_asynchronous_router_has_one_socket_and_nothing_beside_it() -> None:
    """Ask the router itself for paths that others have left open."""

    async def status(path: str) -> int:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        scope = {"type": "websocket", "path": path, "headers": [], "query_string": b"",
                 "extensions": {"websocket.http.response": {}}}  # fmt: skip
        await asgi.application(scope, receive, send)
        return int(sent[0]["status"])

    for path in ("/", "/ws2", "/ws/events", "/events/in", "/api/ws", "/admin/", "/ws/../events", "/WS", ""):
        assert asyncio.run(status(path)) == 404, path


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found


OPENINGS: dict[str, dict[str, Any]] = {
    "register": {"orchestrator_id": "orch-001", "capabilities": []},
    "handshake": {"data": {"orchestrator_id": "orch-001", "metadata": {}}},
    "subscribe": {"topics": ["fleet"]},
}


@pytest.mark.services
@pytest.mark.parametrize("kind", sorted(ws.OPENING_TYPES))
@pytest.mark.parametrize("token", [None, "mk_wrong", "a.b.c", ""])
def test_every_frame_that_opens_a_session_needs_a_good_credential_and_its_refusal_is_logged(
    live: Live, kind: str, token: str | None
) -> None:
    before = len(live.lines("denied /ws"))
    headers: dict[str, Any] = {"Authorization": f"Bearer {token}"} if token else {}
    peer = live.peer(**headers)
    peer.send({"type": kind, **OPENINGS[kind], **({"token": token} if token is not None else {})})
    frames, code = peer.ending()
    assert (frames[-1]["error"], code) == ("unauthenticated", 4401)
    lines = [json.loads(line) for line in live.lines("denied /ws")[before:]]
    assert [(line["event"], line["level"], line["remote_address"]) for line in lines] == [
        ("denied /ws: unauthenticated", "warning", "127.0.0.1")
    ]


@pytest.mark.services
@pytest.mark.parametrize("kind", sorted(protocol.RESERVED_TYPES - ws.OPENING_TYPES))
def test_every_other_frame_is_refused_before_a_session_is_open(live: Live, kind: str) -> None:
    peer = live.peer()
    assert peer.ask({"type": kind})["error"] == "not_registered"


@pytest.mark.services
def test_an_origin_that_is_not_ours_is_refused_before_the_upgrade(live: Live) -> None:
    with RawPeer(live.server.port) as peer:
        cookie = f"moolai_session_{live.server.port}=anything".encode()
        status, _ = peer.upgrade(headers=[("Cookie", cookie), ("Origin", b"http://evil.example")])
    assert status == 403
    assert [json.loads(line)["level"] for line in live.lines("denied /ws: forbidden")] == ["warning"]


def test_paths_are_made_from_every_kind_of_route() -> None:
    assert example(r"^api/(?P<organization_id>[^/]+)/x/(?P<user_id>[0-9]{1,18})/?$") == "/api/org-001/x/1"
    assert example("admin/orgs/user/<path:object_id>/change/") == "/admin/orgs/user/1/change/"
