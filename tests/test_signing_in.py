"""Signing in under load: what guesses in parallel cost the guesser."""

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

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
LOGIN = "/api/v1/internal/auth/login"
GUESSES = 50


@pytest.fixture
def server(world: World, django_db_blocker: Any) -> Iterator[live.Live]:
    with live.running(world, django_db_blocker, {"LOGIN_FAILURE_LIMIT": "1000"}) as found:
        yield found


def guess(port: int) -> tuple[int, str]:
    """Guess until it is judged: a 503 (no connection of the pool was free in time) judges and counts nothing."""
    for _ in range(10):
        answer = ask(port)
        if answer[0] != 503:
            break
    return answer


def ask(port: int) -> tuple[int, str]:
    body = json.dumps({"username": "ann", "password": "wrong"}).encode()
    headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with Line(port) as line:
        line.socket.settimeout(120)
        answer = line.send(request(LOGIN, method="POST", headers=headers, body=body)).answer()
    return answer.status, answer.json["error"]


def test_fifty_parallel_failures_are_counted_as_fifty(server: live.Live) -> None:
    User.objects.create_user("ann", password="a-long-enough-secret")
    with ThreadPoolExecutor(GUESSES) as pool:
        answers = list(pool.map(guess, [server.server.port] * GUESSES))
    assert set(answers) == {(401, "invalid_login")}
    assert sum(AccessAttempt.objects.values_list("failures_since_start", flat=True)) == GUESSES
