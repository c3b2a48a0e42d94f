"""Alerts about the task queue: how deep and old it is, what is late or given up, and what events raise."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from monitoring.metrics import charts
from monitoring.models import Alert
from monitoring.tests.alert_stage import Beat, organization
from orchestrators import work
from orchestrators.models import Task
from orchestrators.work import board, event_rules, figures, publishing, sweeping
from orgs.models import Organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def home() -> Organization:
    return organization("acme")


@pytest.fixture
def beat(home: Organization) -> Beat:
    return Beat()


def tasks(home: Organization, number: int, **details: Any) -> None:
    for _ in range(number):
        board.create(home, task_type="x", payload={}, priority=5, acting_user=None, details=board.Details(**details))


def found() -> dict[str, str]:
    """Return {dedup key: severity} of the open alerts."""
    return dict(Alert.objects.unresolved().values_list("dedup_key", "severity"))


def test_a_queue_that_grows_and_ages_is_told(home: Organization, beat: Beat) -> None:
    tasks(home, 49)
    beat.run(10)
    assert found() == {}
    tasks(home, 1)
    beat.run(10)
    assert found() == {"queue_pending/-/-": "warning"}
    Task.objects.update(run_after=beat.now - timedelta(seconds=900))
    beat.run(10)
    assert found() == {"queue_pending/-/-": "warning", "queue_age/-/-": "warning"}
    Task.objects.update(status="completed", completed_at=beat.now)
    beat.run(80)
    assert found() == {}


def test_a_missed_target_and_a_dead_task_are_told_to_their_organization(home: Organization, beat: Beat) -> None:
    tasks(home, 2, sla_target=beat.now + timedelta(seconds=5))
    late, dead = Task.objects.order_by("pk")
    sweeping.sweep(now=beat.now + timedelta(seconds=6))
    Task.objects.filter(pk=dead.pk).update(status="dead", completed_at=beat.now)
    work.set_status(late, "completed", acting_user=None)  # sooner than anybody could look
    beat.run(20)
    assert found() == {"task_late/acme/-": "error", "task_dead/acme/-": "error"}
    alert = Alert.objects.get(alert_type="task_late")
    assert (alert.organization_id, alert.detail) == ("acme", "2 tasks missed their target.")
    assert "announced" in {line["what"].replace("nobody was told", "announced") for line in alert.timeline}
    beat.pause(600)
    beat.run(100)
    assert found() == {"task_dead/acme/-": "error", "detector_late/-/-": "warning"}


def test_an_event_raises_an_alert_once_and_quiet_ends_it(home: Organization, beat: Beat) -> None:
    rule = event_rules.create(
        home, name="Deployment failed", event_type="deploy.failed", action="alert", severity="critical",
        acting_user=None,
    )  # fmt: skip
    key = f"event.{rule.rule_id}/acme/-"
    for _ in range(2):
        publishing.publish(home, event_type="deploy.failed", source_agent="ci", payload={})
    beat.run(20)
    alert = Alert.objects.get(dedup_key=key)
    assert (alert.title, alert.severity, alert.threshold, alert.value) == (
        "Deployment failed: acme", "critical", None, 2,
    )  # fmt: skip
    assert alert.detail.startswith("2 events, the last: deploy.failed from ci at ")
    assert [line["what"] for line in alert.timeline] == ["fired", "nobody was told"]
    beat.pause(3000)
    beat.run(60)
    publishing.publish(home, event_type="deploy.failed", source_agent="ci", payload={})
    beat.run(20)
    beat.pause(3000)
    beat.run(20)
    assert found()[key] == "critical"
    beat.pause(600)
    beat.run(20)
    assert key not in found()
    assert Alert.objects.get(dedup_key=key).detail.endswith("No such event for an hour.")


def test_the_charts_count_back_from_what_is_open_now(home: Organization) -> None:
    now = datetime.fromisoformat("2026-11-22T10:00:30+00:00")
    tasks(home, 4)
    ids = list(Task.objects.order_by("pk").values_list("pk", flat=True))
    Task.objects.update(created_at=now - timedelta(minutes=10), started_at=now - timedelta(minutes=8))
    for pk, status in zip(ids[1:], ("completed", "completed", "dead"), strict=True):
        Task.objects.filter(pk=pk).update(status=status, completed_at=now - timedelta(minutes=5))
    drawn = charts.tasks("acme", since=now - timedelta(hours=1), until=now)
    series = {name: found["avg"] for name, found in drawn["series"].items()}
    assert (drawn["step"], len(drawn["x"])) == (300, 13)
    assert series["tasks_open"] == [0] * 10 + [4, 1, 1]
    assert (series["tasks_created"][10], series["tasks_ended"][11]) == (48, 36)
    assert (series["task_mean_seconds"][11], series["task_completion_percent"][11]) == (180, 66.667)
    assert series["task_mean_seconds"][10] is None
    assert set(charts.tasks("other", since=now - timedelta(hours=1), until=now)["series"]["tasks_open"]["avg"]) == {0}


def test_the_figures_say_how_the_work_goes(home: Organization) -> None:
    now = datetime.fromisoformat("2026-11-22T10:00:00+00:00")
    board.create(home, task_type="bugfix", payload={}, priority="P1", acting_user=None)
    tasks(home, 7)
    ids = list(Task.objects.order_by("pk").values_list("pk", flat=True))
    rows = Task.objects.filter
    rows(pk__in=ids).update(created_at=now - timedelta(hours=2), run_after=now - timedelta(seconds=90))
    rows(pk__in=ids[3:]).update(created_at=now - timedelta(minutes=59))
    ended = {"completed_at": now - timedelta(minutes=1), "started_at": now - timedelta(minutes=3)}
    for pk, status in zip(ids[3:], ("completed", "completed", "failed", "dead", "cancelled"), strict=True):
        rows(pk=pk).update(status=status, **ended)
    rows(pk=ids[1]).update(status="in_progress", assigned_agent="dev_agent")
    home.agents.create(agent_id="idle", name="Idle")
    seen = figures.of_all(now=now)
    assert (seen.pending, seen.processing, seen.created, seen.oldest_seconds) == (2, 1, 5, 90)
    assert (seen.completion_percent, seen.mean_seconds, seen.approval_percent) == (50, 120, None)
    assert (seen.agents, seen.busy_agents, seen.utilization_percent) == (2, 1, 50)
    assert seen.ended == {"completed": 2, "failed": 1, "dead": 1, "cancelled": 1}
    assert figures.of_all(now=now, organizations=["other"]).pending == 0
