"""B is full of a canary's name: not a byte of it reaches a caller of A, and B's presence changes nothing A sees."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.matrix import columns, probes, stage
from tests.matrix.people import GOOD, IS_WHOLE, OURS, Caller, Part
from tests.matrix.rows import ROWS, Row
from tests.matrix.stage import CANARY, Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
READS = [row for row in ROWS if row.method == "GET"]
GUARDED = [row for row in ROWS if row.needs_caller]
SPIES = [part for part in GOOD if part.role in (*OURS, "AN")]
REACHING = [Part("AA", "key"), Part("MV", "jwt"), Part("OA", "key")]  # who sees most; least and its own take turns
# Which kind of credential somebody has makes no difference to what is read (`test_matrix.py` plays all of them).
FEW = [part for part in SPIES if part.kind in ("none", "key")] + [Part("MV", "jwt")]
TURNS = ([Part("AA", "key")], [Part("OA", "key"), Part("OU", "key")], [Part("MV", "key"), Part("MO", "key")])
OTHERS = [Part("AN", "none"), Part("MV", "jwt")]


@pytest.fixture(scope="module")
def world_stage(django_db_setup: None, django_db_blocker: Any) -> Iterator[Stage]:
    with stage.built(django_db_blocker) as found:
        yield found


def spies(world_stage: Stage, row: Row) -> dict[Part, Caller]:
    """Return who asks about a row: A's admin, an orchestrator and a member, who take turns; the others every third row.

    `MOOLAI_MATRIX=whole` has all of them ask.
    """
    turn = ROWS.index(row)
    chosen = [parts[turn % len(parts)] for parts in TURNS] + (OTHERS[turn // 3 % 2 :][:1] if turn % 3 == 0 else [])
    return {part: world_stage.callers[part] for part in (FEW if IS_WHOLE else chosen)}


def test_every_text_column_of_b_holds_the_canary(world_stage: Stage) -> None:
    missing = [
        f"{model._meta.label}.{column.attname}"
        for model, column in columns.written()
        if not any(CANARY in columns.value(row, column) for row in model._default_manager.all())
    ]
    assert missing == []


def test_the_canary_is_there_to_be_seen_by_b_and_by_the_superadmin(world_stage: Stage) -> None:
    for role in ("AB", "SA"):
        told = [world_stage.caller(role).call("GET", world_stage.b.fill(row.path)) for row in READS]
        assert sum(probes.says_canary(answer) for answer in told) >= len(READS) // 3


@pytest.mark.parametrize("row", READS, ids=str)
def test_no_read_of_as_with_any_parameter_shows_the_canary_or_depends_on_b(world_stage: Stage, row: Row) -> None:
    plain, *reaching = probes.urls(row, world_stage)
    # The document is the same for everybody, whatever is asked, and takes a second.
    reaching = [] if "?" in row.path or row.path.startswith("/api/schema") else reaching
    most, *rest = REACHING
    others = rest if IS_WHOLE else [rest[ROWS.index(row) % len(rest)]]
    asked = [(part, plain) for part in FEW] + [(part, url) for part in (most, *others) for url in reaching]
    everybody = world_stage.callers
    answers = [everybody[part].call("GET", url) for part, url in asked]
    assert [ask for ask, answer in zip(asked, answers, strict=True) if probes.says_canary(answer)] == []
    with stage.undone():
        probes.erase(world_stage.b)
        alone = [everybody[part].call("GET", url) for part, url in asked]
    pairs = zip(asked, answers, alone, strict=True)
    changed = {f"{part} {url}" for (part, url), with_b, without in pairs if essence_differs(with_b, without)}
    assert changed == set()


def essence_differs(one: Any, other: Any) -> bool:
    return probes.essence(one) != probes.essence(other)


@pytest.mark.parametrize("row", GUARDED, ids=str)
def test_what_is_bs_is_answered_like_what_is_nowhere_with_as_many_queries(world_stage: Stage, row: Row) -> None:
    wrong: list[Any] = []
    for foreign, unknown in probes.foreigners(row, world_stage):
        for part, caller in spies(world_stage, row).items():
            for body in (row.body, {"bogus": 1}) if row.body else (None,):
                told = [measured(caller, row, place.fill(row.path), place.fill(body)) for place in (foreign, unknown)]
                (one, one_queries), (other, other_queries) = told
                if probes.says_canary(one):
                    wrong.append((str(part), "canary", one.content))
                if other.status_code < 400 and one.status_code in (other.status_code, 404, 409):
                    continue  # nothing foreign is named, or an id that is taken cannot be made: all that is told
                if essence_differs(one, other) or one_queries != other_queries:
                    wrong.append((str(part), one.status_code, one_queries, other.status_code, other_queries))
    assert wrong == []


def measured(caller: Caller, row: Row, path: str, body: Any, **headers: str) -> tuple[Any, int]:
    """Call, and undo it; return the answer and how many queries it took."""
    with stage.undone(), CaptureQueriesContext(connection) as queries:
        answer = caller.call(row.method, path, body, **headers)
    return answer, len(queries)


@pytest.mark.parametrize("row", GUARDED, ids=str)
def test_a_header_that_names_b_is_answered_like_one_that_names_nowhere(world_stage: Stage, row: Row) -> None:
    path, body = world_stage.a.fill(row.path), world_stage.a.fill(row.body)
    for part, caller in spies(world_stage, row).items():
        names = (world_stage.b.organization, "nowhere")
        told = [measured(caller, row, path, body, **{"X-Organization-Id": name}) for name in names]
        (one, one_queries), (other, other_queries) = told
        assert one.status_code == (401 if part.role == "AN" else 404), part
        assert not essence_differs(one, other)
        assert one_queries == other_queries
        assert not probes.says_canary(one)


@pytest.mark.parametrize("row", [row for row in GUARDED if row.method != "GET"], ids=str)
def test_no_write_of_as_is_answered_with_the_canary(world_stage: Stage, row: Row) -> None:
    path, body = world_stage.a.fill(row.path), world_stage.a.fill(row.body)
    for caller in spies(world_stage, row).values():
        for sent in (body, {"bogus": 1}, None):
            assert not probes.says_canary(measured(caller, row, path, sent)[0])
