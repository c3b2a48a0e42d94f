"""Channels in the console: made, changed, tried and deleted here, with what they were told last."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter

from monitoring.admin.channel_forms import ChannelForm
from monitoring.alerts import channels
from monitoring.models import Channel, Delivery
from orgs.admin.base import ConsoleAdmin, ago, badge, exact, user

SHOWN_DELIVERIES = 15
_FAILING = badge("red", "✖", "Failing")
TONES = {"delivered": "green", "pending": "amber", "failed": "red", "expired": "red", "dropped": "gray"}


@admin.register(Channel)
class ChannelAdmin(ConsoleAdmin):
    """Where alerts are told."""

    form = ChannelForm
    list_display = ["name", "kind", "organization_", "min_severity", "state", "waiting", "last_ok"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("kind", ChoicesCheckboxFilter),
        ("min_severity", ChoicesCheckboxFilter), "is_enabled",
    ]  # fmt: skip
    list_select_related = ["organization"]
    search_fields = ["name", "channel_id", "organization__organization_id"]
    search_help_text = "Search by name, id or organization"
    ordering = ["organization", "name"]
    autocomplete_fields = ["organization"]
    change_form_template = "admin/monitoring/channel/change_form.html"

    # --- the form ---------------------------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask what the kind needs; the page of a new one shows what is chosen (CSS)."""
        if obj is None:
            receiver = ["url", "recipients", "sender", "username", "secret"]
            return [(None, {"fields": ["organization", "name", "min_severity", "is_enabled", "takes_approvals"]}),
                    ("Receiver", {"fields": ["kind", *receiver]})]  # fmt: skip
        order = ["url", "recipients", "sender", "username", "secret"]
        receiver = [name for name in order if name in channels.USED[obj.kind]]
        return [(None, {"fields": ["organization", "name", "min_severity", "is_enabled", "takes_approvals"]}),
                ("Receiver", {"fields": receiver})]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a channel in its organization: its secrets are sealed for it."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        """Make or change the channel by its room's functions."""
        who, wish = user(request), form.wish()
        if change:
            row, secret = channels.update(Channel.objects.get(pk=obj.pk), acting_user=who, **wish)
        else:
            row, secret = channels.create(
                form.cleaned_data["organization"], kind=form.cleaned_data["kind"], acting_user=who, **wish
            )
        obj.__dict__.update(row.__dict__)
        obj.secret_once = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Show a signing secret that was made, this one time; else go to the channel's page."""
        if obj.secret_once:
            return self._show_once(request, obj)
        messages.success(request, f"The channel {obj.name} is made. Send a test notification now.")
        return self._page_of(obj.pk)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Show a signing secret that was made, this one time."""
        if obj.secret_once:
            return self._show_once(request, obj)
        answer: HttpResponse = super().response_change(request, obj)
        return answer

    def delete_model(self, request: HttpRequest, obj: Channel) -> None:
        """Delete the channel by its room's function."""
        channels.delete(obj, acting_user=user(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes; what waits for a channel goes along."""
        rows = [str(obj) for obj in objs]
        return rows, {"channels": len(rows)}, set(), []

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the door of the test button."""
        view = self.admin_site.admin_view(self.test_view)
        return [path("<int:pk>/test/", view, name="monitoring_channel_test"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count what waits."""
        rows = super().get_queryset(request)
        counted: QuerySet[Any] = rows.annotate(pending=Count("deliveries", filter=Q(deliveries__status="pending")))
        return counted

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one channel with its state and what it was told last; what is entered is in no error report."""
        row = self.get_object(request, object_id) if object_id else None
        extra = dict(extra_context or {})
        if row is not None:
            extra |= {"state": self.state(row), "facts": _facts(row), "deliveries": _deliveries(row)}
        return sensitive_post_parameters()(super().changeform_view)(request, object_id, form_url, extra)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a test notification (POST) and say what became of it."""
        if request.method != "POST" or not self.has_change_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        row = Channel.objects.filter(pk=pk).first()
        if row is None:
            raise Http404("There is no such channel.")
        trial = channels.try_out(row, acting_user=user(request))
        if trial.is_delivered:
            messages.success(request, f"The test notification was delivered in {trial.duration_ms} ms.")
        else:
            messages.error(request, f"The test notification was not delivered: {trial.error}")
        return self._page_of(pk)

    def _show_once(self, request: HttpRequest, row: Channel) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": "Signing secret", "opts": self.opts, "channel": row, "secret": row.secret_once,  # type: ignore[attr-defined]
        }  # fmt: skip
        return TemplateResponse(request, "admin/monitoring/channel/secret.html", context)

    def _page_of(self, pk: int) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:monitoring_channel_change", args=[pk]))

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Organization", ordering="organization")
    def organization_(self, row: Channel) -> str:
        """Show whose alerts."""
        return row.organization_id or "all organizations"

    @display(description="State")
    def state(self, row: Channel) -> SafeString:
        """Show whether it works."""
        if not row.is_enabled:
            return badge("gray", "○", "Off")
        if row.is_parked(now=timezone.now()):
            return badge("amber", "◔", "Waiting")
        if row.is_failing:
            return format_html('<span class="mo-name">{}<small>{}</small></span>', _FAILING, row.last_error)
        return badge("green", "●", "Working") if row.last_ok_at else badge("blue", "◇", "Not used yet")

    @display(description="Waiting", ordering="pending")
    def waiting(self, row: Any) -> int:
        """Show how many notifications wait."""
        return int(row.pending)

    @display(description="Last delivered", ordering="last_ok_at")
    def last_ok(self, row: Channel) -> SafeString:
        """Show when it last took one."""
        return ago(row.last_ok_at)


def _facts(row: Channel) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [
        ("Kind", row.get_kind_display()),
        ("Alerts of", row.organization_id or "all organizations, and the controller"),
        ("Last delivered", ago(row.last_ok_at)),
    ]
    if row.last_error:
        found.append(("Last error", format_html("{} ({})", row.last_error, exact(row.last_error_at))))
    if row.is_parked(now=timezone.now()):
        found.append(("Tried again", exact(row.parked_until)))
    return [*found, ("Id", format_html("<code>{}</code>", row.channel_id))]


def _deliveries(row: Channel) -> list[dict[str, Any]]:
    rows = Delivery.objects.filter(channel=row).order_by("-pk")[:SHOWN_DELIVERIES]
    return [
        {
            "row": one,
            "title": one.notice.get("title", one.dedup_key),
            "badge": badge(TONES[one.status], "●", one.status),
            "when": ago(one.finished_at or one.created_at),
        }
        for one in rows
    ]
