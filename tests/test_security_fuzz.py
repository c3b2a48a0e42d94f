"""Nonsense at every door of the API: the answer is an error object, never a 500 and never a traceback."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test import override_settings

from orgs.tests import cast
from orgs.tests.cast import Person
from tests.matrix import stage
from tests.test_security_doors import API

pytestmark = pytest.mark.once("postgres")

METHODS = ("get", "post", "put", "patch", "delete")
BODIES: list[Any] = [
    "{", "7", '"x"', b"\xff\xfe", '{"a": NaN}', '{"a": 1e999}', "[" * 50_000, "{\"a\":" * 50,
    '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": %s}' % ("9" * 5000), {"": 1}, {"__class__": {}},
]  # fmt: skip
ALWAYS: list[Any] = ["", "[]", "null", "{}", {"id": "x"}]  # what is looked at by each route itself
TURNS = 4
# Values of every kind under the names that some body of the API has: every second one at each, by turns.
VALUES: list[Any] = [None, -1, 2**63, "", "x" * 70_000, "\u202e{{7*7}}%s' OR 1=1 --", [["x"]], {"a": {"b": []}}]
NAMES = [
    "organization_id", "orchestrator_id", "name", "username", "password", "email", "role", "is_active", "scopes",
    "expires_at", "status", "settings", "website", "is_independent", "reason", "message_type", "message_content",
    "expires_in", "error", "refresh_token", "internal_url", "database_url", "redis_url", "environment_variables",
    "monitoring", "health_status", "container_id", "image_name", "grace_seconds", "admin_email",
]  # fmt: skip
QUERIES = ["page=-1", "page=99999999999999999999", "page=1&page=2", "status=%00", "x=%ff", "&=", "ordering=password"]
SEGMENTS = ["0", "-1", "9" * 18, "x" * 3000, quote("' OR 1=1 --"), quote("ü😀"), "%0a", "..", "a%20b", "%ff"]


@pytest.fixture(scope="module")
def ground(django_db_setup: None, django_db_blocker: Any) -> Iterator[Person]:
    """Everybody, made once: what a test does to them is undone with its transaction."""
    with django_db_blocker.unblock(), override_settings(), stage.undone():
        yield cast.make(settings).root


@pytest.fixture
def root(ground: Person, db: None) -> Person:
    return ground


def judge(person: Person, method: str, path: str, body: Any = None) -> None:
    answer = person.call(method.upper(), path, body)
    place = (method, path[:80], str(body)[:60], answer.status_code)
    assert answer.status_code < 500, (place, answer.content[:300])
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/json", place
        assert set(json.loads(answer.content)) >= {"success", "error", "detail", "request_id"}, place
    assert b"Traceback" not in answer.content, place


WRITES = sorted({(method, path) for path, view in API for method in METHODS[1:] if hasattr(view, method)})


@pytest.mark.parametrize("path", sorted({path for path, _ in API}))
def test_no_query_is_a_fault_of_ours(root: Person, path: str) -> None:
    turn = sorted({path for path, _ in API}).index(path) % 2
    for query in QUERIES[turn::2]:
        judge(root, "get", f"{path}?{query}")
    judge(root, "put", f"{path}?x=%00", "{}")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_no_body_is_a_fault_of_ours(root: Person, method: str, path: str) -> None:
    turn = WRITES.index((method, path)) % TURNS  # one parser reads all of them: each meets every fourth route
    for body in [*ALWAYS, *BODIES[turn::TURNS]]:
        judge(root, method, path, body)
    said = root.call(method.upper(), path, '{"no such field": 1}').content  # nothing, where a body is not looked at
    accepted = json.loads(said or "{}").get("detail", "")
    for number, name in enumerate(name for name in NAMES if name in accepted):
        for value in VALUES[(turn + number) % 2 :: 2]:
            judge(root, method, path, {name: value})


@pytest.mark.parametrize("segment", SEGMENTS)
def test_no_id_is_a_fault_of_ours(root: Person, segment: str) -> None:
    for number, (path, _) in enumerate(API):
        parts = path.split("/")
        for place, part in enumerate(parts):
            if part in ("org-001", "orch-001", "1") and (number + SEGMENTS.index(segment)) % TURNS == 0:
                nonsense = "/".join([*parts[:place], segment, *parts[place + 1 :]])
                judge(root, "get", nonsense)
                judge(root, "put", nonsense, "{}")
