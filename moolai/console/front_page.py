"""The console's front page: the fleet at a glance."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Case, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from monitoring.dashboard import topics
from moolai.console import alert_strip, gateway_card
from orchestrators.admin import badges, organizations
from orchestrators.models import Instance
from orgs.admin import trail
from orgs.admin.base import is_superadmin
from orgs.models import Organization

SHOWN_ORCHESTRATORS = 50
RECENT_EVENTS = 8
EVERYTHING = topics.Scope(None)
URGENCY = [Instance.Status.ERROR, Instance.Status.DEGRADED, Instance.Status.INACTIVE]
TROUBLE_FIRST = Case(*(When(status=word, then=rank) for rank, word in enumerate(URGENCY)), default=len(URGENCY))


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the front page shows; only superadmins see it."""
    if not is_superadmin(request):
        raise PermissionDenied
    mark = trail.mark()
    [fleet] = topics.fleet(EVERYTHING)
    return context | {
        "title": "Dashboard",
        "event_mark": mark,
        "organizations": Organization.objects.count(),
        "fleet": fleet,
        "cards": _cards(fleet),
        "events": trail.recent(limit=RECENT_EVENTS),
        "list_url": reverse("admin:orchestrators_instance_changelist"),
        **alert_strip.context(),
        **gateway_card.context(),
        **_table(fleet["total"]),
    }


def _cards(fleet: dict[str, Any]) -> list[dict[str, Any]]:
    url = reverse("admin:orchestrators_instance_changelist")
    counts = fleet["by_status"]
    errors = counts["error"] + counts["degraded"]
    shown = [
        ("active", counts["active"], "?status__exact=active"),
        ("independent", counts["independent"], "?status__exact=independent"),
        ("inactive", counts["inactive"], "?status__exact=inactive"),
        ("error", errors, "?status__exact=error&status__exact=degraded"),
    ]
    return [
        {"name": name, "count": count, "url": url + query, "badge": badges.STATUS[name]} for name, count, query in shown
    ]


def _table(total: int) -> dict[str, Any]:
    rows = Instance.objects.present().slim().order_by(TROUBLE_FIRST, "orchestrator_id")
    return {"table": organizations.fleet_rows(rows[:SHOWN_ORCHESTRATORS]), "table_total": total}


def table(request: HttpRequest) -> HttpResponse:
    """Answer the table of orchestrators as a piece of a page."""
    if not is_superadmin(request):
        raise PermissionDenied
    total = Instance.objects.present().count()
    return render(request, "console/fleet_table.html", _table(total))
