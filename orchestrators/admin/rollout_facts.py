"""What the page of a rollout says in words: its facts, and what happened after its end."""

from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orchestrators.models import Rollout
from orgs.admin.base import exact


def facts(row: Rollout) -> list[tuple[str, Any]]:
    """Return names and values of what was agreed when it began."""
    before = f"version {row.previous_version}" if row.previous_version is not None else "none"
    goes_back = row.is_active and (row.is_staged or row.may_roll_back)
    found = [
        ("Begun", format_html("{} by {}", exact(row.started_at), row.started_by)),
        ("Ended", exact(row.finished_at)),
        ("Goes back to" if goes_back else "Version before", before),
        ("Halts when", _limit(row)),
        _wait(row),
    ]
    if row.job is not None:
        url = reverse("admin:orchestrators_job_change", args=[row.job.pk])
        found.append(("Job", format_html('<a class="mo-link" href="{}">{}</a>', url, row.job.job_id)))
    return found


def _limit(row: Rollout) -> str:
    more = f", or more than {row.max_failed}" if row.max_failed is not None else ""
    return f"more than {row.max_failed_percent} % fail{more}"


def _wait(row: Rollout) -> tuple[str, str]:
    if not row.is_staged:
        return "Watched", f"at most {row.stage_timeout_seconds} s"
    soak = f", and is watched for {row.soak_seconds} s" if row.soak_seconds else ""
    return "A stage waits", f"at most {row.stage_timeout_seconds} s{soak}"


def is_undone(row: Rollout, *, newer: Rollout | None) -> bool:
    """Whether its members have something else by now, because it ended as it did; `newer` is what superseded it."""
    if row.status == Rollout.Status.HALTED:
        return row.is_staged or row.may_roll_back
    return row.status == Rollout.Status.CANCELLED and (row.is_staged or newer is not None)


def sequel(row: Rollout, *, members: int, newer: Rollout | None, back: Rollout | None) -> SafeString | str:
    """Say what happened after it was halted or cancelled: `newer` superseded it, `back` took its fleet back."""
    if row.status not in (Rollout.Status.HALTED, Rollout.Status.CANCELLED):
        return ""
    if row.is_staged:
        whose = "Its member" if members == 1 else f"Its {members} members"
        return f"{whose} went back to {_before(row)}."
    if newer is not None:
        return format_html("{} came after it ({}).", version(newer, "Version"), rollout(newer))
    if back is not None:
        link = version(back, "version")
        return format_html("The fleet went back to the content of {} as {} ({}).", _before(row), link, rollout(back))
    return f"Version {row.version} stayed what the fleet had; nothing watched it any more."


def _before(row: Rollout) -> str:
    return f"version {row.previous_version}" if row.previous_version is not None else "an empty configuration"


def version(row: Rollout, name: str) -> SafeString:
    """Return a link to the version a rollout brings."""
    url = reverse("admin:orchestrators_configversion_change", args=[row.target_id])
    return format_html('<a class="mo-link" href="{}">{} {}</a>', url, name, row.version)


def rollout(row: Rollout) -> SafeString:
    """Return a link to a rollout."""
    url = reverse("admin:orchestrators_rollout_change", args=[row.pk])
    return format_html('<a class="mo-link" href="{}">rollout {}</a>', url, row.pk)
