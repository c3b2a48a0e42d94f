"""Silences in the console: what nobody is told of, until when, and why."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from monitoring.admin.silence_form import SilenceForm, span
from monitoring.alerts import silences
from monitoring.models import Alert, Silence
from moolai.errors import AppError
from orchestrators import labels
from orgs.admin.base import LongListAdmin, ago, badge, exact, until, user


class HoldsFilter(SimpleListFilter):
    """Those that hold, unless others are asked for."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what may be chosen."""
        return [("over", "Over"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        """Call the default by its name."""
        first, *rest = super().choices(changelist)
        return [{**first, "display": "Holding, or to come"}, *rest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the chosen one."""
        now = timezone.now()
        if self.value() == "all":
            return queryset
        return queryset.filter(ends_at__lte=now) if self.value() == "over" else queryset.filter(ends_at__gt=now)


@admin.register(Silence)
class SilenceAdmin(LongListAdmin):
    """Spans of time in which nobody is told of some alerts; the alerts are shown all the same."""

    may_add = True
    form = SilenceForm
    list_display = ["what", "state", "starts", "until_", "reason", "created_by", "end_"]
    list_display_links = ["what"]
    list_filter = [HoldsFilter]
    search_fields = ["=organization_id", "=orchestrator_id", "=rule_key", "created_by"]
    search_help_text = "Search by organization id, orchestrator id, rule or who made it"
    ordering = ["-starts_at", "-id"]
    fields = [
        "kind", "starts_at", "minutes", "organization_id", "orchestrator_id", "named_labels", "rule_key", "severity",
        "everything", "reason",
    ]  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask what is silenced; of a silence that is there, show what it came to."""
        return ["what", "state", "starts", "ends", "reason", "created_by"] if obj else self.fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Silence]:
        """Read along what the alert is called that a row names."""
        title = Alert.objects.filter(alert_id=OuterRef("alert_id")).values("title")[:1]
        found: QuerySet[Silence] = super().get_queryset(request).annotate(alert_title=Subquery(title))
        return found

    @display(description="From")
    def starts(self, row: Silence) -> str:
        """Show when it began."""
        return exact(row.starts_at)

    @display(description="Until")
    def ends(self, row: Silence) -> str:
        """Show when it ends."""
        return exact(row.ends_at)

    @display(description="Silenced")
    def what(self, row: Silence) -> SafeString:
        """Show what it covers."""
        named = [f"{name.removesuffix('_id').replace('_', ' ')} {getattr(row, name)}" for name in silences.MATCHERS
                 if name not in ("labels", "alert_id") and getattr(row, name)]  # fmt: skip
        if row.alert_id:
            named.insert(0, f"alert “{getattr(row, 'alert_title', None) or row.alert_id}”")
        named += [labels.text(row.labels)] if row.labels else []
        text = ", ".join(named) or "everything"
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', text, row.kind)

    @display(description="State")
    def state(self, row: Silence) -> SafeString:
        """Show whether it holds."""
        now = timezone.now()
        if row.is_active(now=now):
            return badge("amber", "●", "Holds")
        return badge("gray", "○", "Over") if row.ends_at <= now else badge("blue", "◌", "To come")

    @display(description="Until")
    def until_(self, row: Silence) -> SafeString:
        """Show when it ends or ended, and how far off that is."""
        now = timezone.now()
        off = ago(row.ends_at) if row.ends_at <= now else until(row.ends_at, now=now)
        return format_html('<span class="mo-name">{}<small>{}</small></span>', exact(row.ends_at), off)

    @display(description="")
    def end_(self, row: Silence) -> SafeString:
        """Offer to end it."""
        if row.ends_at <= timezone.now():
            return SafeString("")
        url = reverse("admin:monitoring_silence_end", args=[row.pk])
        return format_html(
            '<button class="mo-button mo-button-quiet" type="submit" form="end" formaction="{}">End</button>', url
        )

    list_after_template = "admin/monitoring/silence/end.html"

    def get_urls(self) -> list[URLPattern]:
        """Add what the button calls."""
        own = path("<int:pk>/end/", self.admin_site.admin_view(self.end_view), name="monitoring_silence_end")
        return [own, *super().get_urls()]

    def end_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End one (POST)."""
        row = Silence.objects.filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such silence.")
        if request.method != "POST":
            return HttpResponse(status=405)
        try:
            silences.end(row, acting_user=user(request))
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            messages.success(request, "The silence is over; what still fires is announced.")
        alert = request.POST.get("alert", "")  # the page whose button it was
        if alert.isdecimal() and Alert.objects.filter(pk=int(alert[:18])).exists():
            return HttpResponseRedirect(reverse("admin:monitoring_alert_change", args=[int(alert[:18])]))
        return HttpResponseRedirect(reverse("admin:monitoring_silence_changelist"))

    def save_model(self, request: HttpRequest, obj: Silence, form: Any, change: bool) -> None:
        """Make it by the room's own function."""
        wish = form.cleaned_data
        names = ("organization_id", "orchestrator_id", "rule_key", "severity", "reason")
        starts_at, ends_at = span(wish)
        row = silences.create(
            kind=wish["kind"], starts_at=starts_at, ends_at=ends_at, acting_user=user(request),
            labels=wish["named_labels"], everything=wish["everything"], **{name: wish[name] for name in names},
        )  # fmt: skip
        obj.__dict__.update(row.__dict__)
