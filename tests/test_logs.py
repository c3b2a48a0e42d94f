"""Logs: one line each, whatever is in them; with the request's id; and never a secret."""

import io
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from django.test import Client
from websockets.sync.client import connect

from moolai import logs
from moolai.testing.product import Installation

pytestmark = pytest.mark.once

TOKEN = "canary-token-0123456789abcdef"
PASSWORD = "canary-password-0123456789"
SHARED = "a-canary-shared-by-two-systems"
PROSE = "the ring bearer may send it as Authorization: Bearer or in `token`"


@pytest.fixture
def line(settings: object, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Log through the real configuration: `line(text, format="json", **options)` is what came out."""

    def log(text: str, *, format: str = "json", **options: object) -> str:
        settings.LOG_FORMAT = format  # type: ignore[attr-defined]
        logs.configure()
        stream = io.StringIO()
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        logging.getLogger("test.logs").warning(text, **options)  # type: ignore[arg-type]
        return stream.getvalue()

    before = logging.getLogger().handlers[:]
    yield log
    logging.getLogger().handlers[:] = before


def test_json_is_one_line_with_level_name_time_and_request(line: Callable[..., str]) -> None:
    token = logs.request_id.set("req-0001")
    try:
        entry = json.loads(line("hello", extra={"ms": 1.5}))
    finally:
        logs.request_id.reset(token)
    assert (entry["event"], entry["level"], entry["logger"]) == ("hello", "warning", "test.logs")
    assert (entry["request_id"], entry["ms"]) == ("req-0001", 1.5)
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "evil", ["a\nFAKE line", "a\r\nb", "\x1b[2J\x1b[31mred", "a\x00b", "a\x85b", "a\u2028b", "a\x9b31mb", "\ud800"]
)
def test_control_characters_are_escaped_into_one_line(line: Callable[..., str], format: str, evil: str) -> None:
    text = line(f"said {evil}", format=format, extra={"name_": evil})
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1
    assert not set(evil) & set("\n\r\x00\x85\u2028\x9b\ud800") & set(text.removesuffix("\n"))
    assert "\x1b[2J" not in text
    text.encode()


def test_what_was_escaped_reads_back_from_json(line: Callable[..., str]) -> None:
    evil = 'a\n\x1b"\\\x85\u2028ü😀'
    assert json.loads(line(evil))["event"] == evil


def test_a_traceback_stays_inside_its_json_line(line: Callable[..., str]) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        text = line("broken", exc_info=True)
    assert len(text.splitlines()) == 1
    assert "ValueError: two\nlines" in json.loads(text)["exception"]


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary-x-y-z",
        "{'authorization': 'bearer canary-x-y-z'}",
        "X-API-Key: canary-x-y-z",
        "postgres://moolai:canary-x-y-z@db:5432/moolai",
        "redis://:canary-x-y-z@127.0.0.1:6379/0 is away",
        "key mk_canary0123456789012345678901234567890123456789 refused",
        f"token {TOKEN} refused",
        f"password={PASSWORD}",
        f"signed with {SHARED}",
    ],
)
def test_secrets_are_blotted_out(line: Callable[..., str], settings: object, text: str, format: str) -> None:
    settings.DEV_BEARER_TOKEN, settings.MOOLAI_ADMIN_PASSWORD = TOKEN, PASSWORD  # type: ignore[attr-defined]
    settings.ORCHESTRATOR_JWT_SECRET = SHARED  # type: ignore[attr-defined]
    try:
        raise RuntimeError(text)
    except RuntimeError:
        found = line(text, format=format, extra={"more": text}, exc_info=True)
    assert "canary" not in found
    assert "***" in found


def test_ordinary_text_is_left_alone(line: Callable[..., str]) -> None:
    for text in ("http://127.0.0.1:8000/admin/?a=b@c", "GET /api/v1/x 200", "mk_ is how keys begin", PROSE):
        assert json.loads(line(text))["event"] == text


@pytest.mark.django_db
def test_a_refused_call_is_logged_with_its_request_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Client().get("/api/v1/controller/orchestrators?token=canary", headers={"X-Request-ID": "req-0002"})
    assert "denied GET /api/v1/controller/orchestrators: unauthenticated" in caplog.messages
    assert "GET /api/v1/controller/orchestrators 401" in caplog.messages
    assert "canary" not in caplog.text


# --- the running product at DEBUG ------------------------------------------------------------------------------------


def call(url: str, **headers: str) -> None:
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).close()


def talk(url: str, *frames: object, **headers: str) -> None:
    with suppress(Exception), connect(url, additional_headers=headers, open_timeout=10) as socket:
        for frame in frames:
            socket.send(json.dumps(frame))
        while True:
            socket.recv(timeout=1)


@pytest.mark.services
def test_no_secret_is_in_the_logs_of_the_running_product(installation: Callable[..., Installation]) -> None:
    place = installation(
        {
            "LOG_LEVEL": "DEBUG",
            "DEBUG": "true",
            "DEV_BEARER_TOKEN": TOKEN,
            "MOOLAI_ADMIN_PASSWORD": PASSWORD,
            "SECRET_KEY": "canary-secret-" + "k" * 50,
            "ENCRYPTION_KEY": "canary-encryption-" + "k" * 50,
        }
    )
    place.manage("create_organization", "org-001")
    made = place.manage("create_api_key", "--organization", "org-001", "--scope", "orchestrator")
    key = made.stdout.strip()
    assert key.startswith("mk_")
    server = place.serve()
    path = server.url("/api/v1/controller/orchestrators")
    call(path, Authorization=f"Bearer {TOKEN}")
    call(path, Authorization="Bearer canary-wrong")
    call(path, **{"X-API-Key": key})
    call(path + f"?token={key}", Authorization=f"Basic {key}")
    register = {"type": "register", "orchestrator_id": "orch-001", "capabilities": []}
    talk(server.ws_url(), register, {"type": "i_am_alive", "seq": 1}, Authorization=f"Bearer {key}")
    talk(server.ws_url(), register | {"token": key})
    talk(server.ws_url(), register | {"token": "canary-wrong-token"})
    talk(server.ws_url(f"/ws?token={key}"), register)
    talk(server.ws_url(), {"type": "subscribe", "topics": ["orchestrators"], "token": TOKEN})
    assert server.terminate() == 0
    output = server.output()
    assert "orch-001" in output
    assert "GET /api/v1/controller/orchestrators" in output
    assert key not in output
    assert key[3:] not in output
    assert "canary" not in output
