"""The console's page of exports: which metrics, of whom, from when to when, as which file."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from monitoring.analytics import catalog
from monitoring.exports import making
from monitoring.exports.wish import Wish
from moolai.errors import AppError
from orgs.admin.base import user
from orgs.models import Organization

TYPES: Final = [
    ("csv", "CSV"),
    ("xlsx", "Excel (xlsx)"),
    ("json", "JSON"),
    ("parquet", "Parquet"),
]
BY: Final = [
    ("", "As they are: samples one by one, everything else by the hour"),
    ("hour", "Averages by the hour"),
    ("day", "Averages by the day"),
]
FIRST: Final = ("cpu_usage_percent", "memory_percent")
DEFAULT_SPAN: Final = timedelta(hours=24)
MINUTE: Final = "%Y-%m-%dT%H:%M"


class Moment(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    """A time to the minute."""

    input_type = "datetime-local"


class ExportForm(forms.Form):
    """What to export; times are in UTC."""

    start = forms.DateTimeField(label="From (UTC)", input_formats=[MINUTE], widget=Moment)
    end = forms.DateTimeField(label="Until before (UTC)", input_formats=[MINUTE], widget=Moment)
    organization = forms.CharField(
        required=False,
        max_length=50,
        label="Organization",
        help_text="Its id; empty: all of them.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    by = forms.ChoiceField(choices=BY, required=False, widget=forms.RadioSelect, label="Rows")
    export_type = forms.ChoiceField(choices=TYPES, widget=forms.RadioSelect, label="File")
    metrics = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label="Metrics")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer every metric there is."""
        super().__init__(*args, **kwargs)
        self.fields["metrics"].choices = [(name, name) for name in catalog.metrics()]  # type: ignore[attr-defined]

    def clean_organization(self) -> str:
        """Refuse one that is not there."""
        name = str(self.cleaned_data["organization"]).strip()
        if name and not Organization.objects.filter(pk=name).exists():
            raise forms.ValidationError("There is no such organization.")
        return name

    def clean(self) -> dict[str, Any]:
        """Read the wish, and say beside its field what keeps it from being one."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                found["wish"] = Wish.parse(_body(found))
            except AppError as problem:
                self.add_error(None, " ".join(problem.fields.values()) or problem.detail)
        return found


def _body(found: dict[str, Any]) -> dict[str, Any]:
    """Return the form as `POST /api/v1/controller/export` has it."""
    body: dict[str, Any] = {
        "export_type": found["export_type"],
        "metrics": found["metrics"],
        "time_range": {name: found[name].replace(tzinfo=UTC).isoformat() for name in ("start", "end")},
    }
    if found["organization"]:
        body["filters"] = {"organization": found["organization"]}
    if found["by"]:
        known = [catalog.metrics()[name].dimensions for name in found["metrics"]]
        shared = [name for name in ("organization", "orchestrator") if all(name in other for other in known)]
        body["group_by"] = [found["by"], *shared]
    return body


class ExportPage:
    """What the list of metrics offers besides: a file of them."""

    admin_site: Any
    opts: Any
    has_view_permission: Any

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """Ask what to export, or post the job and show it."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        form = ExportForm(request.POST) if request.method == "POST" else ExportForm(initial=_initial(timezone.now()))
        if form.is_bound and form.is_valid():
            try:
                job = making.start(
                    form.cleaned_data["wish"],
                    organization_id=form.cleaned_data["organization"],
                    acting_user=user(request),
                )
            except AppError as problem:
                form.add_error(None, problem.detail)
            else:
                messages.success(request, "The export is under way.")
                return HttpResponseRedirect(reverse("admin:orchestrators_job_change", args=[job.pk]))
        context = self.admin_site.each_context(request) | {
            "title": "Export metrics",
            "opts": self.opts,
            "form": form,
            "hours": settings.EXPORT_RETENTION_HOURS,
        }
        return render(request, "admin/monitoring/systemmetric/export.html", context)


def _initial(now: datetime) -> dict[str, Any]:
    return {
        "metrics": list(FIRST),
        "start": f"{now - DEFAULT_SPAN:{MINUTE}}",
        "end": f"{now + timedelta(minutes=1):{MINUTE}}",
        "by": "",
        "export_type": "csv",
    }
