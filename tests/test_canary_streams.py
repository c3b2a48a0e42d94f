"""Nothing of B's changes reaches a dashboard of A's: not one byte with the canary, while B does all it can."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from monitoring.dashboard import snapshots
from moolai.testing.world import World
from orchestrators import independence, instances, messages
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs import events, keys, organizations
from orgs.models import ApiKey, Organization
from tests.matrix import people, stage
from tests.matrix.people import GOOD, OURS, Part
from tests.matrix.stage import CANARY, Stage

pytestmark = pytest.mark.services
SPIES = [part for part in GOOD if part.role in OURS]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker, {"DEV_BEARER_TOKEN": people.TOKEN}) as found:
        yield found


@pytest.fixture(scope="module")
def world_stage(live: Live) -> Stage:
    return stage.build()


def watch(live: Live, world_stage: Stage, part: Part) -> Peer:
    caller, port = world_stage.callers[part], live.server.port
    if part.kind == "session":
        cookie = caller.client.cookies[settings.SESSION_COOKIE_NAME].value
        peer = live.peer(Cookie=f"moolai_session_{port}={cookie}", Origin=f"http://127.0.0.1:{port}")
    else:
        peer = live.peer(Authorization=caller.headers["Authorization"])
    peer.ask({"type": "subscribe", "topics": sorted(snapshots.SNAPSHOTS)}, "subscribed")
    return peer


def stir(live: Live, world_stage: Stage) -> None:
    """Let everything happen in B that can."""
    b = world_stage.b
    home = Organization.objects.get(pk=b.organization)
    independence.set_instance(b.neighbour, is_independent=True, acting_user=None, reason=CANARY)
    messages.queue(b.neighbour, message_type=f"{CANARY}_type", content={CANARY: CANARY}, acting_user=None)
    instances.create(f"{CANARY}-new", organization=home, acting_user=None, name=CANARY)
    organizations.update(home, acting_user=None, name=f"{CANARY} renamed")
    keys.revoke(ApiKey.objects.get(key_id=b.key), acting_user=None)
    events.record(f"{CANARY}.kind", organization_id=b.organization, data={CANARY: CANARY})
    session = live.peer(Authorization=world_stage.caller("OB").headers["Authorization"])
    opening = {"type": "register", "orchestrator_id": b.orchestrator, "capabilities": []}
    assert session.ask(opening, "handshake_ack")["success"]
    session.ask({"type": "message", "message_id": CANARY, "message_type": CANARY, "content": CANARY}, "ack")
    session.send({"type": "goodbye"})


def test_a_dashboard_of_as_is_sent_no_byte_of_bs(live: Live, world_stage: Stage) -> None:
    watching = {part: watch(live, world_stage, part) for part in SPIES}
    control = watch(live, world_stage, world_stage.caller("AB").part)
    stir(live, world_stage)
    assert eventually(lambda: CANARY in json.dumps(control.nothing(0.3)), 8)
    events.record("the.end", organization_id="org-a", orchestrator_id=world_stage.a.orchestrator)
    told: dict[str, int] = {}
    for part, peer in watching.items():
        peer.nothing(0.5)
        assert CANARY not in json.dumps(peer.seen), part
        assert {frame.get("organization_id", "org-a") for frame in peer.seen} == {"org-a"}
        told[str(part)] = sum(frame["type"] == "event" for frame in peer.seen)
    assert all(told.values()), told
    totals = {
        part: [frame["total"] for frame in peer.seen if frame["type"] == "fleet"] for part, peer in watching.items()
    }
    assert all(set(found) == {1 if part.role == "OA" else 3} for part, found in totals.items())
    live.hang_up()
