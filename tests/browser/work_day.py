"""A day of tasks in the demo organizations: some wait, some are worked on, most are done."""

from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from orchestrators import work
from orchestrators.models import Task
from orchestrators.work import agents, board
from orgs import audit
from orgs.models import Organization

PAYLOAD: Final = {
    "repository": "shop/checkout", "title": "The total is wrong with two vouchers", "severity": "major",
    "steps": ["add two vouchers", "open the basket"], "reporter": {"name": "Ada", "team": "payments"},
}  # fmt: skip
PLAN: Final = (
    ("org-001", "deployment", "P0", 3), ("org-001", "bugfix", "P1", 12), ("org-002", "incident", "P1", 40),
    ("org-001", "feature", "P2", 6), ("org-002", "documentation", "P3", 75), ("org-001", "refactor", 7, 9),
    ("org-002", "knowledge_sync", "P2", 2), ("org-001", "monitoring", "P3", 1),
)  # fmt: skip
ENDED: Final = (
    ("bugfix", "completed", 190), ("feature", "completed", 420), ("faq_update", "completed", 35),
    ("refactor", "dead", 60), ("monitoring", "failed", 30), ("documentation", "completed", 64),
)  # fmt: skip


def fill() -> None:
    """Leave tasks of every status, agents and their numbers."""
    homes = Organization.objects.in_bulk(["org-001", "org-002"])
    with audit.origin("ci-pipeline"):
        for name, kind, priority, minutes in PLAN:
            _age(_make(homes[name], kind, priority), minutes)
        for number, (kind, status, seconds) in enumerate(ENDED):
            _end(_make(homes["org-001"], kind, "P2"), status, seconds=seconds, minutes=20 + 35 * number)
        agents.create(
            homes["org-001"], agent_id="reviewer", name="Reviewer", acting_user=None, model="fast",
            capabilities=["review", "summary", "release_notes", "changelog", "triage"],
        )  # fmt: skip
        _work(homes["org-001"])


def retried() -> int:
    """Return the task that went wrong once and is worked on again."""
    return Task.objects.get(task_type="release_notes").pk


def _make(home: Organization, kind: str, priority: Any) -> Task:
    details = board.Details(source="github", sla_target=timezone.now() + timedelta(hours=4))
    return work.create(home, task_type=kind, payload=PAYLOAD, priority=priority, acting_user=None, details=details)


def _age(task: Task, minutes: float) -> None:
    """Let it have been made that long ago."""
    back = timedelta(minutes=minutes)
    Task.objects.filter(pk=task.pk).update(created_at=task.created_at - back, run_after=task.run_after - back)
    for step in task.steps.all():
        task.steps.filter(pk=step.pk).update(at=step.at - back)


def _end(task: Task, status: str, *, seconds: float, minutes: float) -> None:
    end = timezone.now() - timedelta(minutes=minutes)
    Task.objects.filter(pk=task.pk).update(
        status=status, created_at=end - timedelta(seconds=seconds + 20), started_at=end - timedelta(seconds=seconds),
        completed_at=end, attempts=1 if status == "completed" else 5, holder="orch-001",
        error="" if status == "completed" else "the tests do not pass: 3 of 412 failed (attempt 5, the last)",
    )  # fmt: skip


def _work(home: Organization) -> None:
    """Have two tasks worked on, one of them for the second time."""
    task = _make(home, "release_notes", 9)
    _age(task, 14)
    holder = work.Holder("orch-001", organization_id=home.pk, orchestrator_id="orch-001", types=["release_notes"])
    [held] = work.take(holder, now=timezone.now())
    held.steps.filter(kind="taken").update(at=timezone.now() - timedelta(minutes=12))
    work.fail(held, error="the model answered nothing")
    held.steps.filter(kind="attempt_failed").update(at=timezone.now() - timedelta(minutes=9))
    later = work.Holder("worker 1@web-2", organization_id=home.pk, types=["release_notes", "triage"])
    _make(home, "triage", 8)
    for percent, row in zip((65, 20), work.take(later, now=timezone.now() + timedelta(hours=2), limit=2), strict=True):
        work.progress(row, percent=percent)
        since = timezone.now() - timedelta(minutes=6)
        row.steps.filter(kind="taken", actor=later.name).update(at=since)
        Task.objects.filter(pk=row.pk).update(started_at=since)
