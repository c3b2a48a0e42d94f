"""Rollouts in the console: the list, and the live page of one with its stages, its failures and its buttons."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.views import ChangeList

from moolai.errors import AppError
from orchestrators.admin import config_badges, rollout_facts
from orchestrators.configuration import progress, rollouts, sequels, stages
from orchestrators.configuration.progress import Progress
from orchestrators.models import Instance, Rollout
from orgs.admin.base import DrawnAdmin, ago, user

SHOWN = 20
VERDICTS = {
    "pause": (rollouts.pause, "is paused: nobody else gets the version."),
    "resume": (rollouts.resume, "goes on."),
    "cancel": (rollouts.cancel, "is cancelled."),
}


class Counted(ChangeList):  # type: ignore[misc]
    """A page of rollouts with the counts of all of them, and what superseded them, read at once."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, then its counts."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)  # type: ignore[has-type]
        found, newer = progress.of_many(rows), sequels.superseding(rows)
        for row in rows:
            row.counts, row.newer = found[row.pk], newer.get(row.pk)
        self.result_list = rows


@admin.register(Rollout)
class RolloutAdmin(DrawnAdmin):
    """How versions reach fleets."""

    list_display = ["name", "organization_", "state", "progress", "stage_", "by", "when"]
    list_display_links = ["name"]
    list_filter = [("organization", AutocompleteSelectFilter), ("status", ChoicesCheckboxFilter), "is_staged"]
    list_select_related = ["target"]
    list_before_template = "admin/orchestrators/rollout/live_bar.html"
    search_fields = ["=organization__organization_id", "started_by"]
    search_help_text = "Search by organization id in full, or by who began it"
    ordering = ["-id"]
    change_form_outer_before_template = "admin/orchestrators/rollout/page.html"

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Rollout", ordering="id")
    def name(self, row: Rollout) -> SafeString:
        """Show the number, and the version it brings."""
        version = f"version {row.version}"
        return format_html('<span class="mo-name"><b>Rollout {}</b><small>{}</small></span>', row.pk, version)

    @display(description="Organization")
    def organization_(self, row: Rollout) -> SafeString:
        """Show whose fleet."""
        return config_badges.organization(row)

    @display(description="Status", ordering="status")
    def state(self, row: Any) -> SafeString:
        """Show the badge."""
        return config_badges.state(row, newer=row.newer)

    @display(description="Progress")
    def progress(self, row: Any) -> SafeString:
        """Show the bar."""
        coming = config_badges.coming(row, row.counts)
        is_past = rollout_facts.is_undone(row, newer=row.newer)
        drawn = config_badges.bar(row.counts, name="Members", coming=coming, is_past=is_past)
        words = config_badges.share(row, row.counts)
        return format_html('<span class="mo-progress">{}<small>{}</small></span>', drawn, words)

    @display(description="Stage")
    def stage_(self, row: Rollout) -> str:
        """Show which stage it is at."""
        return f"{row.stage + 1} of {len(row.stages)}" if row.is_staged else "at once"

    @display(description="Begun by")
    def by(self, row: Rollout) -> str:
        """Show who."""
        return row.started_by

    @display(description="Begun", ordering="id")
    def when(self, row: Rollout) -> SafeString:
        """Show when."""
        return ago(row.started_at)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rollout]:
        """Leave documents in the database."""
        rows: QuerySet[Rollout] = super().get_queryset(request)
        big = ("target__document", "target__changes", "previous__document", "previous__changes")
        return rows.select_related("target", "previous", "job").defer(*big, "job__targets")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Read the counts along."""
        return Counted

    def drawn(self, row: Rollout) -> dict[str, Any]:
        """Show a rollout with its progress."""
        return {"title": f"Rollout {row.pk}", **shown(row)}

    def get_urls(self) -> list[URLPattern]:
        """Add the piece that the page loads anew, and what its buttons call."""
        wrap = self.admin_site.admin_view
        own = [
            path("running/", wrap(self.running_view), name="orchestrators_rollout_running"),
            path("<int:pk>/progress/", wrap(self.progress_view), name="orchestrators_rollout_progress"),
            path("<int:pk>/steer/", wrap(self.steer_view), name="orchestrators_rollout_steer"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list below what is on its way now."""
        return super().changelist_view(request, {"running": running(), **(extra_context or {})})

    def running_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what is on its way now as a piece of a page."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return render(request, "admin/orchestrators/rollout/running.html", {"running": running()})

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the progress as it is now."""
        return render(request, "admin/orchestrators/rollout/progress.html", shown(self._get(request, pk)))

    def steer_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Pause, resume or cancel it (POST `verdict`); GET asks whether to cancel it."""
        row = self._get(request, pk)
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": f"Cancel rollout {pk}?", **shown(row)}
            return render(request, "admin/orchestrators/rollout/cancel.html", context)
        if (verdict := VERDICTS.get(request.POST.get("verdict", ""))) is None:
            return HttpResponse(status=400)
        steer, words = verdict
        try:
            steer(row, acting_user=user(request), reason=request.POST.get("reason", "").strip()[:500])
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            messages.success(request, f"Rollout {pk} {words}")
        return HttpResponseRedirect(reverse("admin:orchestrators_rollout_change", args=[pk]))

    def _get(self, request: HttpRequest, pk: int) -> Rollout:
        row = self.get_queryset(request).filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such rollout.")
        return row


def running() -> list[dict[str, Any]]:
    """Return the newest rollouts that are on their way."""
    big = ("target__document", "target__changes", "job__targets")
    active = Rollout.objects.filter(status__in=Rollout.ACTIVE).select_related("target", "job").defer(*big)
    rows = list(active.order_by("-id")[:SHOWN])
    counts = progress.of_many(rows)
    return [
        {
            "row": row,
            "url": reverse("admin:orchestrators_rollout_change", args=[row.pk]),
            "badge": config_badges.state(row),
            "bar": _running_bar(row, counts[row.pk]),
            "words": config_badges.share(row, counts[row.pk]),
        }
        for row in rows
    ]


def _running_bar(row: Rollout, counts: Progress) -> SafeString:
    return config_badges.bar(counts, name=f"Rollout {row.pk}", coming=config_badges.coming(row, counts))


def shown(row: Rollout) -> dict[str, Any]:
    """Return a rollout as its page shows it."""
    counts, newer = progress.of(row), sequels.superseding([row]).get(row.pk)
    look: dict[str, Any] = {
        "coming": config_badges.coming(row, counts),
        "is_past": rollout_facts.is_undone(row, newer=newer),
    }
    back = sequels.way_back(row)
    version = reverse("admin:orchestrators_configversion_change", args=[row.target_id])
    return {
        "rollout": row,
        "badge": config_badges.state(row, newer=newer),
        "counts": counts,
        "bar": config_badges.bar(counts, name="Members", **look),
        "legend": config_badges.legend(counts, **look),
        "sequel": rollout_facts.sequel(row, members=counts.members, newer=newer, back=back),
        "steps": _steps(row, counts),
        "failures": _failures(row),
        "version_url": version,
        "edit_url": config_badges.editor(row.organization_id),
        "facts": rollout_facts.facts(row),
        "change_url": reverse("admin:orchestrators_rollout_change", args=[row.pk]),
    }


def _steps(row: Rollout, counts: Progress) -> list[dict[str, Any]]:
    """Return the stages; how each went is known while the rollout is active, afterwards only the whole."""
    each = progress.by_stage(row) if row.is_active and row.is_staged else []
    found: list[dict[str, Any]] = []
    for index, stage in enumerate(row.stages):
        is_last = index == len(row.stages) - 1
        name = "everybody" if stage == stages.EVERYBODY and is_last else stages.text(stage)
        step: dict[str, Any] = {"number": index + 1, "name": name, "state": _state(row, index)}
        if each and index <= row.stage:
            step |= {"bar": config_badges.bar(each[index], name=f"Stage {index + 1}")}
            step |= {"legend": config_badges.legend(each[index])}
        elif each:
            step["adds"] = each[index].members
        found.append(step)
    return found


def _state(row: Rollout, index: int) -> str:
    if index < row.stage or row.status == Rollout.Status.COMPLETED:
        return "done"
    if index > row.stage:
        return "coming" if row.is_active else "not reached"
    if row.is_active:
        return "watched" if row.settled_at else str(row.status)
    return "stopped here"


def _failures(row: Rollout) -> list[dict[str, str]]:
    """Return those that failed, each with the way to it when it is still there."""
    found = progress.failures(row)
    names = [failure["orchestrator_id"] for failure in found]
    keys = dict(Instance.objects.present().filter(orchestrator_id__in=names).values_list("orchestrator_id", "pk"))
    url = "admin:orchestrators_instance_change"
    return [
        {**failure, "url": reverse(url, args=[keys[name]]) if name in keys else ""}
        for failure, name in zip(found, names, strict=True)
    ]
