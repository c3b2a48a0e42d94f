"""Messages in the console: the list of both directions, the page of one with its timeline, compose, retry, cancel."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib import messages as notes
from django.contrib.admin import display
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesCheckboxFilter,
    FieldTextFilter,
)

from moolai.errors import AppError
from orchestrators import messages
from orchestrators.admin import badges, timeline
from orchestrators.admin.message_forms import ComposeForm
from orchestrators.messages import outbox
from orchestrators.models import Message
from orgs.admin.audit_filters import TimeFilter
from orgs.admin.base import LongListAdmin, ago, user

# What a button asks for → the status it leads to, the reason it leaves, and what it says when it is done.
VERDICTS = {
    "retry": (Message.Status.PENDING, "", "is queued anew"),
    "cancel": (Message.Status.FAILED, "cancelled in the console", "is cancelled"),
}


@admin.register(Message)
class MessageAdmin(LongListAdmin):
    """Messages both ways. A new one is composed here; what was queued is never edited."""

    may_add = True
    add_title = "Send a message"
    form = ComposeForm
    list_display = ["kind", "state", "way", "orchestrator_", "tries", "when", "reason"]
    list_display_links = ["kind"]
    list_filter = [
        ("status", ChoicesCheckboxFilter), ("direction", ChoicesCheckboxFilter),
        ("orchestrator", AutocompleteSelectFilter), ("orchestrator__organization", AutocompleteSelectFilter),
        ("message_type", FieldTextFilter), ("created_at", TimeFilter),
    ]  # fmt: skip
    list_select_related = ["orchestrator"]
    list_before_template = "admin/orchestrators/message/live_bar.html"
    search_fields = ["=message_id", "=orchestrator__orchestrator_id"]
    search_help_text = "Search by message id or orchestrator id, in full"
    ordering = ["-id"]
    autocomplete_fields = ["orchestrator"]
    change_form_template = "admin/orchestrators/message/change_form.html"
    add_fieldsets = [(None, {"fields": ["orchestrator", "message_type", "message_content", "expires_in_seconds"]})]

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Type", ordering="id")
    def kind(self, row: Message) -> SafeString:
        """Show the type, and the id below it."""
        return format_html(
            '<span class="mo-name"><b>{}</b><small>{}</small></span>', row.message_type, row.message_id[:32]
        )

    @display(description="Status")
    def state(self, row: Message) -> SafeString:
        """Show the badge, kept live."""
        return badges.message(row)

    @display(description="Way")
    def way(self, row: Message) -> str:
        """Show the direction."""
        return timeline.way(row)

    @display(description="Orchestrator")
    def orchestrator_(self, row: Message) -> SafeString:
        """Show the orchestrator, with the way to it."""
        return timeline.orchestrator_link(row)

    @display(description="Attempts")
    def tries(self, row: Message) -> SafeString:
        """Show how often it was sent, kept live."""
        return badges.attempts(row)

    @display(description="Created")
    def when(self, row: Message) -> SafeString:
        """Show the time."""
        return ago(row.created_at)

    @display(description="Reason")
    def reason(self, row: Message) -> str:
        """Show why it was given up, short."""
        return row.error if len(row.error) <= 60 else row.error[:59] + "…"

    # --- reading and composing --------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Leave contents where they are while listing."""
        found: QuerySet[Message] = super().get_queryset(request)
        is_list = request.path == reverse("admin:orchestrators_message_changelist")
        return found.defer("message_content", "result") if is_list else found

    def get_fieldsets(self, request: HttpRequest, obj: Message | None = None) -> Any:
        """Offer the form for a new message; the page of an existing one is drawn by its panels."""
        return self.add_fieldsets if obj is None else []

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list with its mark: the newest message this page knows."""
        newest = Message.objects.order_by("-id").values_list("id", flat=True).first()
        return super().changelist_view(request, {"message_mark": newest or 0, **(extra_context or {})})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the page with its timeline."""
        extra = dict(extra_context or {})
        row = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        if row is not None:
            extra |= timeline.everything(row) | {"title": f"Message {row.message_id}"}
        return super().changeform_view(request, object_id, form_url, extra)

    def save_model(self, request: HttpRequest, obj: Message, form: Any, change: bool) -> None:
        """Queue it by the room's own function: audited, and sent when the orchestrator is connected."""
        wish = form.cleaned_data
        row = messages.queue(
            wish["orchestrator"].orchestrator_id,
            message_type=wish["message_type"].strip(),
            content=wish["message_content"],
            acting_user=user(request),
            expires_in_seconds=wish["expires_in_seconds"],
        )
        obj.__dict__.update(row.__dict__)

    def response_add(self, request: HttpRequest, obj: Message, post_url_continue: str | None = None) -> HttpResponse:
        """Go on to the message's page, which follows it."""
        notes.success(request, f"{obj.message_type} is queued for {obj.orchestrator_id}.")
        return HttpResponseRedirect(reverse("admin:orchestrators_message_change", args=[quote(obj.pk)]))

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the panels, and what the buttons call."""
        wrap: Callable[..., Any] = self.admin_site.admin_view
        own = [
            path("<int:pk>/panel/", wrap(self.panel_view), name="orchestrators_message_panel"),
            path("<int:pk>/verdict/", wrap(self.verdict_view), name="orchestrators_message_verdict"),
        ]
        return [*own, *super().get_urls()]

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the timeline as it is now."""
        return render(request, "admin/orchestrators/message/panels.html", timeline.everything(self._get(request, pk)))

    def verdict_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue it anew or give it up (POST `verdict=retry|cancel`), along the state machine."""
        row = self._get(request, pk)
        verdict = VERDICTS.get(request.POST.get("verdict", "")) if request.method == "POST" else None
        if verdict is None:
            return HttpResponse(status=405 if request.method != "POST" else 400)
        status, error, words = verdict
        try:
            outbox.set_status(row, status, acting_user=user(request), error=error)
        except AppError as problem:
            notes.error(request, problem.detail)
        else:
            notes.success(request, f"{row.message_type} {words}.")
        return HttpResponseRedirect(reverse("admin:orchestrators_message_change", args=[pk]))

    def _get(self, request: HttpRequest, pk: int) -> Message:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = Message.objects.select_related("orchestrator", "created_by").filter(pk=pk).first()
        if row is None:
            raise Http404("There is no such message.")
        return row
