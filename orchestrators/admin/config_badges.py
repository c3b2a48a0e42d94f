"""How versions and rollouts look: their badges, and bars whose parts say what became of the members."""

import json
from collections.abc import Mapping
from typing import Any, Final

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from orchestrators.configuration.progress import Progress
from orchestrators.models import ConfigVersion, Instance, OverrideVersion, Rollout

SOURCES: Final = {
    "edit": "blue", "rollback": "amber", "automatic rollback": "red", "recommendation": "green", "import": "gray",
    "bulk": "blue",
}  # fmt: skip
STATES: Final = {
    "running": ("▶", "blue"), "paused": ("❚❚", "amber"), "halted": ("✖", "red"), "completed": ("✔", "green"),
    "cancelled": ("○", "gray"),
}  # fmt: skip
# What became of a member → what it says; the order is that of the parts of a bar.
PARTS: Final = {
    "applied": "applied",
    "sent": "sent (cannot answer)",
    "waiting": "waiting",
    "failed": "failed",
    "lost": "lost",
    "offline": "offline",
    "coming": "not reached",
}


def source(row: ConfigVersion | OverrideVersion) -> SafeString:
    """Show where a version comes from."""
    return format_html('<span class="mo-badge mo-badge-{}">{}</span>', SOURCES[row.source], row.source)


def state(row: Rollout, *, newer: Rollout | None = None) -> SafeString:
    """Show how a rollout stands; `newer` is the one that superseded it."""
    glyph, tone = STATES[row.status]
    words = f"superseded by version {newer.version}" if newer else row.status
    return format_html(
        '<span class="mo-badge mo-badge-{}" data-rollout="{}"><i>{}</i> {}</span>', tone, row.pk, glyph, words
    )


def organization(row: ConfigVersion | Rollout | Instance) -> SafeString:
    """Show whose it is, with the way to the editor."""
    return format_html('<a class="mo-link" href="{}">{}</a>', editor(row.organization_id), row.organization_id)


def editor(organization_id: str) -> str:
    """Return the address of an organization's editor."""
    return reverse("admin:orgs_organization_configuration", args=[quote(organization_id)])


def coming(row: Rollout, counts: Progress) -> int:
    """Return how many of the fleet that a staged rollout is for it has not reached; its job knows the fleet."""
    fleet = row.job.total if row.is_staged and row.job is not None else 0
    return max(fleet - counts.members, 0)


def share(row: Rollout, counts: Progress) -> str:
    """Say how many of the fleet have it."""
    return f"{counts.applied} of {counts.members + coming(row, counts)} applied"


def bar(counts: Progress, *, name: str, coming: int = 0, is_past: bool = False) -> SafeString:
    """Show what became of the members as coloured parts of a bar; grey when it `is_past`, as what holds no more."""
    numbers = counts.as_dict() | {"coming": coming}
    parts = [(key, numbers[key], key) for key in PARTS if numbers[key]]
    inner = format_html_join("", '<rect class="mo-part-{}" width="{}" height="1" x="{}"/>', _placed(parts))
    words = (
        ", ".join(f"{number} {'not reached' if key == 'coming' else key}" for key, number, _ in parts) or "nobody yet"
    )
    return format_html(
        '<svg class="mo-parts{}" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" aria-label="{}: {}">{}</svg>',
        " mo-parts-past" if is_past else "",
        max(counts.members + coming, 1),
        name,
        words,
        inner,
    )


def _placed(parts: list[tuple[str, int, str]]) -> list[tuple[str, int, int]]:
    placed, x = [], 0
    for key, number, _ in parts:
        placed.append((key, number, x))
        x += number
    return placed


def legend(counts: Progress, *, coming: int = 0, is_past: bool = False) -> SafeString:
    """Show the numbers of a bar, each beside its colour."""
    numbers = counts.as_dict() | {"coming": coming}
    rows = [(key, numbers[key], words) for key, words in PARTS.items() if numbers[key]]
    items = format_html_join("", '<span><i class="mo-part-{}"></i><b>{}</b> {}</span>', rows)
    when = "When it ended:" if is_past else ""
    past = " mo-parts-past" if is_past else ""
    return format_html('<span class="mo-parts-legend{}">{} {}</span>', past, when, items or "nobody yet")


def change(row: Mapping[str, Any]) -> dict[str, str]:
    """Return one place of a difference as the page shows it: sign, colour, path, values as JSON."""
    kind = "changed" if {"before", "after"} <= row.keys() else "added" if "after" in row else "removed"
    found = {"kind": kind, "path": str(row.get("path", ""))}
    return found | {side: _json(row[side]) for side in ("before", "after") if side in row}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
