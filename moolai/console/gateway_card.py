"""The front page's strip of the gateway: calls of today, what they cost, and how many failed."""

from datetime import UTC
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from llm_gateway.admin import words
from llm_gateway.models import Spending
from orgs.admin.base import is_superadmin


def context() -> dict[str, Any]:
    """Return `gateway`: the calls of today (UTC), their cost and the share that failed; one query."""
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sums = {"billed": Sum("requests"), "failed": Sum("failed"), "cost": Sum("cost_usd_micros")}
    found = {
        name: number or 0 for name, number in Spending.objects.filter(hour_at__gte=today).aggregate(**sums).items()
    }
    calls = found["billed"] + found["failed"]
    return {
        "gateway": {
            "calls": words.count(calls),
            "cost": words.usd(found["cost"]),
            "failed": words.share(found["failed"], calls),
            "is_idle": not calls,
        }
    }


def view(request: HttpRequest) -> HttpResponse:
    """Answer the strip as a piece of a page."""
    if not is_superadmin(request):
        raise PermissionDenied
    return render(request, "console/gateway_card.html", context())
