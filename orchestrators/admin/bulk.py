"""Actions of the orchestrators' list on the chosen rows, or on all rows of its filter; a job does them."""

from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from moolai.errors import AppError
from orchestrators import bulk, labels
from orchestrators.admin.forms import JSONObject, LabelsField, MessageForm
from orchestrators.configuration import overrides
from orchestrators.models import Instance
from orgs.admin.base import user

Parameters = dict[str, Any]
STATES: Final = [("on", "Independent: their heartbeats are ignored"), ("off", "Managed, by their own flag")]

HOW: Final = [("patch", "Merge this into what each has of its own"), ("clear", "Clear everything of their own")]


class FlagForm(forms.Form):
    """Independence for many."""

    state = forms.ChoiceField(choices=STATES, widget=UnfoldAdminRadioSelectWidget, label="They become")
    reason = forms.CharField(
        required=False, max_length=500, label="Reason, for the audit trail", widget=UnfoldAdminTextInputWidget
    )


class LabelsForm(forms.Form):
    """Labels for many."""

    wanted = LabelsField(label="Set")
    removed = forms.CharField(
        required=False,
        label="Remove (names)",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "env, region", "autocomplete": "off"}),
    )

    def clean_removed(self) -> list[str]:
        """Split the names."""
        names = [name.strip() for name in str(self.cleaned_data["removed"]).split(",") if name.strip()]
        for name in names:
            labels.validate_name(name)
        return names


class ConfigurationForm(forms.Form):
    """What many have of their own."""

    how = forms.ChoiceField(choices=HOW, initial="patch", widget=UnfoldAdminRadioSelectWidget, label="Do what")
    patch = JSONObject(
        label="Merge patch (JSON): null removes",
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 6, "spellcheck": "false", "class": "mo-code", "placeholder": '{"features": {"beta": true}}'}
        ),
    )
    comment = forms.CharField(
        required=False, max_length=bulk.MAX_COMMENT, label="Comment, for the history", widget=UnfoldAdminTextInputWidget
    )

    def clean(self) -> Parameters:
        """Say beside the patch what keeps it from being one."""
        found: Parameters = super().clean() or self.cleaned_data
        if found.get("how") == "patch" and "patch" in found:
            for path, problem in overrides.patch_problems(found["patch"], max_bytes=bulk.MAX_PATCH_BYTES).items():
                self.add_error("patch", f"{path or 'It'} {problem}")
        return found


def _message(cleaned: Parameters) -> Parameters:
    return {"message_type": cleaned["message_type"], "message_content": cleaned["content"]}


def _flag(cleaned: Parameters) -> Parameters:
    return {"is_independent": cleaned["state"] == "on", "reason": cleaned["reason"] or "console"}


def _labels(cleaned: Parameters) -> Parameters:
    return {"set": cleaned["wanted"], "remove": cleaned["removed"]}


def _configuration(cleaned: Parameters) -> Parameters:
    wish: Parameters = {"clear": True} if cleaned["how"] == "clear" else {"patch": cleaned["patch"]}
    return wish | {"comment": cleaned["comment"]}


# action → (title, what the button says, its form, how its fields become parameters)
FORMS: Final[dict[str, tuple[str, str, type[forms.Form], Callable[[Parameters], Parameters]]]] = {
    "message": ("Send a message", "Send messages", MessageForm, _message),
    "independence": ("Set independence", "Set independence", FlagForm, _flag),
    "labels": ("Set labels", "Set labels", LabelsForm, _labels),
    "configuration": ("Change their own configuration", "Change it", ConfigurationForm, _configuration),
}


class BulkActions:
    """What the list of orchestrators offers for many of them."""

    actions = ("bulk_message", "bulk_independence", "bulk_labels", "bulk_configuration")
    admin_site: Any
    opts: Any

    @admin.action(description="Send a message…", permissions=["change"])
    def bulk_message(self, request: HttpRequest, chosen: QuerySet[Instance]) -> HttpResponse:
        """Send a message to the chosen."""
        return self._bulk(request, chosen, "message")

    @admin.action(description="Set independence…", permissions=["change"])
    def bulk_independence(self, request: HttpRequest, chosen: QuerySet[Instance]) -> HttpResponse:
        """Set the own flag of the chosen."""
        return self._bulk(request, chosen, "independence")

    @admin.action(description="Set labels…", permissions=["change"])
    def bulk_labels(self, request: HttpRequest, chosen: QuerySet[Instance]) -> HttpResponse:
        """Set and remove labels of the chosen."""
        return self._bulk(request, chosen, "labels")

    @admin.action(description="Change their own configuration…", permissions=["change"])
    def bulk_configuration(self, request: HttpRequest, chosen: QuerySet[Instance]) -> HttpResponse:
        """Change or clear what the chosen have of their own."""
        return self._bulk(request, chosen, "configuration")

    def _bulk(self, request: HttpRequest, chosen: QuerySet[Instance], action: str) -> HttpResponse:
        """Ask what is needed, or post the job and show it."""
        title, button, form_class, read = FORMS[action]
        form = form_class(request.POST if "apply" in request.POST else None)
        if form.is_bound and form.is_valid():
            try:
                job = _post(action, chosen, read(form.cleaned_data), request)
            except AppError as problem:
                form.add_error(None, " ".join(problem.fields.values()) or problem.detail)
            else:
                messages.success(request, f"{title}: a job does it for {job.total} orchestrators.")
                return HttpResponseRedirect(reverse("admin:orchestrators_job_change", args=[job.pk]))
        context = self.admin_site.each_context(request) | {
            "title": title,
            "button": button,
            "opts": self.opts,
            "form": form,
            "count": chosen.count(),
            "shown": list(chosen.order_by("orchestrator_id").values_list("orchestrator_id", flat=True)[:12]),
            "action": f"bulk_{action}",
            "across": request.POST.get("select_across", "0"),
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return render(request, "admin/orchestrators/instance/bulk.html", context)


def _post(action: str, chosen: QuerySet[Instance], parameters: Parameters, request: HttpRequest) -> Any:
    ids = list(chosen.order_by("orchestrator_id").values_list("orchestrator_id", flat=True))
    rows = Instance.objects.present().filter(pk__in=chosen.order_by().values("pk"))
    return bulk.start(
        action, selector={"orchestrator_ids": ids}, parameters=parameters, acting_user=user(request), rows=rows
    )
