"""The editor of an organization's configuration: reads the version that is there, publishes or rolls out the next."""

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from moolai.errors import AppError
from orchestrators import configuration
from orchestrators.admin import config_badges
from orchestrators.admin.config_forms import ConfigForm
from orchestrators.admin.config_versions import after
from orchestrators.configuration import rollouts, versions
from orchestrators.models import ConfigVersion
from orgs.admin.base import ago, is_superadmin, user
from orgs.models import Organization

RECENT = 5


def view(request: HttpRequest, pk: str) -> HttpResponse:
    """Show the editor; publish what it holds, or begin its rollout (POST)."""
    organization = Organization.objects.filter(pk=pk).first() if is_superadmin(request) else None
    if organization is None:
        raise Http404("There is no such organization.")
    now = versions.current(organization)
    form = ConfigForm(organization, data=request.POST or None, initial={"document": _text(now), "seen": now.version})
    newer = None
    if request.method == "POST" and form.is_valid():
        try:
            return HttpResponseRedirect(_write(request, organization, form))
        except AppError as problem:
            if problem.code == "precondition_failed":
                newer = versions.current(organization)
            else:
                form.take(problem)
    context = {
        **admin.site.each_context(request),
        **shown(organization),
        "title": f"Configuration of {organization.name}",
        "form": form,
        "newer": newer,
        "seen": request.POST.get("seen", ""),
        "newer_url": _address(newer) if newer else "",
    }
    return render(request, "admin/orchestrators/configuration/editor.html", context)


def shown(organization: Organization) -> dict[str, Any]:
    """Return what other pages show of an organization's configuration: the version, the newest ones, the rollout."""
    now = versions.current(organization)
    listed = f"?organization__organization_id__exact={quote(organization.pk)}"
    rows = organization.config_versions.defer("document", "changes")[:RECENT]
    return {
        "organization": organization,
        "current": now,
        "current_url": _address(now) if now.pk else "",
        "current_when": ago(now.created_at),
        "versions": [{"row": row, "url": _address(row), "badge": config_badges.source(row)} for row in rows],
        "active": (active := rollouts.active(organization.pk)),
        "active_badge": config_badges.state(active) if active else "",
        "active_url": reverse("admin:orchestrators_rollout_change", args=[active.pk]) if active else "",
        "edit_url": config_badges.editor(organization.pk),
        "versions_url": reverse("admin:orchestrators_configversion_changelist") + listed,
        "rollouts_url": reverse("admin:orchestrators_rollout_changelist") + listed,
        "organization_url": reverse("admin:orgs_organization_change", args=[quote(organization.pk)]),
    }


def _write(request: HttpRequest, organization: Organization, form: ConfigForm) -> str:
    """Publish or begin the rollout; return where to go on."""
    wish = form.cleaned_data
    common: dict[str, Any] = {"acting_user": user(request), "comment": wish["comment"], "expected": wish["seen"]}
    if wish["how"] == "stages":
        limits: dict[str, Any] = {**common, **form.limits()}
        rollout = rollouts.start(organization, wish["document"], wanted=wish["stages"], **limits)
        messages.success(request, f"Rollout {rollout.pk} of version {rollout.version} has begun.")
        return reverse("admin:orchestrators_rollout_change", args=[rollout.pk])
    row = configuration.publish(organization, wish["document"], **common)
    if row.version == wish["seen"]:
        messages.info(request, f"Nothing changed: version {row.version} has this content.")
        return config_badges.editor(organization.pk)
    messages.success(request, f"Version {row.version} is published.")
    return after(row) or _address(row)


def _address(row: ConfigVersion) -> str:
    return reverse("admin:orchestrators_configversion_change", args=[row.pk]) if row.pk else ""


def _text(row: ConfigVersion) -> str:
    return json.dumps(row.content, indent=2, ensure_ascii=False)
