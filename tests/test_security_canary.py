"""A canary in every place that takes a secret, then a search of everything that leaves the product or is kept by it."""

import base64
import json
import re
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection

from moolai.testing.processes import wait_until
from moolai.testing.redis import Redis
from moolai.testing.world import World
from orchestrators.tests.live import Live, running
from orchestrators.tests.test_secrets import dump
from orgs.models import User
from tests.test_outside import Collector

pytestmark = [pytest.mark.once, pytest.mark.services]
CANARY = "cAnArY-5d21f0"
REDIS_PASSWORD = f"{CANARY}-redis"
PASSWORD, WRONG = f"{CANARY}-password", f"{CANARY}-wrong-password"
DEV_TOKEN = f"{CANARY}-dev-token-0123456789"
INSTANCE: dict[str, Any] = {
    "orchestrator_id": "orch-001",
    "organization_id": "org-001",
    "name": "One",
    "internal_url": f"http://moolai:{CANARY}@10.0.0.5:8000/base",
    "database_url": f"postgres://moolai:{CANARY}@db:5432/orch",
    "redis_url": f"redis://:{CANARY}@redis:6379/0",
    "environment_variables": {"OPENAI_API_KEY": CANARY, "PLAIN": f"{CANARY}-2"},
}
REGISTER = "/api/v1/internal/orchestrators/register"
BROKEN_PAGE = "/admin/django_celery_beat/periodictask/"


class Monitor:
    """Everything that a Redis is told (MONITOR), with what its messages carry in base64 written out."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(f"AUTH {REDIS_PASSWORD}\r\nMONITOR\r\n".encode())
        self.heard = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while data := self.socket.recv(65_536):
                self.heard += data

    def text(self) -> str:
        found = [self.heard]
        for text in re.findall(rb"[A-Za-z0-9+/]{12,}={0,2}", self.heard):
            with suppress(ValueError):
                found.append(base64.b64decode(text, validate=True))
        return b"\n".join(found).decode("latin-1")

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def redis_monitor(redis_server: Redis) -> Iterator[Monitor]:
    redis_server.configure("requirepass", REDIS_PASSWORD)
    monitor = Monitor(redis_server.port)
    yield monitor
    monitor.close()


@pytest.fixture
def sentry() -> Iterator[str]:
    """The DSN of a Sentry that listens on loopback."""
    Collector.received.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://public@127.0.0.1:{server.server_address[1]}/1"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["json", "console"])
def live(
    request: pytest.FixtureRequest, world: World, django_db_blocker: Any, redis_server: Redis, redis_monitor: Monitor,
    sentry: str,
) -> Iterator[Live]:  # fmt: skip
    env = {
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": str(request.param),
        "SENTRY_DSN": sentry,
        "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{redis_server.port}/0",
        "DEV_BEARER_TOKEN": DEV_TOKEN,
        "SECRET_KEY": f"{CANARY}-secret-key-" + "k" * 50,
        "ENCRYPTION_KEY": f"{CANARY}-first-" + "k" * 32 + f",{CANARY}-second-" + "k" * 32,
        "MOOLAI_ADMIN_PASSWORD": f"{CANARY}-admin",
        "OPENAI_API_KEY": f"{CANARY}-openai-0123456789",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",  # nobody is there
    }
    with running(world, django_db_blocker, env) as found:
        yield found


@dataclass
class Visit:
    """Everybody's calls; `seen` is what came back, but for the answers that hand out a secret once."""

    live: Live
    seen: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=lambda: [CANARY])
    opener: Any = None

    def ask(self, path: str, body: Any = None, *, method: str = "GET", hands_out: bool = False, **headers: str) -> Any:
        """Make a call; `body` is a JSON value, or bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        call = urllib.request.Request(self.live.server.url(path), data=data, method=method, headers=named)
        try:
            with (self.opener.open if self.opener else urllib.request.urlopen)(call, timeout=20) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        if not hands_out:
            self.seen.append(text)
        return status, text

    def keep(self, *secrets: str) -> None:
        self.secrets += secrets


def people_sign_in(visit: Visit) -> None:
    """Sign in with right and wrong words, refresh, sign out, and use and misuse the tokens."""
    root = User.objects.create_superuser("root")
    User.objects.filter(pk=root.pk).update(password=make_password(PASSWORD, hasher="argon2"))  # what the server knows
    login = "/api/v1/internal/auth/login"
    assert visit.ask(login, {"username": "root", "password": WRONG}, method="POST")[0] == 401
    assert visit.ask(login, {"username": "root", "password": [WRONG]}, method="POST")[0] == 400
    assert visit.ask(login, f'{{"username": "root", "password": "{WRONG}'.encode(), method="POST")[0] == 400
    for _ in range(2):
        status, text = visit.ask(login, {"username": "root", "password": PASSWORD}, method="POST", hands_out=True)
        assert status == 200
        pair = json.loads(text)["data"]
        visit.keep(pair["access_token"], pair["refresh_token"])
    refresh = {"refresh_token": pair["refresh_token"]}
    status, text = visit.ask("/api/v1/internal/auth/refresh", refresh, method="POST", hands_out=True)
    after = json.loads(text)["data"]
    visit.keep(after["access_token"], after["refresh_token"])
    fleet = "/api/v1/controller/orchestrators"
    assert visit.ask(fleet, Authorization=f"Bearer {after['access_token']}")[0] == 200
    assert visit.ask(fleet + f"?token={after['access_token']}")[0] == 401
    assert visit.ask(fleet, Authorization=f"Basic {after['access_token']}")[0] == 403
    visit.ask("/api/v1/internal/auth/logout", {"refresh_token": after["refresh_token"]}, method="POST")
    assert visit.ask(fleet, Authorization=f"Bearer {after['access_token']}")[0] == 403


def orchestrators_come(visit: Visit) -> None:
    """Register with secrets, well and badly, over HTTP and over the socket; leave a message and a flag."""
    live = visit.live
    key, admin = live.key("org-001"), live.key("org-001", role="admin")
    visit.keep(key[3:], admin[3:])
    assert visit.ask(REGISTER, INSTANCE, method="POST", X_API_Key=key)[0] == 200
    for wrong in ({"internal_url": [CANARY]}, {"environment_variables": {"A": {"deep": CANARY}}}, {CANARY[:6]: CANARY}):
        assert visit.ask(REGISTER, INSTANCE | wrong, method="POST", X_API_Key=key)[0] == 400
    assert visit.ask(REGISTER, f'{{"redis_url": "{CANARY}'.encode(), method="POST", X_API_Key=key)[0] == 400
    own = "/api/v1/internal/orchestrators/orch-001"
    status, _ = visit.ask(
        f"{own}/messages", {"message_type": "x", "message_content": {}}, method="POST", X_API_Key=admin
    )
    assert status == 202
    bearer = f"Bearer {DEV_TOKEN}"
    assert visit.ask(f"{own}/independence", {"is_independent": True}, method="PUT", Authorization=bearer)[0] == 200
    new = {"username": "ann", "email": "a@example.com", "role": "viewer", "password": PASSWORD}
    assert visit.ask("/api/v1/orchestrators/org-001/users", new, method="POST", X_API_Key=admin)[0] == 201
    live.register("orch-001", key=key)
    opening = {"type": "register", "orchestrator_id": "orch-001", "capabilities": []}
    for frame in (
        opening | {"token": f"{CANARY}-wrong"},
        {"type": "subscribe", "topics": ["fleet"], "token": DEV_TOKEN},
    ):
        peer = live.peer()
        peer.send(frame)
        visit.seen.append(json.dumps(peer.nothing(0.5)))
    peer = live.peer(path=f"/ws?token={key}")
    peer.send(opening)
    visit.seen.append(json.dumps(peer.ending()[0]))


def models_are_called(visit: Visit) -> None:
    """Store a provider's key, call models well and badly with secrets in prompts and bodies, and read it all again."""
    bearer = f"Bearer {DEV_TOKEN}"
    providers = "/api/v1/orchestrators/org-001/providers"
    ours = {"name": "ours", "dialect": "anthropic", "base_url": "https://93.184.215.14", "api_key": f"{CANARY}-stored"}
    for body, status in ((ours, 201), (ours, 409), ({**ours, "name": "two", "api_key": f"{CANARY} x"}, 400)):
        assert visit.ask(providers, body, method="POST", Authorization=bearer)[0] == status
    prompt = [{"role": "user", "content": f"{CANARY}-prompt"}]
    told = {"echo/echo": 200, "openai/gpt-4o-mini": 502, "nobody": 404}
    for model, status in told.items():
        call = {"model": model, "messages": prompt, "max_tokens": 5}
        for path in ("/v1/chat/completions", "/v1/messages"):
            assert visit.ask(path, call, method="POST", Authorization=bearer, hands_out=status == 200)[0] == status
    call = {"model": "echo/echo", "messages": prompt, "api_key": f"{CANARY}-body"}
    assert visit.ask("/v1/chat/completions", call, method="POST", Authorization=bearer)[0] == 400
    for path in (providers, "/v1/models", "/api/v1/llm/health", "/api/v1/llm/providers"):
        assert visit.ask(path, Authorization=bearer)[0] == 200


def the_console_is_read(visit: Visit) -> None:
    """Sign in by the form, wrongly and well, and read every list and the orchestrator's own page."""
    jar = CookieJar()
    visit.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    for password in (WRONG, PASSWORD):
        visit.ask("/admin/login/")
        token = next(cookie.value for cookie in jar if "csrf" in cookie.name)
        form = urllib.parse.urlencode({"csrfmiddlewaretoken": token, "username": "root", "password": password})
        visit.ask("/admin/login/", form.encode(), method="POST", Content_Type="application/x-www-form-urlencoded")
    visit.keep(next(str(cookie.value) for cookie in jar if "session" in cookie.name))
    row = visit.live.row("orch-001")
    pages = ["orchestrators/instance/", f"orchestrators/instance/{row.pk}/change/", "orgs/auditentry/", "orgs/event/",
             "orgs/apikey/", "orgs/user/", "orgs/organization/", ""]  # fmt: skip
    for page in pages:
        assert visit.ask(f"/admin/{page}")[0] == 200, page
    page = next(text for text in visit.seen if "moolai:***@10.0.0.5" in text)
    assert "OPENAI_API_KEY" in page


def something_breaks(visit: Visit) -> None:
    """Take a table away under a page, and ask for it with secrets in every place of the request."""
    with connection.cursor() as cursor:
        cascade = " CASCADE" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TABLE django_celery_beat_periodictask{cascade}")
    key = visit.live.key("org-001")
    visit.keep(key[3:])
    headers: dict[str, Any] = {"X_API_Key": key, "Authorization": f"Bearer {DEV_TOKEN}", "X_Forwarded_For": "10.0.0.1"}
    for secret in (key, PASSWORD, visit.secrets[1]):
        status, text = visit.ask(f"{BROKEN_PAGE}?q={secret}", **headers)
        assert status == 500
        assert "Traceback" not in text
    assert wait_until(lambda: any("periodictask" in text for text in Collector.received), timeout_seconds=60)


def test_a_canary_is_found_in_nothing_that_is_said_sent_or_kept(
    world: World, live: Live, redis_monitor: Monitor, django_db_blocker: Any
) -> None:
    visit = Visit(live)
    is_whole = live.installation.env["LOG_FORMAT"] == "json"  # the others write their logs as the web process does
    beside = [live.installation.worker(), live.installation.beat()] if is_whole else []
    people_sign_in(visit)
    orchestrators_come(visit)
    models_are_called(visit)
    the_console_is_read(visit)
    for path in ("/", "/health", "/healthz", "/readyz", "/api/v1/controller/orchestrators/orch-001"):
        visit.ask(path, Authorization=f"Bearer {DEV_TOKEN}")
    if is_whole:
        assert wait_until(
            lambda: "orchestrators.sweep" in redis_monitor.text(), timeout_seconds=60, interval_seconds=0.5
        )
    session = visit.secrets[-1]
    stored = dump(world, live.installation).decode("latin-1")
    names = ("export_config", "fleet_status") if is_whole else ()
    commands = "".join(live.installation.manage(name).stdout for name in names)
    for process in beside:
        process.terminate()
    something_breaks(visit)
    assert live.server.terminate() == 0
    logs = live.server.output() + "".join(process.output() for process in beside)
    kept = [path for path in live.installation.data_dir.rglob("*") if path.is_file()]
    places = {
        "logs": logs,
        "answers, pages and frames": "\n".join(visit.seen),
        "Sentry": "\n".join(Collector.received),
        "Redis and Celery": redis_monitor.text(),
        "commands": commands,
        "files": "\n".join(Path(path).read_bytes().decode("latin-1") for path in kept),
        "database": stored,
    }
    for place, needle in {
        "logs": "Traceback", "answers, pages and frames": "orch-001", "Sentry": "no such table|UndefinedTable",
        "Redis and Celery": "PUBLISH", "commands": "orch-001", "database": "orch-001",
    }.items():  # fmt: skip
        assert (place == "commands" and not is_whole) or re.search(needle, places[place]), f"{place} were not looked at"
    found = [
        (place, secret[:20], text[max(0, text.index(secret) - 200) : text.index(secret) + 60])
        for place, text in places.items()
        for secret in visit.secrets
        if secret in text and not (place == "database" and secret == session)  # Django keeps sessions under their key
    ]
    assert found == []
