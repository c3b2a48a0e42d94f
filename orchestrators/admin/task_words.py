"""Tasks and approvals as badges and words; the words of a status are those of the API."""

from typing import Any, Final

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from orchestrators.models import Agent, Approval, Task
from orgs.admin.base import badge

LEVELS: Final = {
    "P0": ("critical", "‼", "P0"), "P1": ("red", "▲", "P1"), "P2": ("blue", "●", "P2"), "P3": ("gray", "○", "P3"),
}  # fmt: skip
STATUS: Final = {
    "pending_approval": ("amber", "◌", "Waits for approval"),
    "assigned": ("gray", "○", "Assigned"),
    "in_progress": ("blue", "◐", "In progress"),
    "completed": ("green", "✔", "Completed"),
    "failed": ("red", "✖", "Failed"),
    "cancelled": ("gray", "–", "Cancelled"),
    "dead": ("critical", "✖", "Dead"),
}
APPROVAL: Final = {
    "pending": ("amber", "◌", "Waits"),
    "approved": ("green", "✔", "Approved"),
    "rejected": ("red", "✖", "Rejected"),
    "expired": ("gray", "○", "Expired"),
    "withdrawn": ("gray", "–", "Withdrawn"),
}
AGENT: Final = {"active": ("green", "●", "Active"), "inactive": ("gray", "○", "Inactive")}


def level(task: Task) -> SafeString:
    """Show how urgent it is as it was given: only what was given as P0 or P1 says so, and waits for a person."""
    tone, glyph, _ = LEVELS[task.level]
    return badge(tone, glyph, task.given_priority or str(task.priority))


def status(task: Task) -> SafeString:
    """Show where it stands."""
    return badge(*STATUS[task.status])


def decision(row: Approval) -> SafeString:
    """Show what was decided."""
    return badge(*APPROVAL[row.status])


def agent_status(row: Agent) -> SafeString:
    """Show whether it is given tasks."""
    return badge(*AGENT[row.status])


def span(seconds: float | None) -> str:
    """Say how long something took: “3 min 5 s”; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for size, unit, below, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def link(page: str, pk: Any, text: str) -> SafeString:
    """Return the way to a row."""
    return format_html('<a class="mo-link" href="{}">{}</a>', reverse(f"admin:{page}_change", args=[quote(pk)]), text)


def tasks_url(**asked: Any) -> str:
    """Return the address of the list of tasks, narrowed."""
    return f"{reverse('admin:orchestrators_task_changelist')}?{urlencode(asked, doseq=True)}"
