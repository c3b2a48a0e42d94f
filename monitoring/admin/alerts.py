"""Alerts in the console: what is wrong now, the page of one with its parts and its timeline, and the buttons."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.db.models import Case, IntegerField, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter

from monitoring.admin import alert_pieces
from monitoring.alerts import handling, silences
from monitoring.models import RANKS, Alert
from moolai.errors import AppError
from orgs.admin.base import DrawnAdmin, ago, user

RANK = Case(*(When(severity=word, then=rank) for word, rank in RANKS.items()), default=0, output_field=IntegerField())
SPANS = {"15": "15 minutes", "60": "1 hour", "240": "4 hours", "1440": "1 day", "10080": "1 week"}


class StateFilter(SimpleListFilter):
    """Open ones, unless others are asked for."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what may be chosen."""
        return [
            ("firing", "Firing: nobody took it"),
            ("acknowledged", "Acknowledged"),
            ("parts", "Open, and parts of incidents"),
            ("resolved", "Resolved"),
            ("all", "All"),
        ]

    def choices(self, changelist: Any) -> Any:
        """Call the default by its name."""
        first, *rest = super().choices(changelist)
        return [{**first, "display": "Open"}, *rest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the chosen one."""
        match self.value():
            case None:
                return queryset.exclude(status=Alert.Status.RESOLVED).filter(parent=None)
            case "parts":
                return queryset.exclude(status=Alert.Status.RESOLVED)
            case "firing" | "acknowledged":
                return queryset.filter(status=self.value(), parent=None)
            case "resolved":
                return queryset.filter(status=Alert.Status.RESOLVED)
        return queryset


@admin.register(Alert)
class AlertAdmin(DrawnAdmin):
    """What is wrong: the worst first, and of those the newest."""

    list_display = ["what", "level", "state", "who", "since", "told"]
    list_display_links = ["what"]
    list_filter = [
        StateFilter, ("severity", ChoicesCheckboxFilter), ("alert_type", FieldTextFilter),
        ("organization_id", FieldTextFilter), ("orchestrator_id", FieldTextFilter),
    ]  # fmt: skip
    list_before_template = "admin/monitoring/alert/live_bar.html"
    search_fields = ["=alert_id", "=organization_id", "=orchestrator_id"]
    search_help_text = "Search by alert id, organization id or orchestrator id, in full"
    ordering = ["-started_at", "-id"]
    actions = ["acknowledge_chosen"]
    change_form_outer_before_template = "admin/monitoring/alert/page.html"

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Alert", ordering="alert_type")
    def what(self, row: Alert) -> SafeString:
        """Show the title, and the detail below it."""
        detail = row.detail if len(row.detail) <= 90 else row.detail[:89] + "…"
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.title, detail)

    @display(description="Severity", ordering=RANK)
    def level(self, row: Alert) -> SafeString:
        """Show the badge."""
        return alert_pieces.severity(row.severity)

    @display(description="Status", ordering="status")
    def state(self, row: Alert) -> SafeString:
        """Show the badge."""
        return alert_pieces.status(row)

    @display(description="Of")
    def who(self, row: Alert) -> SafeString:
        """Show the subject, with the way to it."""
        return alert_pieces.subject(row)

    @display(description="Since", ordering="started_at")
    def since(self, row: Alert) -> SafeString:
        """Show the time."""
        return ago(row.started_at)

    @display(description="Told")
    def told(self, row: Alert) -> str:
        """Show whether the channels were told, or why not, and where to add one."""
        return alert_pieces.told(row)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        """Read the incident along; leave timelines where they are while listing."""
        found: QuerySet[Alert] = super().get_queryset(request).select_related("parent")
        is_list = request.path == reverse("admin:monitoring_alert_changelist")
        return alert_pieces.with_instance(found.defer("timeline", "parent__timeline") if is_list else found)

    def get_ordering(self, request: HttpRequest) -> Any:
        """Put the worst of the open ones on top; all there ever were stand by time, which an index knows."""
        is_open = request.GET.get("state") not in ("resolved", "all")
        return [RANK.desc(), *self.ordering] if is_open else self.ordering

    @admin.action(description="Acknowledge", permissions=["view"])
    def acknowledge_chosen(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        """Take the chosen alerts on; what is taken or over already stays as it is."""
        number = 0
        for row in chosen.filter(status=Alert.Status.FIRING).order_by("pk"):
            try:
                handling.acknowledge(row, acting_user=user(request))
            except AppError:  # somebody was quicker
                continue
            number += 1
        messages.success(
            request, f"{number} acknowledged: {'it is' if number == 1 else 'they are'} escalated no further."
        )

    def drawn(self, row: Alert) -> dict[str, Any]:
        """Show an alert with its parts, its timeline and its buttons."""
        return {"title": "Alert", "spans": SPANS, **alert_pieces.shown(row)}

    def get_urls(self) -> list[URLPattern]:
        """Add the piece that the page loads anew, and what its buttons call."""
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/panel/", wrap(self.panel_view), name="monitoring_alert_panel"),
            path("<int:pk>/handle/", wrap(self.handle_view), name="monitoring_alert_handle"),
        ]
        return [*own, *super().get_urls()]

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the alert as it is now."""
        shown = {**alert_pieces.shown(self._get(request, pk)), "spans": SPANS}
        return render(request, "admin/monitoring/alert/panel.html", shown)

    def handle_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Acknowledge, resolve, snooze it or silence its kind (POST `verdict`)."""
        row = self._get(request, pk)
        if request.method != "POST":
            return HttpResponse(status=405)
        verdict, reason = request.POST.get("verdict", ""), request.POST.get("reason", "").strip()[:500]
        if verdict not in DEEDS:
            return HttpResponse(status=400)
        deed, words = DEEDS[verdict]
        try:
            deed(row, request, reason)
        except AppError as problem:
            messages.error(request, " ".join([problem.detail, *problem.fields.values()]))
        else:
            messages.success(request, words)
        return HttpResponseRedirect(reverse("admin:monitoring_alert_change", args=[pk]))

    def _get(self, request: HttpRequest, pk: int) -> Alert:
        row = self.get_queryset(request).filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such alert.")
        return row


def _acknowledge(row: Alert, request: HttpRequest, reason: str) -> None:
    handling.acknowledge(row, acting_user=user(request), reason=reason)


def _resolve(row: Alert, request: HttpRequest, reason: str) -> None:
    handling.resolve(row, acting_user=user(request), reason=reason)


def _snooze(row: Alert, request: HttpRequest, reason: str) -> None:
    _cover(request, reason, kind="snooze", alert_id=row.alert_id, organization_id=row.organization_id)


def _silence(row: Alert, request: HttpRequest, reason: str) -> None:
    named = {"organization_id": row.organization_id, "orchestrator_id": row.orchestrator_id}
    _cover(request, reason, kind="silence", rule_key=row.alert_type, **named)


def _cover(request: HttpRequest, reason: str, **matchers: Any) -> None:
    span = request.POST.get("minutes", "60")
    until = timezone.now() + timedelta(minutes=int(span) if span in SPANS else 60)
    silences.create(ends_at=until, reason=reason, acting_user=user(request), **matchers)


DEEDS = {
    "acknowledge": (_acknowledge, "The alert is acknowledged: it is escalated no further."),
    "resolve": (_resolve, "The alert is resolved. It opens again when its cause is still there."),
    "snooze": (_snooze, "The alert is snoozed: nobody is told of it until then."),
    "silence": (_silence, "Alerts of this kind about this subject are silenced."),
}
