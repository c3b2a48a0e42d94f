"""Retention of the gateway's rows: calls, refused ones too, contents, hours of spending, old windows, cursors."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import QuerySet

from llm_gateway.models import (
    BudgetWindow,
    Call,
    CallContent,
    GatewayPolicy,
    JournalCursor,
    Refusal,
    Spending,
    WorkflowContent,
    WorkflowRun,
)
from orgs.retention import Rule

WINDOWS_DAYS: Final = 35  # the month before can still be looked at
RATES_SECONDS: Final = 3600
CURSORS_DAYS: Final = 30


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now. Calls that run and budgets that do not end stay."""
    old = now - timedelta(days=WINDOWS_DAYS)
    over = BudgetWindow.objects.filter(end_at__lt=int(old.timestamp()))
    rates = BudgetWindow.objects.filter(window="minute", end_at__lt=int(now.timestamp()) - RATES_SECONDS)
    closed = JournalCursor.objects.filter(is_closed=True, moved_at__lt=now - timedelta(days=CURSORS_DAYS))
    found = [
        Rule("budget_windows", over, "end_at"),
        Rule("rate_windows", rates, "end_at"),
        Rule("journal_cursors", closed, "moved_at"),
    ]
    if days := settings.LLM_CALL_RETENTION_DAYS:
        calls = Call.objects.exclude(status=Call.Status.RUNNING).filter(started_at__lt=now - timedelta(days=days))
        found.append(Rule("llm_calls", calls, "started_at"))
        refused = Refusal.objects.filter(minute_at__lt=now - timedelta(days=days))
        found.append(Rule("llm_refusals", refused, "minute_at"))
    if days := settings.LLM_SPENDING_RETENTION_DAYS:
        found.append(Rule("llm_spending", Spending.objects.filter(hour_at__lt=now - timedelta(days=days)), "hour_at"))
    if days := settings.TASK_RETENTION_DAYS:
        done = WorkflowRun.objects.filter(completed_at__lt=now - timedelta(days=days))
        found.append(Rule("workflow_runs", done, "completed_at"))
    ended = WorkflowContent.objects.filter(expires_at__lte=now)
    found.append(Rule("workflow_contents", ended, "expires_at"))
    return [*found, *contents("llm_contents", CallContent.objects.all(), now=now)]


def contents(name: str, rows: QuerySet[Any], *, now: datetime) -> list[Rule]:
    """Return which rows of contents go: by the installation's days, an organization's own if fewer, or private.

    No row is in two of them, and each is read along its own index: most rows stay, and nobody looks at them.
    """
    days = settings.LLM_CONTENT_RETENTION_DAYS
    cutoff = now - timedelta(days=days) if days else None
    found = [Rule(name, rows.filter(kept_at__lt=cutoff), "kept_at")] if cutoff else []
    fresh = rows.filter(kept_at__gte=cutoff) if cutoff else rows
    for ids, own_days in _kept_shorter(days):
        old = fresh.filter(organization_id__in=ids)
        old = old.filter(kept_at__lt=now - timedelta(days=own_days)) if own_days else old
        found.append(Rule(name, old, "organization_id"))
    return found


def _kept_shorter(days: int) -> list[tuple[list[str], int]]:
    """Return organizations whose contents go before the installation's days are over, and their own days; 0: at once.

    Their ids are written out: the database knows then how few rows these are.
    """
    found: dict[int, list[str]] = {}
    policies = GatewayPolicy.objects.exclude(is_private=False, content_days=None)
    for pk, is_private, own_days in policies.values_list("pk", "is_private", "content_days"):
        if is_private or not days or (own_days or 0) < days:
            found.setdefault(0 if is_private else own_days or 0, []).append(pk)
    return [(sorted(ids), own_days) for own_days, ids in sorted(found.items())]
