"""Nothing of B's changes reaches a dashboard or an event stream of A's: no byte with the canary, whatever B does."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from monitoring.dashboard import snapshots
from monitoring.models import SystemMetric
from monitoring.tests.event_stream import EventStream
from moolai.testing.world import World
from orchestrators import independence, instances, messages
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs import events, keys, organizations
from orgs.models import ApiKey, Organization
from tests.matrix import people, stage
from tests.matrix.people import GOOD, OURS, Part
from tests.matrix.stage import CANARY, Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
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
    whose = {"organization_id": b.organization, "orchestrator_id": b.orchestrator}
    events.record("alert.fired", data={"alert_id": CANARY, "title": CANARY}, **whose)
    SystemMetric.objects.create(
        metric_id=f"m-{SystemMetric.objects.count()}",
        timestamp=timezone.now(),
        custom={CANARY: 1},
        cpu_usage_percent=1.0,
        **whose,
    )
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


# --- the same over HTTP -------------------------------------------------------------------------------------------

PATHS = ("/api/v1/stream", "/api/v1/stream/system/health", "/api/v1/stream/metrics/organization?time_window=24h")
READERS = [part for part in SPIES if part.role not in ("OA", "OU")]


def listen(live: Live, world_stage: Stage, part: Part, path: str, *, last_event_id: str = "") -> EventStream:
    caller, more = world_stage.callers[part], {"Last-Event-ID": last_event_id} if last_event_id else {}
    if part.kind == "session":
        cookie = caller.client.cookies[settings.SESSION_COOKIE_NAME].value
        return EventStream(live.server.port, path, {"Cookie": f"moolai_session_{live.server.port}={cookie}", **more})
    return EventStream(live.server.port, path, {**caller.headers, **more})


def heard(one: EventStream) -> str:
    return json.dumps([asdict(block) for block in one.seen]) + str(one.headers)


def test_an_event_stream_of_as_is_sent_no_byte_of_bs_also_when_it_goes_on(live: Live, world_stage: Stage) -> None:
    open_ones = {(part, path): listen(live, world_stage, part, path) for part in READERS for path in PATHS}
    control = listen(live, world_stage, world_stage.caller("AB").part, PATHS[0])
    for one in open_ones.values():
        one.nothing(0.1)
    places = {part: open_ones[part, PATHS[0]].last_event_id for part in READERS}
    before = len(control.seen)
    messages.queue(world_stage.b.neighbour, message_type=f"{CANARY}_2", content={}, acting_user=None)
    events.record("alert.fired", organization_id=world_stage.b.organization, data={"alert_id": CANARY})
    independence.set_instance(world_stage.a.orchestrator, is_independent=True, acting_user=None)
    assert eventually(lambda: control.nothing(0.3) and CANARY in heard(control), 8)
    assert len(control.seen) > before
    for part in READERS:
        again = listen(live, world_stage, part, PATHS[0], last_event_id=places[part])
        again.take("orchestrator_status", status="independent")
        again.nothing(0.2)
        assert CANARY not in heard(again), part
        again.close()
    for (part, path), one in open_ones.items():
        one.nothing(0.2)
        assert CANARY not in heard(one), (part, path)
        whose = {block.data.get("organization_id", "org-a") for block in one.seen if block.event}
        assert whose == {"org-a"}
        one.close()
    control.close()


def test_an_id_of_bs_stream_is_to_a_as_unknown_as_one_nobody_was_sent(live: Live, world_stage: Stage) -> None:
    foreign = listen(live, world_stage, world_stage.caller("AB").part, PATHS[0])
    foreign.nothing(0.5)
    made_up = f"{foreign.last_event_id[:-4]}ffff"
    told = []
    for text in (foreign.last_event_id, made_up):
        one = listen(live, world_stage, world_stage.caller("MV").part, PATHS[0], last_event_id=text)
        one.nothing(0.7)
        told.append([(block.event, block.data) for block in one.seen])
        assert CANARY not in heard(one)
        one.close()
    assert told[0] == told[1]
    assert told[0][1][0] == "resync"
    foreign.close()
