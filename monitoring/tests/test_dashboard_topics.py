"""The topics of alerts, metrics and the system's health on `/ws`: a snapshot, then changes of any process."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from monitoring.dashboard import alerts, health, samples
from monitoring.dashboard.topics import Scope
from monitoring.models import NUMBERS, Alert, SystemMetric
from monitoring.tests.test_dashboard import watch
from moolai.testing.world import World
from orchestrators import instances
from orchestrators.tests.live import DEV_TOKEN, Live, running
from orgs import events
from orgs.models import Event

WITHIN_SECONDS = 2.0


def sample(name: str, organization_id: str = "acme", orchestrator_id: str = "orch-a", **columns: Any) -> SystemMetric:
    at = {"organization_id": organization_id, "orchestrator_id": orchestrator_id, "timestamp": timezone.now()}
    return SystemMetric.objects.create(metric_id=name, **at, **columns)


# --- over the socket ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        for organization_id, name in (("acme", "orch-a"), ("globex", "orch-b")):
            instances.create(name, organization=found.organization(organization_id), acting_user=None)
        yield found


@pytest.fixture(autouse=True)
def hang_up(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "live" in request.fixturenames:
        request.getfixturevalue("live").hang_up()


@pytest.mark.services
def test_metrics_begin_with_the_newest_of_each_and_follow_within_two_seconds(live: Live) -> None:
    sample("old", cpu_usage_percent=1.0)
    sample("newest", cpu_usage_percent=2.0)
    sample("host", orchestrator_id="", cpu_usage_percent=3.0)
    peer = watch(live, DEV_TOKEN, ["system_metrics"], organization_id="acme")
    first = [peer.take("system_metrics") for _ in range(2)]
    assert {frame["metric_id"] for frame in first} == {"newest", "host"}
    sample("elsewhere", "globex", "orch-b")
    started = time.monotonic()
    written = sample("another-process", cpu_usage_percent=4.0, memory_percent=40.0, custom={"gpu": 1})
    frame = peer.take("system_metrics")
    assert time.monotonic() - started < WITHIN_SECONDS
    assert frame["metric_id"] == written.metric_id
    assert set(frame["metrics"]) == {*NUMBERS, "custom"}
    assert (frame["metrics"]["memory_percent"], frame["metrics"]["swap_percent"]) == (40.0, None)
    assert (frame["organization_id"], frame["orchestrator_id"]) == ("acme", "orch-a")


@pytest.mark.services
def test_a_monitoring_frame_is_on_the_dashboard_within_two_seconds(live: Live) -> None:
    peer = watch(live, live.key("acme", role="viewer"), ["cpu_usage"])
    session = live.register("orch-a", key=live.key("acme"))
    peer.nothing(0.3)
    started = time.monotonic()
    metrics = {"cpu_usage_percent": 63.5, "memory_percent": 71.0}
    session.ask({"type": "monitoring", "message_id": "m-7", "metrics": metrics}, "ack")
    frame = peer.take("system_metrics")
    assert time.monotonic() - started < WITHIN_SECONDS
    assert frame["metrics"]["cpu_usage_percent"] == 63.5
    assert set(frame["metrics"]) == set(samples.CPU)


@pytest.mark.services
def test_topics_of_metrics_together_are_one_frame_with_the_fields_of_both(live: Live) -> None:
    peer = watch(live, DEV_TOKEN, ["cpu_usage", "memory_usage"])
    peer.nothing(0.3)
    sample("both", cpu_usage_percent=1.0, memory_percent=2.0, storage_percent=3.0)
    [frame] = peer.nothing(1.8, of="system_metrics")
    assert set(frame["metrics"]) == {*samples.CPU, *samples.MEMORY}


@pytest.mark.services
def test_an_orchestrators_key_watches_its_own_metrics_and_alerts(live: Live) -> None:
    peer = watch(live, live.key("acme", orchestrator_id="orch-a"), ["system_metrics", "alerts"])
    sample("neighbours", orchestrator_id="orch-n")
    sample("hosts", orchestrator_id="")
    own = sample("own")
    for orchestrator_id in ("orch-a", "orch-n", ""):
        data = {"alert_id": f"alr_{orchestrator_id}"}
        events.record("alert.fired", organization_id="acme", orchestrator_id=orchestrator_id, data=data)
    found = peer.nothing(1.8)
    shown = {frame["metric_id"] for frame in found if frame["type"] == "system_metrics"}
    assert own.metric_id in shown
    assert not shown & {"neighbours", "hosts"}
    assert {frame["alert_id"] for frame in found if frame["type"] == "alert"} == {"alr_orch-a"}


@pytest.mark.services
def test_an_alert_is_told_when_it_fires_and_when_it_ends_to_those_it_concerns(live: Live) -> None:
    member, superadmin = watch(live, live.key("acme", role="viewer"), ["alerts"]), watch(live, DEV_TOKEN, ["alerts"])
    for kind in ("fired", "acknowledged", "resolved"):
        events.record(f"alert.{kind}", organization_id="acme", data={"alert_id": "alr_1", "title": "No heartbeat"})
    events.record("alert.fired", organization_id="globex", data={"alert_id": "alr_2"})
    events.record("alert.fired", data={"alert_id": "alr_controller"})
    told = {peer: peer.nothing(1.8, of="alert") for peer in (member, superadmin)}
    assert [frame["event"] for frame in told[member]] == ["fired", "acknowledged", "resolved"]
    assert {frame["organization_id"] for frame in told[member]} == {"acme"}
    assert {frame["alert_id"] for frame in told[superadmin]} == {"alr_1", "alr_2", "alr_controller"}
    assert told[member][0]["title"] == "No heartbeat"


@pytest.mark.services
def test_health_is_told_to_everybody_and_names_nobody(live: Live) -> None:
    _, answer = live.call("GET", "/api/v1/controller/health")
    for token in (DEV_TOKEN, live.key("acme", role="viewer"), live.key("acme", orchestrator_id="orch-a")):
        frame = watch(live, token, ["system_health"]).take("system_health")
        assert frame["dependencies"] == answer["data"]["dependencies"]
        assert set(frame) == {"type", "status", "dependencies"}


# --- the rooms --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_flood_of_samples_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PAGE_ROWS", 2)
    following = samples.Samples()
    for number in range(9):
        sample(f"flood-{number}")
    assert [frame["metric_id"] for frame in following.read()] == [f"flood-{number}" for number in range(6)]
    after = sample("after")
    assert [frame["metric_id"] for frame in following.read()] == [after.metric_id]
    assert following.floor <= after.pk


@pytest.mark.django_db
def test_a_sample_that_is_committed_out_of_order_is_told_once() -> None:
    before = sample("before")
    following = samples.Samples()
    sample("second", pk=before.pk + 2)
    assert [frame["metric_id"] for frame in following.read()] == ["second"]
    assert following.floor == before.pk
    sample("first", pk=before.pk + 1)
    assert [frame["metric_id"] for frame in following.read()] == ["first"]
    assert following.read() == []
    assert following.floor == before.pk + 2


@pytest.mark.django_db
def test_the_newest_samples_are_read_within_a_scope(django_assert_num_queries: Any) -> None:
    sample("a-1")
    sample("a-2")
    sample("b-1", "globex", "orch-b")
    with django_assert_num_queries(2):
        found = samples.latest(Scope(frozenset({"acme"})))
    assert [frame["metric_id"] for frame in found] == ["a-2"]
    assert {frame["metric_id"] for frame in samples.latest(Scope(None))} == {"a-2", "b-1"}


@pytest.mark.django_db
def test_an_event_without_a_table_of_alerts_tells_what_it_knows() -> None:
    row = Event(kind="alert.fired", organization_id="acme", data={"alert_id": "alr_9"}, created_at=timezone.now())
    [frame] = alerts.frames([row, Event(kind="config.applied", data={}, created_at=timezone.now())])
    assert (frame["type"], frame["event"], frame["alert_id"]) == ("alert", "fired", "alr_9")


@pytest.mark.django_db
def test_open_alerts_are_the_snapshot_and_an_event_tells_its_alert_as_it_is_now() -> None:
    now = timezone.now()
    made = {"severity": "error", "alert_type": "cpu", "title": "The CPU is busy", "started_at": now}
    for name, home, status in (("a", "acme", "firing"), ("b", "globex", "firing"), ("c", "acme", "resolved")):
        ended = now if status == "resolved" else None
        Alert.objects.create(
            alert_id=name, dedup_key=name, organization_id=home, status=status, last_seen_at=now, resolved_at=ended,
            **made,
        )  # fmt: skip
    assert [frame["alert_id"] for frame in alerts.open_ones(Scope(frozenset({"acme"})))] == ["a"]
    row = Event(kind="alert.resolved", organization_id="acme", data={"alert_id": "c"}, created_at=now)
    [frame] = alerts.frames([row])
    assert (frame["event"], frame["status"], frame["title"]) == ("resolved", "resolved", "The CPU is busy")


def test_health_asks_once_for_everybody_and_again_when_that_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    before = health._source

    def source() -> dict[str, Any]:
        asked.append(1)
        return {"status": "healthy", "dependencies": {}}

    health.install(source)
    try:
        told = [health.frame() for _ in range(3)]
        assert (len(asked), told[0]["status"]) == (1, "healthy")
        monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
        health.frame()
        assert len(asked) == 2
    finally:
        health.install(before)
