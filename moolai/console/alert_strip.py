"""The front page's strip of open alerts: how many of each severity, and the way to them."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from monitoring.admin import alert_pieces
from monitoring.models import RANKS, Alert
from orgs.admin.base import is_superadmin


def context() -> dict[str, Any]:
    """Return `open_alerts`: severity's badge, count and address, worst first; incidents count without their parts."""
    rows = Alert.objects.unresolved().filter(parent__isnull=True).order_by()
    found = dict(rows.values_list("severity").annotate(number=Count("pk")))
    url = reverse("admin:monitoring_alert_changelist")
    return {
        "open_alerts": [
            {"badge": alert_pieces.severity(word), "count": found[word], "url": f"{url}?severity__exact={word}"}
            for word in sorted(found, key=lambda word: -RANKS[word])
        ]
    }


def view(request: HttpRequest) -> HttpResponse:
    """Answer the strip as a piece of a page."""
    if not is_superadmin(request):
        raise PermissionDenied
    return render(request, "console/open_alerts.html", context())
