"""Signing in under load: what guesses in parallel cost the guesser, and what they do not cost everybody else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from axes.models import AccessAttempt

from moolai.testing.world import World
from orchestrators.tests import live
from orgs.models import User
from tests.raw_http import Line, request

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
LOGIN, CONSOLE = "/api/v1/internal/auth/login", "/admin/login/"
GUESSES = 50
# A pool that guesses would empty in a moment, if each held a connection while its password is hashed.
ENV = {"LOGIN_FAILURE_LIMIT": "1000", "DATABASE_POOL_SIZE": "3"}


@pytest.fixture
def server(world: World, django_db_blocker: Any) -> Iterator[live.Live]:
    with live.running(world, django_db_blocker, ENV) as found:
        User.objects.create_user("ann", password="a-long-enough-secret")
        yield found


def guess(port: int) -> tuple[int, str]:
    body = json.dumps({"username": "ann", "password": "wrong"}).encode()
    headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with Line(port) as line:
        line.socket.settimeout(120)
        answer = line.send(request(LOGIN, method="POST", headers=headers, body=body)).answer()
    return answer.status, answer.json["error"]


def guess_in_console(port: int) -> int:
    """Post the console's form; the token in form and cookie only have to agree."""
    token = "t" * 32
    body = f"csrfmiddlewaretoken={token}&username=ann&password=wrong".encode()
    headers = (
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"Cookie: moolai_csrf_{port}={token}\r\n"
    )
    with Line(port) as line:
        line.socket.settimeout(120)
        return line.send(request(CONSOLE, method="POST", headers=headers, body=body)).answer().status


def failures() -> int:
    return sum(AccessAttempt.objects.values_list("failures_since_start", flat=True))


def test_fifty_parallel_failures_are_counted_as_fifty(server: live.Live) -> None:
    with ThreadPoolExecutor(GUESSES) as pool:
        answers = list(pool.map(guess, [server.server.port] * GUESSES))
    assert set(answers) == {(401, "invalid_login")}
    assert failures() == GUESSES


def test_the_console_counts_them_too(server: live.Live) -> None:
    with ThreadPoolExecutor(GUESSES) as pool:
        answers = list(pool.map(guess_in_console, [server.server.port] * GUESSES))
    assert set(answers) == {200}, "the form again, with a sentence"
    assert failures() == GUESSES


def test_everybody_else_is_answered_meanwhile(server: live.Live) -> None:
    with ThreadPoolExecutor(GUESSES) as pool:
        guesses = [pool.submit(guess, server.server.port) for _ in range(GUESSES)]
        answers = [server.call("GET", "/api/v1/controller/orchestrators")[0] for _ in range(3)]
        assert not all(one.done() for one in guesses), "the guesses were over too soon to be in the way"
    assert answers == [200] * 3
