"""Retention: what goes, what stays however old it is, in batches, once at a time, along indexes."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrators import instances, recommendations, retention
from orchestrators.models import Job, Message, Recommendation
from orgs import organizations
from orgs import retention as registry
from orgs.models import AuditEntry, Event, IdempotencyKey, Lease, RefreshToken, User

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def days(number: float) -> Any:
    return NOW - timedelta(days=number)


@pytest.fixture(autouse=True)
def home(settings: Any) -> None:
    """An orchestrator, and the defaults."""
    settings.MESSAGE_RETENTION_DAYS, settings.MESSAGE_DEDUPE_DAYS, settings.EVENT_RETENTION_DAYS = 30, 7, 30
    acme = organizations.create("acme", name="Acme", acting_user=None)
    instances.create("orch-001", organization=acme, acting_user=None)
    Event.objects.all().delete()


def message(name: str, *, age: float, status: str = "delivered", direction: str = "outbound", kind: str = "x") -> None:
    is_open = status in ("pending", "sent")
    Message.objects.create(
        orchestrator_id="orch-001", message_id=name, message_type=kind, direction=direction, status=status,
        finished_at=None if is_open else days(age),
    )  # fmt: skip
    Message.objects.filter(message_id=name).update(created_at=days(age))


def names() -> set[str]:
    return set(Message.objects.values_list("message_id", flat=True))


def test_messages_that_are_over_go_and_open_ones_stay() -> None:
    for status in ("delivered", "failed", "expired", "pending", "sent"):
        message(f"old-{status}", age=31, status=status)
        message(f"new-{status}", age=29, status=status)
    assert retention.prune(now=NOW)["messages"] == 3
    assert {name for name in names() if name.startswith("old")} == {"old-pending", "old-sent"}
    assert len([name for name in names() if name.startswith("new")]) == 5


def test_what_a_client_may_send_again_is_remembered_longer_than_messages_are_kept(settings: Any) -> None:
    settings.MESSAGE_RETENTION_DAYS = 1
    message("up", age=6, direction="inbound")
    message("down", age=6)
    message("up-old", age=8, direction="inbound")
    retention.prune(now=NOW)
    assert names() == {"up"}


def test_recommendations_stay_until_somebody_read_them() -> None:
    for name in ("unread", "read"):
        message(name, age=400, direction="inbound", kind="recommendation")
    message("plain", age=400, kind="recommendation")
    recommendations.read(Recommendation.objects.get(message_id="read"), acting_user=None)
    retention.prune(now=NOW)
    assert names() == {"unread"}


def test_events_jobs_keys_and_tokens_go_and_audit_rows_never() -> None:
    for age in (31, 29):
        Event.objects.create(kind=f"e{age}", created_at=days(age))
        Job.objects.create(job_id=f"j{age}", kind="x", created_at=days(age), finished_at=days(age), status="completed")
    Job.objects.create(job_id="open", kind="x", created_at=days(99))
    for hours in (25, 23):
        moment = NOW - timedelta(hours=hours)
        IdempotencyKey.objects.create(caller="c", key=f"k{hours}", fingerprint="f", created_at=moment)
        RefreshToken.objects.create(
            token_hash=f"t{hours}", sign_in_id="s", user=User.objects.get_or_create(username="u")[0],
            created_at=days(20), expires_at=moment,
        )  # fmt: skip
    AuditEntry.objects.update(created_at=days(4000))
    before = AuditEntry.objects.count()
    gone = retention.prune(now=NOW)
    assert gone == {
        "messages": 0, "jobs": 1, "tasks": 0, "idempotency_keys": 1, "refresh_tokens": 1, "counters": 0, "events": 1,
        "metrics_hourly": 0, "metrics_daily": 0, "request_metrics": 0,
        "request_metrics_hourly": 0, "request_metrics_daily": 0, "activities": 0,
        "alerts": 0, "silences": 0, "deliveries": 0, "export_chunks": 0,
        "budget_windows": 0, "rate_windows": 0, "journal_cursors": 0, "llm_calls": 0, "llm_refusals": 0,
        "llm_spending": 0, "llm_contents": 0, "workflow_runs": 0, "workflow_contents": 0, "prompts": 0,
        "prompt_contents": 0,
    }  # fmt: skip
    assert list(Event.objects.filter(kind__startswith="e").values_list("kind", flat=True)) == ["e29"]
    assert set(Job.objects.values_list("job_id", flat=True)) == {"j29", "open"}
    assert AuditEntry.objects.count() == before > 0


def test_zero_keeps_for_ever(settings: Any) -> None:
    settings.MESSAGE_RETENTION_DAYS = settings.EVENT_RETENTION_DAYS = settings.METRICS_RETENTION_DAYS = 0
    settings.METRICS_HOURLY_RETENTION_DAYS = settings.METRICS_DAILY_RETENTION_DAYS = 0
    settings.REQUEST_METRICS_MINUTE_DAYS = 0
    settings.ALERT_RETENTION_DAYS = settings.EXPORT_RETENTION_HOURS = 0
    settings.LLM_CALL_RETENTION_DAYS = settings.LLM_SPENDING_RETENTION_DAYS = 0
    settings.TASK_RETENTION_DAYS = 0
    message("old", age=4000)
    Event.objects.create(kind="old", created_at=days(4000))
    settings.LLM_CONTENT_RETENTION_DAYS = 0
    working = {"budget_windows", "rate_windows", "journal_cursors"}  # what budgets are counted with, not what was
    # Contents go by what organizations say, too.
    assert (
        set(retention.prune(now=NOW))
        == {"idempotency_keys", "refresh_tokens", "counters", "workflow_contents"} | working
    )
    assert names() == {"old"}


def test_a_batch_is_bounded_and_the_time_too() -> None:
    Event.objects.bulk_create(Event(kind="x", created_at=days(31)) for _ in range(25))
    rule = next(rule for rule in registry.rules(now=NOW) if rule.name == "events")
    assert registry.delete_batch(rule, size=10) == 10
    assert Event.objects.filter(kind="x").count() == 15
    assert retention.prune(now=NOW, budget_seconds=0) == {}
    assert retention.prune(now=NOW)["events"] == 15


def test_the_sweep_runs_once_for_two_clocks_and_gives_its_lease_back() -> None:
    Event.objects.create(kind="x", created_at=days(31))
    first = retention.sweep(holder="one", now=NOW)
    assert first is not None
    assert first["events"] == 1
    assert retention.sweep(holder="two", now=NOW + timedelta(seconds=1)) is None
    assert Lease.objects.get(name="prune").ran_at == NOW
    assert retention.sweep(holder="two", now=NOW + timedelta(seconds=400)) is not None


def test_every_rule_reads_along_an_index() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
    indexes = {
        "messages": "messages_finished", "jobs": "jobs_finished", "tasks": "tasks_over", "events": "events_by_time",
        "idempotency_keys": "idempotency_by_time", "refresh_tokens": "refresh_by_expiry",
        "counters": "counters_by_time",
        "metrics_hourly": "metric_rollups_by_time", "metrics_daily": "metric_rollups_by_time",
        "request_metrics": "request_metrics_by_span", "request_metrics_hourly": "request_metrics_by_span",
        "request_metrics_daily": "request_metrics_by_span", "activities": "activities_by_time",
        "alerts": "alerts_resolved", "silences": "silences_by_end", "deliveries": "deliveries_over",
        "export_chunks": "jobs_finished",
        "budget_windows": "budget_windows_by_end", "rate_windows": "budget_windows_by_end one_budget_window_each",
        "journal_cursors": "journal_cursors_by_time", "llm_calls": "llm_calls_by_time",
        "llm_refusals": "llm_refusals_by_time",
        "llm_spending": "llm_spending_by_time", "llm_contents": "llm_contents_by_time",
        "workflow_runs": "workflow_runs_over", "workflow_contents": "workflow_contents_ending",
        "prompts": "prompts_by_time", "prompt_contents": "prompt_contents_by_time",
    }  # fmt: skip
    for rule in retention.rules(now=NOW):
        plan = rule.rows.order_by(rule.order).values_list("pk", flat=True)[:1000].explain()
        if connection.vendor == "sqlite":
            assert any(index in plan for index in indexes[rule.name].split()), plan
            assert "TEMP B-TREE" not in plan, plan
        else:  # which of several, of an empty table, says nothing
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "Sort" not in plan, plan


def test_the_command_counts_and_deletes() -> None:
    Event.objects.create(kind="x", created_at=days(31))
    out = io.StringIO()
    call_command("prune", "--dry-run", stdout=out)
    assert "events: 1 would be deleted" in out.getvalue()
    assert Event.objects.filter(kind="x").exists()
    call_command("prune", stdout=out)
    assert "events: 1 deleted" in out.getvalue()
    assert not Event.objects.filter(kind="x").exists()


def test_no_content_is_read_to_delete_it() -> None:
    message("old", age=31)
    Job.objects.create(job_id="j", kind="x", created_at=days(31), finished_at=days(31), status="completed")
    with CaptureQueriesContext(connection) as asked:
        gone = retention.prune(now=NOW)
    assert (gone["messages"], gone["jobs"]) == (1, 1)
    read = [row["sql"] for row in asked.captured_queries if row["sql"].startswith("SELECT")]
    assert not [sql for sql in read if '"message_content"' in sql or '"targets"' in sql]
