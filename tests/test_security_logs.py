"""What the logs and Sentry tell: every refusal with who and where from, and no secret in any of it."""

import json
import logging
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client

from moolai import logs
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from orgs import keys
from orgs.models import User
from orgs.tests import cast
from tests.test_outside import Collector, sentry

pytestmark = pytest.mark.once

__all__ = ["sentry"]  # the fixture
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
REFRESH = "mr_canary-3b8f2c_d9e1a7f60b5c4d3e2f1a"


@pytest.mark.parametrize(
    "text", [f"?token={JWT}", f"refresh {REFRESH} was used", f"Cookie: a={JWT[:40]}", f"{{'t': '{JWT}'}}", f"x={JWT};"]
)
def test_tokens_are_blotted_out_by_their_shape(text: str) -> None:
    scrubbed = logs.scrub(text)
    assert "***" in scrubbed
    for part in (*JWT.split("."), REFRESH[3:]):
        assert part not in scrubbed


@pytest.mark.django_db
def test_the_link_of_an_approval_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    token = f"apl_{'canary-_' * 12}"
    with caplog.at_level(logging.DEBUG):
        assert Client().get(f"/decide/{token}").status_code == 404
    written = [logs.scrub(record.getMessage()) for record in caplog.records]
    assert {"GET /decide/apl_*** 404", "Not Found: /decide/apl_***"} <= set(written)
    assert "canary" not in "".join(written)


def test_what_the_settings_hold_is_blotted_out_by_value(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ENCRYPTION_KEY = "first-canary-key,second-canary-key"
    settings.REDIS_URL = "redis://:redis-canary@127.0.0.1:6379/0"
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "database-canary")
    settings.EMAIL_HOST_PASSWORD = "mail-canary-word"
    text = "one first-canary-key two second-canary-key redis-canary database-canary mail-canary-word end"
    assert logs.scrub(text) == "one *** two *** *** *** *** end"


def test_words_that_only_look_a_little_like_tokens_are_left_alone() -> None:
    for text in ("mr_smith wrote", "eyJ is how they begin", "version 1.2.3", "mk_ is a prefix", "a.b.c"):
        assert logs.scrub(text) == text


@pytest.mark.services
def test_what_goes_to_sentry_is_scrubbed_wherever_it_stands(
    sentry: ThreadingHTTPServer,
    installation: Callable[..., Installation],
) -> None:
    key = keys.generate()
    place = installation(env={"SENTRY_DSN": f"http://public@127.0.0.1:{sentry.server_address[1]}/1"})
    script = (
        "import logging, sentry_sdk\n"
        f"logging.getLogger('shop').warning('a crumb with {key}')\n"
        f"sentry_sdk.set_extra('more', {{'deep': ['Bearer {JWT}']}})\n"
        f"try:\n    raise RuntimeError('cannot reach postgres://moolai:pass-canary@db with {REFRESH}')\n"
        "except RuntimeError:\n    logging.getLogger('shop').exception('broke: %s', 'X-API-Key: key-canary-0123')\n"
        "sentry_sdk.flush(5)"
    )
    place.manage("shell", "--no-imports", "-c", script)
    assert wait_until(lambda: any("cannot reach" in text for text in Collector.received), timeout_seconds=10)
    sent = "\n".join(Collector.received)
    assert "a crumb with mk_***" in sent
    for secret in (key[3:], JWT, REFRESH, "pass-canary", "key-canary"):
        assert secret not in sent, secret


@pytest.fixture
def people(db: None, settings: Any) -> cast.Cast:
    User.objects.create_user("ann", password="a-long-enough-secret")
    return cast.make(settings)


FLEET, LOGIN = "/api/v1/controller/orchestrators", "/api/v1/internal/auth/login"


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "line"),
    [
        ("nobody", "GET", FLEET, None, f"denied GET {FLEET}: unauthenticated"),
        ("mallory", "GET", FLEET, None, f"denied GET {FLEET}: forbidden"),
        (
            "vera",
            "POST",
            "/api/v1/controller/organizations",
            {},
            "denied POST /api/v1/controller/organizations: forbidden",
        ),
        ("nobody", "POST", LOGIN, {"username": "ann", "password": "no"}, f"denied POST {LOGIN}: invalid_login"),
    ],
)
def test_every_refused_call_leaves_a_line(
    people: cast.Cast, caplog: pytest.LogCaptureFixture, who: str, method: str, path: str, body: Any, line: str
) -> None:
    caplog.set_level(logging.INFO)
    assert getattr(people, who).call(method, path, body).status_code in (401, 403)
    assert [row.levelname for row in caplog.records if row.getMessage() == line] == ["WARNING"]
    request = next(row for row in caplog.records if row.getMessage().startswith(f"{method} {path} 40"))
    assert vars(request)["remote_address"] == "127.0.0.1"


def test_a_wrong_sign_in_of_the_console_and_a_missing_form_token_leave_a_line(
    people: cast.Cast, caplog: pytest.LogCaptureFixture
) -> None:
    Client().post("/admin/login/", {"username": "ann", "password": "canary-no"})
    assert [row.levelname for row in caplog.records if "login failure" in row.getMessage()] == ["WARNING"]
    Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ann", "password": "canary-no"})
    assert [row.name for row in caplog.records if row.name == "django.security.csrf"] == ["django.security.csrf"]
    assert "canary-no" not in caplog.text


def test_the_body_of_a_request_is_not_logged(people: cast.Cast, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for body in ({"username": "canary-name", "password": "canary-word"}, {"canary-field": 1}, '{"canary-cut'):
        answer = people.nobody.call("POST", LOGIN, body)
        assert answer.status_code in (400, 401)
        assert "canary-word" not in json.dumps(json.loads(answer.content))
    assert "canary" not in caplog.text
