"""Retention of the gateway's rows: calls with their attempts, contents, hours of spending, old windows, cursors."""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q

from llm_gateway.models import BudgetWindow, Call, CallContent, GatewayPolicy, JournalCursor, Spending
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
    if days := settings.LLM_SPENDING_RETENTION_DAYS:
        found.append(Rule("llm_spending", Spending.objects.filter(hour_at__lt=now - timedelta(days=days)), "hour_at"))
    return [*found, Rule("llm_contents", CallContent.objects.filter(_unkept(now)), "kept_at")]


def _unkept(now: datetime) -> Q:
    """Return which contents are not kept any longer: by the installation's days, an organization's own, or private."""
    private = GatewayPolicy.objects.filter(is_private=True).values("pk")
    found = Q(organization_id__in=private)
    if days := settings.LLM_CONTENT_RETENTION_DAYS:
        found |= Q(kept_at__lt=now - timedelta(days=days))
    for own_days in GatewayPolicy.objects.exclude(content_days=None).values_list("content_days", flat=True).distinct():
        own = GatewayPolicy.objects.filter(content_days=own_days).values("pk")
        found |= Q(organization_id__in=own, kept_at__lt=now - timedelta(days=own_days or 0))
    return found
