"""Recommendations in the console: what orchestrators suggest, what it would change, and the two buttons."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from moolai.errors import AppError
from orchestrators import recommendations
from orchestrators.admin import config_badges
from orchestrators.models import ConfigVersion, Instance, OverrideVersion, Recommendation
from orgs.admin.base import LongListAdmin, ago, exact, user
from orgs.admin.trail import pretty

TONES = {"new": "amber", "read": "blue", "accepted": "green", "dismissed": "gray"}


class StateFilter(SimpleListFilter):
    """New, read, accepted or dismissed."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [(state, state.capitalize()) for state in recommendations.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the chosen one."""
        if self.value() == "new":
            return queryset.filter(review__isnull=True)
        return queryset.filter(review__status=self.value()) if self.value() else queryset


@admin.register(Recommendation)
class RecommendationAdmin(LongListAdmin):
    """What orchestrators suggest."""

    list_display = ["when", "text", "orchestrator_id", "organization", "suggests", "state_"]
    list_filter = [StateFilter]
    search_fields = ["message_id", "orchestrator__orchestrator_id", "orchestrator__organization__organization_id"]
    ordering = ["-id"]
    change_form_outer_before_template = "admin/orchestrators/recommendation/head.html"
    fields = ["message_id", "received", "content"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recommendation]:
        """Read the reviews along; a list reads no configuration."""
        is_list = request.path == reverse("admin:orchestrators_recommendation_changelist")
        return recommendations.listed() if is_list else recommendations.rows()

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show it with what it would change; looking at it reads it."""
        row = self.get_object(request, object_id) if object_id and self.has_view_permission(request) else None
        if isinstance(row, Recommendation):
            row = recommendations.read(row, acting_user=user(request))
        extra = {**_page(row), "title": f"{row.orchestrator.orchestrator_id}: {summary(row)}"} if row else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Add the buttons' door."""
        view = self.admin_site.admin_view(self.decide_view)
        own = path("<int:pk>/<slug:verdict>/decide/", view, name="orchestrators_recommendation_decide")
        return [own, *super().get_urls()]

    def decide_view(self, request: HttpRequest, pk: int, verdict: str) -> HttpResponse:
        """Accept or dismiss (POST)."""
        row = recommendations.rows().filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None or verdict not in ("accept", "dismiss"):
            raise Http404
        if request.method != "POST":
            return HttpResponse(status=405)
        reason, target = request.POST.get("reason", "")[:500], request.POST.get("target", "")
        target = target if target in recommendations.TARGETS else recommendations.default_target(row)
        try:
            if verdict == "dismiss":
                recommendations.dismiss(row, acting_user=user(request), reason=reason)
            elif row.suggestion and target == "organization" and "confirmed" not in request.POST:
                return self._ask(request, row, reason)
            else:
                recommendations.accept(row, acting_user=user(request), target=target, reason=reason)
        except AppError as problem:
            told = [f"{path}: {words}" for path, words in problem.fields.items()]
            messages.error(request, " ".join([problem.detail, *told]))
        else:
            messages.success(request, f"The recommendation is {verdict}ed.")
        return HttpResponseRedirect(reverse("admin:orchestrators_recommendation_change", args=[pk]))

    def _ask(self, request: HttpRequest, row: Recommendation, reason: str) -> HttpResponse:
        """Ask before a whole organization is changed."""
        organization = row.orchestrator.organization
        context = {
            **self.admin_site.each_context(request),
            "title": f"Change the configuration of {organization.pk}?",
            "recommendation": row,
            "organization": organization,
            "count": Instance.objects.present().filter(organization=organization).count(),
            "changes": _changes(recommendations.preview(row, target="organization")),
            "problems": recommendations.problems(row, target="organization"),
            "reason": reason,
        }
        return render(request, "admin/orchestrators/recommendation/confirm.html", context)

    @display(description="Received", ordering="id")
    def when(self, row: Recommendation) -> SafeString:
        """Show the time."""
        return ago(row.created_at)

    @display(description="Received")
    def received(self, row: Recommendation) -> str:
        """Show the time."""
        return exact(row.created_at)

    @display(description="Recommendation")
    def text(self, row: Recommendation) -> str:
        """Show what it says, shortened."""
        return summary(row)

    @display(description="Organization", ordering="orchestrator__organization_id")
    def organization(self, row: Recommendation) -> str:
        """Show whose orchestrator it is."""
        return row.orchestrator.organization_id

    @display(description="Suggests")
    def suggests(self, row: Recommendation) -> str:
        """Show which parts of the configuration it would change."""
        return ", ".join(sorted(row.suggestion or {})) or "–"

    @display(description="State")
    def state_(self, row: Recommendation) -> SafeString:
        """Show the badge."""
        return badge(row)

    @display(description="Content")
    def content(self, row: Recommendation) -> SafeString:
        """Show everything it sent."""
        return pretty(row.message_content)


def badge(row: Recommendation) -> SafeString:
    """Show the state."""
    return format_html('<span class="mo-badge mo-badge-{}">{}</span>', TONES[row.state], row.state)


def summary(row: Recommendation) -> str:
    """Return the first text of the content, at most 100 characters."""
    content = row.message_content if isinstance(row.message_content, dict) else {"text": row.message_content}
    named = [content.get(name) for name in ("title", "text", "message", "summary", "description")]
    text = next((value for value in [*named, *content.values()] if isinstance(value, str) and value), "(no text)")
    return text if len(text) <= 100 else text[:97] + "…"


def _page(row: Recommendation) -> dict[str, Any]:
    is_open = row.state in ("new", "read")
    chosen = recommendations.default_target(row)
    names = {"orchestrator": row.orchestrator.orchestrator_id, "organization": row.orchestrator.organization_id}
    wrong = {target: recommendations.problems(row, target=target) for target in names} if is_open else {}
    targets = [name for name in recommendations.TARGETS if chosen in (name, "orchestrator")]
    usable = [name for name in targets if not wrong.get(name)]
    chosen = chosen if chosen in usable else next(iter(usable), chosen)
    made = recommendations.made(row)
    return {
        "recommendation": row,
        "summary": summary(row),
        "badge": badge(row),
        "is_open": is_open,
        "review": getattr(row, "review", None),
        "changes": _changes(made.changes if made else recommendations.preview(row, target=chosen) if is_open else []),
        "made": made,
        "made_url": _address(made) if made else "",
        "is_usable": bool(usable),
        "targets": [
            {
                "value": name,
                "text": f"{name} {names[name]}",
                "is_chosen": name == chosen,
                "problems": wrong.get(name, []),
            }
            for name in targets
        ],
    }


def _changes(rows: list[Any]) -> list[dict[str, str]]:
    return [config_badges.change(row) for row in rows]


def _address(made: ConfigVersion | OverrideVersion) -> str:
    return reverse(f"admin:orchestrators_{made._meta.model_name}_change", args=[made.pk])
