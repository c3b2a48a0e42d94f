"""Health: the text uptime checks match, what Redis is called, and 503 only when we cannot serve."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from moolai.testing.postgres import Postgres
from moolai.testing.processes import free_port, wait_until
from moolai.testing.product import Installation
from moolai.testing.redis import Redis
from moolai.testing.world import World
from orchestrators.work import counts

PUBLIC = ["/health", "/healthz", "/readyz"]


@pytest.fixture
def no_database() -> Iterator[None]:
    """Make every statement of this test's connection fail, as without a server."""

    def execute(*_: Any) -> Any:
        raise OperationalError("connection refused: password=canary")

    with connection.execute_wrapper(execute):
        yield


def get(path: str, **headers: str) -> Any:
    return Client().get(path, headers=headers)


@pytest.mark.django_db
def test_the_text_that_uptime_checks_match_is_there() -> None:
    answer = get("/health")
    assert answer.status_code == 200
    assert b'"status": "healthy"' in answer.content
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_without_redis_it_is_embedded(settings: Any) -> None:
    settings.REDIS_URL = ""
    assert json.loads(get("/health").content)["redis"] == "embedded"


@pytest.mark.django_db
def test_a_redis_that_is_away_is_disconnected_and_we_are_healthy(settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    answer = get("/health")
    assert (answer.status_code, json.loads(answer.content)["status"]) == (200, "healthy")
    assert json.loads(answer.content)["redis"] == "disconnected"


@pytest.mark.django_db
def test_a_redis_that_answers_is_connected(settings: Any, redis_server: Redis) -> None:
    settings.REDIS_URL = redis_server.url()
    assert json.loads(get("/health").content)["redis"] == "connected"
    redis_server.pause()
    assert json.loads(get("/health").content)["redis"] == "disconnected"
    redis_server.resume()
    assert wait_until(lambda: json.loads(get("/health").content)["redis"] == "connected", timeout_seconds=5)


@pytest.mark.django_db
def test_alive_and_ready(settings: Any) -> None:
    assert (get("/healthz").status_code, get("/readyz").status_code) == (200, 200)


@pytest.mark.django_db
def test_without_the_database_we_live_but_are_neither_ready_nor_healthy(no_database: None) -> None:
    assert get("/healthz").status_code == 200
    for path, text in (("/health", b'"status": "unhealthy"'), ("/readyz", b"not ready")):
        answer = get(path)
        assert answer.status_code == 503
        assert text in answer.content
        assert b'"status": "healthy"' not in answer.content
        assert int(answer["Retry-After"]) > 0
        assert b"canary" not in answer.content


@pytest.mark.django_db
def test_a_queue_that_cannot_be_counted_just_now_has_its_last_numbers() -> None:
    body = get("/health").content

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if '"tasks"' in sql:
            raise OperationalError("canceling statement due to statement timeout")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        answer = get("/health")
        assert (answer.status_code, answer.content) == (200, body)
        counts.forget()
        assert get("/health").status_code == 503


@pytest.mark.django_db
@pytest.mark.parametrize("path", PUBLIC)
def test_they_are_public_tolerate_a_slash_and_only_answer_reads(path: str) -> None:
    assert get(path).content == get(f"{path}/").content
    assert Client().head(path).status_code == 200
    for method in ("post", "put", "delete"):
        answer = getattr(Client(), method)(path)
        assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.django_db
@pytest.mark.parametrize("path", PUBLIC)
def test_a_wrong_credential_does_not_matter_here(path: str) -> None:
    assert get(path, Authorization="Bearer wrong").status_code == 200


@pytest.mark.parametrize("path", PUBLIC)
def test_a_check_asks_for_no_more_than_it_says(path: str, django_assert_num_queries: Any, db: None) -> None:
    counts.forget()
    for number in {"/healthz": (0, 0), "/readyz": (1, 1), "/health": (3, 2)}[path]:
        with django_assert_num_queries(number):
            get(path)


def test_a_browser_is_sent_to_the_console() -> None:
    answer = get("/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
def test_another_client_is_told_where_things_are(accept: str) -> None:
    answer = get("/", Accept=accept)
    assert answer.status_code == 200
    body = json.loads(answer.content)
    assert body["name"] == "moolai"
    assert body["console"] == "/admin/"


def ask(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.once("postgres")
@pytest.mark.services
def test_a_real_database_goes_and_comes_back(
    world: World, postgres: Postgres, installation: Callable[..., Installation]
) -> None:
    if world.engine == "sqlite":
        pytest.skip("an SQLite database does not stop")
    url = postgres.create_database("health")
    place = installation({"DATABASE_URL": url})
    place.manage("migrate", "--verbosity", "0")
    server = place.serve()
    assert ask(server.url("/health"))[0] == 200
    postgres.stop(mode="immediate")
    status, body = ask(server.url("/health"))
    assert (status, body["status"]) == (503, "unhealthy")
    assert ask(server.url("/healthz"))[0] == 200
    status, body = ask(server.url("/api/v1/controller/orchestrators"))
    assert (status, body["error"]) == (401, "unauthenticated")
    postgres.start()
    assert wait_until(lambda: ask(server.url("/health"))[0] == 200, timeout_seconds=30, interval_seconds=0.2)
    server.kill()
    postgres.databases.drop("health")
