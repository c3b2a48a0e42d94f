"""The charts of how the queue is worked on: the oldest wait, what approvers decide, how busy agents are."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.metrics import charts
from monitoring.tests.alert_stage import organization
from orchestrators.models import Agent, Approval, Task
from orgs.models import Organization

pytestmark = pytest.mark.django_db
NOW = datetime.fromisoformat("2026-11-22T10:02:30+00:00")
HOUR = timedelta(hours=1)
QUERIES = 7


@pytest.fixture
def home() -> Organization:
    made = organization("acme")
    Agent.objects.bulk_create(Agent(organization=made, agent_id=name, name=name) for name in ("dev", "ops"))
    return made


def before(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def task(home: Organization, status: str, *, created: float = 0, **columns: Any) -> Task:
    """Leave a task; times are minutes before NOW."""
    times = [name for name in ("run_after", "started_at", "completed_at") if name in columns]
    minutes: dict[str, Any] = {name: before(columns.pop(name)) for name in times}
    given: dict[str, Any] = {
        "run_after": before(created),
        "priority": 5,
        "task_type": "x",
        "created_by": "a",
        **minutes,
        **columns,
    }
    name = f"t-{Task.objects.count()}"
    return Task.objects.create(task_id=name, organization=home, status=status, created_at=before(created), **given)


def drawn(column: str, organization_id: str | None = "acme") -> list[float | None]:
    found: Any = charts.tasks(organization_id, since=NOW - HOUR, until=NOW)
    return list(found["series"][column]["avg"])


def test_the_oldest_wait_is_that_at_the_end_of_each_bucket(home: Organization) -> None:
    task(home, "completed", created=30, started_at=16, completed_at=15)  # waited 14 minutes
    task(home, "in_progress", created=22, started_at=11)
    task(home, "assigned", created=2)
    task(home, "assigned", created=50, started_at=40, attempts=1, run_after=-5)  # rests after an attempt: no wait
    task(home, "pending_approval", created=55)
    task(home, "cancelled", created=55, completed_at=1)
    seconds = drawn("task_oldest_seconds")
    # Buckets end at 9:05, …, 10:05, the last one now: 10:02:30.
    assert seconds == [0] * 6 + [150, 450, 750, 570, 0, 0, 120]
    assert set(drawn("task_oldest_seconds", "other")) == {0}


def test_a_task_that_was_approved_or_tried_again_waits_from_when_it_might_be_taken(home: Organization) -> None:
    row = task(home, "in_progress", created=59, started_at=11, run_after=5, attempts=2)
    Approval.objects.create(
        approval_id="a", task=row, status="approved", created_at=before(59), decided_at=before(21), reason="P1"
    )
    assert (
        max(value or 0 for value in drawn("task_oldest_seconds")) == 8.5 * 60
    )  # at 9:50: decided 9:41:30, taken 9:51:30


def test_the_share_that_was_approved_counts_those_nobody_decided_in_time(home: Organization) -> None:
    for number, (status, minutes) in enumerate(
        (("approved", 10), ("rejected", 10), ("expired", 10), ("withdrawn", 10), ("approved", 10), ("approved", 20))
    ):
        Approval.objects.create(
            approval_id=str(number), task=task(home, "completed", completed_at=5), status=status, reason="P1",
            created_at=before(30), decided_at=before(minutes),
        )  # fmt: skip
    assert drawn("approval_percent") == [None] * 8 + [100, None, 50, None, None]
    assert set(drawn("approval_percent", "other")) == {None}


def test_agents_are_busy_for_as_long_as_their_tasks_are_work(home: Organization) -> None:
    busy = {"assigned_agent": "dev"}
    task(home, "completed", created=60, started_at=20, completed_at=10, **busy)  # 9:42:30 to 9:52:30
    task(home, "in_progress", created=60, started_at=1, **busy)
    task(home, "assigned", created=60, started_at=50, **busy)  # waits for its next attempt
    task(home, "completed", created=60, started_at=20, completed_at=10, assigned_agent="nobody")
    assert drawn("agent_utilization_percent") == [0] * 8 + [25, 50, 25, 0, 20]
    for _ in range(4):
        task(home, "completed", created=70, started_at=90, completed_at=15, **busy)  # several at once: no more than all
    assert drawn("agent_utilization_percent")[:9] == [100] * 9
    assert set(drawn("agent_utilization_percent", "other")) == {None}  # it has no agents


def test_many_tasks_are_read_with_as_many_queries_as_none(home: Organization) -> None:
    for number in (0, 60):
        for at in range(number):
            row = task(home, "completed", created=at, started_at=at / 2, completed_at=at / 3, assigned_agent="dev")
            Approval.objects.create(
                approval_id=str(at), task=row, status="approved", created_at=NOW, decided_at=NOW, reason="P1"
            )
        for whose in ("acme", None):
            with CaptureQueriesContext(connection) as asked:
                charts.tasks(whose, since=NOW - HOUR, until=NOW)
            assert len(asked.captured_queries) == QUERIES
