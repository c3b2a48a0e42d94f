"""The tenant matrix over HTTP: every route and method, for every caller, good, revoked and expired.

Every role plays every row with a good credential, whose kinds take turns where they decide nothing: see `people.roles`.
What a role does not decide (that a dead credential opens nothing, that HEAD is GET, that a method is not served) is
asked by some, who take turns, too: see `people.some`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import resolve

from orgs.models import AuditEntry
from tests.matrix import routes, stage
from tests.matrix.people import DEAD, GOOD, IS_WHOLE, PARTS, ROLES, Part, roles, some
from tests.matrix.rows import HIDING, ROWS, Row
from tests.matrix.stage import Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
READS = [row for row in ROWS if row.method == "GET"]
STREAMS = [row for row in READS if row.path.startswith("/api/v1/stream")]
REFUSED = list(routes.refused())
CODES = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 409: "conflict"}


@pytest.fixture(scope="module")
def world_stage(django_db_setup: None, django_db_blocker: Any) -> Iterator[Stage]:
    with stage.built(django_db_blocker) as found:
        yield found


def expected(row: Row, part: Part) -> tuple[int, str]:
    """Return status and error code of a cell ("" for a success)."""
    if row.is_public:
        return row.status("AN", "none"), ""
    if part.state == "good":
        status = row.status(part.role, part.kind)
        return status, CODES.get(status, "")
    if part.kind == "jwt" and part.state == "expired":
        return 401, "token_expired"
    if part.kind == "session" and not row.needs_caller:
        return row.status("AN", "none"), ""
    is_hidden = part.kind != "session" and row.path.startswith(HIDING)
    return (403, "forbidden") if is_hidden else (401, "unauthenticated")


def found(answer: Any) -> tuple[int, str]:
    """Return what a caller was answered, once the answer keeps to the contract of its kind."""
    if answer.status_code < 400:
        return answer.status_code, ""
    assert ("WWW-Authenticate" in answer) == (answer.status_code == 401)
    if answer.wsgi_request.method == "HEAD":
        return answer.status_code, ""
    body = json.loads(answer.content)
    assert body["success"] is False
    return answer.status_code, body["error"]


def wrong_cells(world_stage: Stage, row: Row, parts: list[Part], *, method: str = "") -> dict[str, Any]:
    """Play a row with each part; return the cells that are not as expected, as {part: (expected, found)}."""
    wrong: dict[str, Any] = {}
    before = AuditEntry.objects.count()
    for part in parts:
        with stage.undone():
            answer = stage.play(world_stage, row, world_stage.callers[part], method=method)
            want, got = expected(row, part), found(answer)
            if method == "HEAD":
                want = (want[0], "")
            if got[0] >= 400 and AuditEntry.objects.count() != before:
                got = (got[0], "refused, and yet there is an audit row")
        if want != got:
            wrong[str(part)] = (want, got)
    return wrong


def test_every_route_and_method_has_a_row() -> None:
    assert set(routes.served()) - {row.key for row in ROWS} == set()


def test_every_row_belongs_to_a_route_that_takes_its_method() -> None:
    assert {row.key for row in ROWS} - set(routes.served()) == set()


def test_no_table_of_routes_hangs_below_another_prefix_than_the_consoles() -> None:
    assert routes.resolvers() == ["admin/"]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_good_credential_is_answered_as_its_role_may(world_stage: Stage, row: Row) -> None:
    assert wrong_cells(world_stage, row, roles(row.answer, turn=ROWS.index(row))) == {}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_dead_credential_opens_nothing(world_stage: Stage, row: Row) -> None:
    assert wrong_cells(world_stage, row, some(DEAD, turn=ROWS.index(row))) == {}


@pytest.mark.parametrize("row", [row for row in READS if row not in STREAMS], ids=str)
def test_head_is_answered_like_get(world_stage: Stage, row: Row) -> None:
    assert wrong_cells(world_stage, row, some(PARTS, turn=READS.index(row)), method="HEAD") == {}


@pytest.mark.parametrize("row", STREAMS, ids=str)
def test_a_stream_has_no_head(world_stage: Stage, row: Row) -> None:
    for part in (Part("SA", "token"), Part("MV")):
        answer = world_stage.callers[part].call("HEAD", world_stage.a.fill(row.path))
        assert (answer.status_code, answer["Allow"]) == (405, "GET")


def test_who_takes_turns_leaves_nobody_out() -> None:
    everywhere = set(some(PARTS, turn=0))
    for turn in range(7):
        assert {(part.kind, part.state) for part in some(PARTS, turn=turn)} == {(p.kind, p.state) for p in PARTS}
        everywhere |= set(some(PARTS, turn=turn))
    assert everywhere == set(PARTS)
    everybody = set[Part]()
    for turn in range(3):
        asked = roles(lambda part: part.role == "MV" and part.kind == "jwt", turn=turn)
        assert {part.role for part in asked} == set(ROLES)
        assert {part.kind for part in asked} >= {"none", "key", "jwt", "session"}
        assert Part("MV", "jwt") in asked
        everybody |= set(asked)
    assert everybody == set(GOOD)


@pytest.mark.parametrize(("path", "method"), REFUSED)
def test_a_method_a_route_does_not_serve_is_refused_for_everybody(world_stage: Stage, path: str, method: str) -> None:
    wrong = {}
    turn = REFUSED.index((path, method))
    nobody, *others = some(GOOD, turn=turn)
    parts = [nobody, *(others if IS_WHOLE else others[turn % 2 :: 2])]
    path = world_stage.a.fill(path)
    is_open = any(not row.needs_caller for row in ROWS if row.key[0] == resolve(path).route)
    for part in parts:
        want = 401 if part.role == "AN" and not is_open else 405
        answer = world_stage.callers[part].call(method, path)
        if found(answer) != (want, CODES[want]) or (want == 405 and method in answer["Allow"]):
            wrong[str(part)] = (want, answer.status_code)
    assert wrong == {}
