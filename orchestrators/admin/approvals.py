"""The inbox of approvals: what waits for a person, decided there one by one or together, and what was decided."""

from collections.abc import Callable
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Left
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.views import ChangeList

from moolai.errors import AppError
from orchestrators.admin import task_pieces, task_words
from orchestrators.models import Approval
from orchestrators.work import approvals
from orgs import authentication, keys
from orgs.admin.base import DrawnAdmin, ago, user
from orgs.models import User

PEEK: Final = 600  # characters of a payload in the list
AT_ONCE: Final = 200
INBOX: Final = ["what", "level", "why", "asked", "decide"]
HISTORY: Final = ["what", "level", "state", "by", "decided", "because"]


class StateFilter(SimpleListFilter):
    """What waits, unless what was decided is asked for."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what may be chosen."""
        return [("history", "Decided"), *((word, task_words.APPROVAL[word][2]) for word in Approval.Status.values[1:])]

    def choices(self, changelist: Any) -> Any:
        """Call the default by its name."""
        first, *rest = super().choices(changelist)
        return [{**first, "display": "Waiting"}, *rest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        """Apply the chosen one."""
        if not self.value():
            return queryset.filter(status=Approval.Status.PENDING)
        if self.value() == "history":
            return queryset.filter(decided_at__isnull=False)
        return queryset.filter(status=self.value())


class ApprovalList(ChangeList):  # type: ignore[misc]
    """The list; each row knows whether the person who looks may approve it."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        for row in self.result_list:
            row.own = task_pieces.OWN if task_pieces.is_own(row.task, user(request)) else ""


@admin.register(Approval)
class ApprovalAdmin(DrawnAdmin):
    """Approvals: what waits, the most urgent first; or what was decided, newest first."""

    list_display = INBOX
    list_display_links = None
    list_per_page = 25
    list_filter = [StateFilter, ("task__organization", AutocompleteSelectFilter)]
    list_before_template = "admin/orchestrators/approval/live_bar.html"
    search_fields = ["=approval_id", "=task__task_id"]
    search_help_text = "Search by approval id or task id, in full"
    ordering = ["-task__priority", "id"]
    actions = ["approve_chosen", "reject_chosen"]

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Task")
    def what(self, row: Any) -> SafeString:
        """Show the type with the way to its page, whose it is, and how its payload begins."""
        peek, creator = getattr(row, "peek", ""), keys.named(row.task.created_by)
        more = "…" if len(peek) > PEEK else ""
        return format_html(
            '<span class="mo-name tk-what"><a class="mo-link" href="{}"><b>{}</b></a><small>{} · by {}</small>'
            "<details><summary>Payload</summary><pre>{}{}</pre></details></span>",
            task_pieces.page(row.task_id), row.task.task_type, row.task.organization_id, creator,
            peek[:PEEK], more,
        )  # fmt: skip

    @display(description="Priority")
    def level(self, row: Approval) -> SafeString:
        """Show the badge."""
        return task_words.level(row.task)

    @display(description="Why")
    def why(self, row: Approval) -> str:
        """Show why it waits."""
        return row.reason

    @display(description="Asked")
    def asked(self, row: Approval) -> SafeString:
        """Show since when, and until when."""
        return format_html('<span class="mo-name">{}<small>{}</small></span>', ago(row.created_at), _until(row))

    @display(description="Decide")
    def decide(self, row: Any) -> SafeString:
        """Offer both verdicts with a reason; the form itself stands before the list."""
        return render_to_string("admin/orchestrators/approval/decide.html", {"row": row})

    @display(description="Decision")
    def state(self, row: Approval) -> SafeString:
        """Show the badge."""
        return task_words.decision(row)

    @display(description="By")
    def by(self, row: Approval) -> str:
        """Show who decided."""
        return keys.named(row.decided_by) or "nobody"

    @display(description="When")
    def decided(self, row: Approval) -> SafeString:
        """Show when it was decided."""
        return ago(row.decided_at) if row.decided_at else SafeString("–")

    @display(description="Reason")
    def because(self, row: Approval) -> str:
        """Show why it was decided so."""
        return row.decision_reason or "–"

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_list_display(self, request: HttpRequest) -> list[str]:
        """Show what is known of decided ones; of the others what helps to decide."""
        return HISTORY if request.GET.get("state") else INBOX

    def get_ordering(self, request: HttpRequest) -> Any:
        """Put the newest decision on top."""
        return ["-decided_at", "-id"] if request.GET.get("state") else self.ordering

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer verdicts on what waits."""
        return {} if request.GET.get("state") else super().get_actions(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know who may approve."""
        return ApprovalList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        """Read the task along, and of its payload only how it begins."""
        found: QuerySet[Approval] = super().get_queryset(request)
        light = found.select_related("task__organization").defer("task__payload", "task__metadata", "task__result")
        return light.annotate(peek=Left(Cast("task__payload", TextField()), PEEK + 1))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the inbox, or the history."""
        state = request.GET.get("state")
        extra = {"title": "Decided approvals" if state else "Approvals", "is_history": bool(state)}
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Lead to the task, where everything about it stands."""
        if object_id.isascii() and object_id.isdigit():
            return HttpResponseRedirect(task_pieces.page(self._get(request, int(object_id)).task_id))
        raise Http404("There is no such approval.")

    @admin.action(description="Approve…", permissions=["view"])
    def approve_chosen(self, request: HttpRequest, chosen: QuerySet[Approval]) -> HttpResponse:
        """Approve the chosen ones."""
        return self._together(request, chosen, "approve")

    @admin.action(description="Reject…", permissions=["view"])
    def reject_chosen(self, request: HttpRequest, chosen: QuerySet[Approval]) -> HttpResponse:
        """Reject the chosen ones."""
        return self._together(request, chosen, "reject")

    def _together(self, request: HttpRequest, chosen: QuerySet[Approval], verdict: str) -> HttpResponse:
        """Ask for the reason; then decide one by one, and tell how many were not and why."""
        rows = list(chosen.filter(status=Approval.Status.PENDING).order_by("pk")[:AT_ONCE])
        if "apply" in request.POST:
            _decide_all(request, rows, verdict)
            return HttpResponseRedirect(reverse("admin:orchestrators_approval_changelist"))
        context = self.admin_site.each_context(request) | {
            "title": f"{verdict.capitalize()} {len(rows)} task{'s' * (len(rows) != 1)}",
            "verdict": verdict,
            "opts": self.opts,
            "rows": [(row, task_words.level(row.task), keys.named(row.task.created_by)) for row in rows[:20]],
            "count": len(rows),
            "action": f"{verdict}_chosen",
            "chosen": [row.pk for row in rows],
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return render(request, "admin/orchestrators/approval/together.html", context)

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add what the buttons call."""
        wrap = self.admin_site.admin_view
        return [
            path("badge/", wrap(self.badge_view), name="orchestrators_approval_badge"),
            path("<int:pk>/decide/", wrap(self.decide_view), name="orchestrators_approval_decide"),
            *super().get_urls(),
        ]

    def badge_view(self, request: HttpRequest) -> HttpResponse:
        """Answer how many wait, for the sidebar of a page that is open."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        badge = {"waiting_badge": task_pieces.badge_words()}
        return render(request, "admin/orchestrators/task/badge.html", badge)

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve or reject (POST `verdict=approve|reject`, `reason`, `back=inbox`)."""
        row = self._get(request, pk)
        verdict = request.POST.get("verdict", "")
        if request.method != "POST" or verdict not in VERDICTS:
            return HttpResponse(status=405 if request.method != "POST" else 400)
        deed, words = VERDICTS[verdict]
        try:
            deed(row, user(request), _reason(request))
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            messages.success(request, words.format(row.task.task_type))
        is_inbox = request.POST.get("back") == "inbox"
        inbox = reverse("admin:orchestrators_approval_changelist")
        return HttpResponseRedirect(inbox if is_inbox else task_pieces.page(row.task_id))

    def _get(self, request: HttpRequest, pk: int) -> Approval:
        rows = Approval.objects.select_related("task")
        row = rows.filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such approval.")
        return row


def _approve(row: Approval, who: User, reason: str) -> None:
    approvals.approve(row, acting_user=who, caller_id=authentication.caller_id(who), reason=reason)


def _reject(row: Approval, who: User, reason: str) -> None:
    approvals.reject(row, acting_user=who, reason=reason)


VERDICTS: Final[dict[str, tuple[Callable[[Approval, User, str], None], str]]] = {
    "approve": (_approve, "The task {} is approved."),
    "reject": (_reject, "The task {} is rejected, and cancelled by that."),
}


def _decide_all(request: HttpRequest, rows: list[Approval], verdict: str) -> None:
    refused: list[str] = []
    for row in rows:
        try:
            VERDICTS[verdict][0](row, user(request), _reason(request))
        except AppError as problem:  # somebody was quicker, or it is their own
            refused.append(problem.detail)
    done = len(rows) - len(refused)
    if done:
        messages.success(request, f"{done} {'approved' if verdict == 'approve' else 'rejected'}.")
    for words in sorted(set(refused)):
        messages.error(request, f"{refused.count(words)} not decided: {words}")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:500]


def _until(row: Approval) -> str:
    return f"until {row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at else "without an end"
