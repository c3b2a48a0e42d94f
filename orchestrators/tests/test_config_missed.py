"""A configuration whose event was lost: the periodic look of the process that holds the session finds it and pushes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrators import claims, clock, instances, nodes, registration
from orchestrators.hub import Hub
from orchestrators.limiter import Limiter
from orchestrators.models import Instance
from orchestrators.registration import Grant
from orchestrators.session import Session
from orgs import keys, organizations
from orgs.models import Event

QUERIES_OF_A_LOOK = 2  # the messages that are due, and the configurations
Frame = dict[str, Any]


class Held:
    """A hub that does not tick, with open sessions whose frames end up in `frames`."""

    def __init__(self) -> None:
        self.hub = Hub({})
        self.frames: dict[str, list[Frame]] = {}
        self.secret = ""

    def prepare(self) -> None:
        home = organizations.create("acme", name="Acme", acting_user=None)
        self.secret = keys.create(home, name="k", acting_user=None, scopes=["orchestrator"])[1]
        nodes.start(self.hub.node_id)

    def grant(self, name: str, fields: Frame) -> Grant:
        frame = {"type": "register", "orchestrator_id": name, "token": self.secret, **fields}
        node = self.hub.node_id
        claim = claims.read(frame, secret="", remote_address="127.0.0.1", session_id=f"s-{name}", node=node)
        [answer] = registration.register([claim])
        assert isinstance(answer, Grant), answer
        return answer

    async def open(self, name: str, *, is_current: bool = True, is_legacy: bool = False) -> Session:
        """Register `name`, up to date or not, and greet it."""
        fields: Frame = {} if is_legacy else {"capabilities": ["config"]}
        found = await sync_to_async(self.grant)(name, fields)
        if is_current:
            fields["config_hash"] = found.instance.config_hash
            found = await sync_to_async(self.grant)(name, fields)
            assert found.provisioning is None
        self.frames[name] = []

        async def send(event: Frame) -> None:
            self.frames[name].append(json.loads(event["text"]))

        limiter = Limiter(rate=20, burst=100)
        session = Session(self.hub, found, send=send, limiter=limiter, is_legacy=is_legacy, drop=None)
        self.hub.add(session)
        await session.greet()
        return session

    async def look(self, *, queries: int | None = None) -> None:
        """Look once, and let what it found be written; without anything to push it is so many `queries`."""

        def counted() -> int:
            with CaptureQueriesContext(connection) as captured:
                self.hub.clock._find_overdue()
            return len(captured)

        count = await sync_to_async(counted)()
        await asyncio.sleep(0.01)
        assert queries is None or count == queries

    def versions(self, name: str) -> list[tuple[str, int]]:
        return [(frame["type"], frame["version"]) for frame in self.frames[name]]


@pytest.fixture
async def held(transactional_db: None) -> AsyncIterator[Held]:
    found = Held()
    await sync_to_async(found.prepare)()
    yield found
    await found.hub.stop()


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
