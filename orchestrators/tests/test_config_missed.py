"""A configuration whose event was lost: the periodic look of the process that holds the session finds it and pushes."""

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async

from orchestrators import clock, instances
from orchestrators.models import Instance
from orchestrators.tests.held import Held, holding
from orgs.models import Event

QUERIES_OF_A_LOOK = 2  # the messages that are due, and the configurations


@pytest.fixture
async def held(transactional_db: None) -> AsyncIterator[Held]:
    async with holding() as found:
        yield found


@sync_to_async
def change(*names: str, n: int = 1) -> None:
    """Change what `names` should run, and lose the events."""
    for name in names:
        instances.update(Instance.objects.get(orchestrator_id=name), acting_user=None, features={"n": n})
    Event.objects.filter(kind="config.changed").delete()


@pytest.mark.parametrize(("is_legacy", "kind"), [(False, "config_update"), (True, "provisioning")])
@pytest.mark.parametrize("is_current", [True, False])
async def test_a_lost_configuration_reaches_every_session_with_the_next_look(
    held: Held, is_legacy: bool, kind: str, is_current: bool
) -> None:
    await held.open("a", is_legacy=is_legacy, is_current=is_current)
    await held.look(queries=QUERIES_OF_A_LOOK)
    assert held.versions("a") == []
    await change("a")
    await held.look()
    assert held.versions("a") == [(kind, 2)]
    assert held.frames["a"][0]["config"]["features"] == {"n": 1}
    await held.look(queries=QUERIES_OF_A_LOOK)
    assert held.versions("a") == [(kind, 2)], "it was given, and its answer is not overdue"


async def test_what_the_look_pushed_is_sent_again_when_nothing_answers(held: Held) -> None:
    session = await held.open("a")
    await change("a")
    await held.look()
    assert session.config_attempts == 1
    session.config_due = 0.0
    await held.look()
    assert (held.versions("a"), session.config_attempts) == ([("config_update", 2)] * 2, 2)


async def test_a_session_that_answered_or_is_up_to_date_is_left_alone(held: Held) -> None:
    session = await held.open("a")
    session.config_due = 0.0
    await held.look(queries=QUERIES_OF_A_LOOK)
    assert held.frames["a"] == []


async def test_the_look_is_one_query_however_many_sessions(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "CONFIGS_AT_ONCE", 3)
    names = [f"o{number}" for number in range(8)]
    for name in names:
        await held.open(name, is_legacy=int(name[1]) > 0)
    for _ in range(4):
        await held.look(queries=QUERIES_OF_A_LOOK)
    await change(*names)
    await held.look()
    assert len(held.frames["o0"]) == 1, "who answers is found with the next look"
    assert 1 <= sum(map(len, held.frames.values())) <= 4
    for _ in range(4):  # of the other seven three each time: all within a round, wherever it stood
        await held.look()
    assert {name: len(held.frames[name]) for name in names} == dict.fromkeys(names, 1)


async def test_who_left_or_is_held_elsewhere_is_passed_over(held: Held) -> None:
    gone, taken = await held.open("gone"), await held.open("taken")
    await change("gone", "taken")
    held.hub.remove(gone)
    await sync_to_async(Instance.objects.filter(orchestrator_id="taken").update)(node="another")
    await held.look(queries=QUERIES_OF_A_LOOK)
    assert held.frames == {"gone": [], "taken": []}
    assert taken.config_version == 1
