"""The tenant matrix of the gateway's data plane: every door for every caller, over HTTP, on real rows."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.conf import settings

from llm_gateway.plane import app
from moolai.testing.world import World
from orchestrators.tests.live import Live, running
from tests.matrix import people, stage
from tests.matrix.people import DEAD, GOOD, Part
from tests.matrix.rows import COLUMNS
from tests.matrix.stage import Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
HI: Final = [{"role": "user", "content": "hi"}]
# Nobody, viewer, operator and admin of A, B's viewer/admin, the superadmin, A's bound and unbound keys, B's.
OWN: Final = "401 403 200 200 403/200 200 200 200 200"
OF_A: Final = "401 403 200 200 404 200 200 200 404"
BODIES: Final[dict[str, Any]] = {
    "/v1/chat/completions": {"model": "echo/echo", "messages": HI},
    "/v1/completions": {"model": "echo/echo", "prompt": "hi"},
    "/v1/embeddings": {"model": "echo/echo", "input": "hi"},
    "/v1/responses": {"model": "echo/echo", "input": "hi"},
    "/v1/messages": {"model": "echo/echo", "max_tokens": 9, "messages": HI},
    "/api/v1/llm/chat": {"model": "echo/echo", "messages": HI},
    "/v1/models": None,
    "/v1/models/echo/echo": None,
    "/api/v1/llm/models": None,
    "/api/v1/llm/health": None,
}


@dataclass
class Doors:
    """The server, and everybody who calls it."""

    live: Live
    stage: Stage

    def call(self, part: Part, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Let somebody call; return status and JSON."""
        caller = self.stage.callers[part]
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **caller.headers, **headers}
        if part.kind == "session":
            sent["Cookie"] = "; ".join(f"{name}={morsel.value}" for name, morsel in caller.client.cookies.items())
        request = urllib.request.Request(self.live.server.url(path), data=data, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture(scope="module")
def doors(world: World, django_db_blocker: Any) -> Iterator[Doors]:
    env = {
        "DEV_BEARER_TOKEN": people.TOKEN,
        "DEFAULT_ORGANIZATION_ID": "org-a",
        "ENCRYPTION_KEY": settings.ENCRYPTION_KEY,  # the stage's keys are sealed here
    }
    with running(world, django_db_blocker, env) as live:
        yield Doors(live, stage.build())


def expected(part: Part, statuses: str) -> int:
    """Return what a cell says; a session's cookie is no credential here."""
    if part.state != "good" or part.kind == "session":
        return 401
    found = dict(zip(COLUMNS, statuses.split(), strict=True))
    viewer, _, admin = found.pop("B").partition("/")
    return int((found | {"MB": viewer, "AB": admin or viewer})[part.role])


def test_every_door_of_the_plane_is_here() -> None:
    assert {app.route(path) for path in BODIES} == {*app.SURFACES, *app.READS, "/v1/models/{id}"}


@pytest.mark.parametrize("path", BODIES)
def test_everybody_is_answered_as_their_role_may(doors: Doors, path: str) -> None:
    wrong = {}
    for part in [*GOOD, *DEAD]:
        own = doors.call(part, path, BODIES[path])
        of_a = doors.call(part, path, BODIES[path], **{"X-Organization-Id": "org-a"})
        want = (expected(part, OWN), expected(part, OF_A))
        if (own[0], of_a[0]) != want:
            wrong[str(part)] = (want, own, of_a)
    assert wrong == {}


def test_a_foreign_organization_is_as_absent_as_a_missing_one(doors: Doors) -> None:
    body = BODIES["/v1/chat/completions"]
    for header in ("X-Organization-Id", "OpenAI-Organization"):
        told = [doors.call(Part("AA"), "/v1/chat/completions", body, **{header: name}) for name in
                (doors.stage.b.organization, "nowhere", "no\x01where")]  # fmt: skip
        assert told[0] == told[1] == told[2]
        assert told[0][0] == 404


def test_what_is_listed_for_a_is_its_own_and_everybodys(doors: Doors) -> None:
    for path in ("/v1/models", "/api/v1/llm/models", "/api/v1/llm/health"):
        told = json.dumps(doors.call(Part("AA"), path, None)[1])
        assert "alphabet-echo" in told
        assert "everybodys-" in told
        assert stage.CANARY not in told
