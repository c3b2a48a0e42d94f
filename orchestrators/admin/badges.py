"""Badges and switches as HTML; live.js keeps it up to date: `data-of` names the orchestrator, `data-live` the field."""

from typing import Any, Final

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from orchestrators.models import Instance, Message
from orgs.admin.base import ago
from orgs.models import Organization

# word in the database → (glyph, what it says, colour); live.js has STATUS, CONFIG and MESSAGE, and a test compares.
STATUS: Final = {
    "active": ("●", "Active", "green"),
    "independent": ("◆", "Independent", "blue"),
    "inactive": ("○", "Inactive", "gray"),
    "degraded": ("✖", "Error · degraded", "red"),
    "error": ("✖", "Error", "red"),
}
CONFIG: Final = {"unknown": "gray", "pending": "amber", "applying": "amber", "applied": "green", "failed": "red"}
MESSAGE: Final = {"pending": "amber", "sent": "blue", "delivered": "green", "failed": "red", "expired": "gray"}
ORGANIZATION: Final = {
    "active": ("●", "green"), "inactive": ("○", "gray"), "suspended": ("✖", "red"), "provisioning": ("◌", "amber"),
}  # fmt: skip


INDEPENDENCE: Final = (
    "An independent orchestrator stays connected and gets its configuration and messages, "
    "but its heartbeats are ignored: it never counts as inactive."
)


def status(instance: Instance) -> SafeString:
    """Show the status, kept live."""
    glyph, word, tone = STATUS[instance.status]
    return format_html(
        '<span class="mo-badge mo-badge-{}" data-live="status" data-of="{}" data-status="{}"><i>{}</i> {}</span>',
        tone,
        instance.orchestrator_id,
        instance.status,
        glyph,
        word,
    )


def seen(instance: Instance) -> SafeString:
    """Show when it was last heard of, and that an independent one's heartbeats do not count; kept live."""
    return format_html(
        '{} <small class="mo-note" data-live="frozen" data-of="{}"{}>heartbeats ignored</small>',
        ago(instance.last_seen, of=instance.orchestrator_id),
        instance.orchestrator_id,
        SafeString("" if instance.is_effectively_independent else " hidden"),
    )


def connected(instance: Instance) -> SafeString:
    """Show whether its socket is open, kept live."""
    return format_html(
        '<span class="mo-dot{}" data-live="is_connected" data-of="{}"><i></i> <span>{}</span></span>',
        " is-on" if instance.is_connected else "",
        instance.orchestrator_id,
        "connected" if instance.is_connected else "offline",
    )


def config(instance: Instance) -> SafeString:
    """Show how far the desired configuration has got, kept live."""
    return format_html(
        '<span class="mo-badge mo-badge-{}" data-live="config_status" data-of="{}">{}</span>',
        CONFIG[instance.config_status],
        instance.orchestrator_id,
        instance.config_status,
    )


def labels(instance: Instance) -> SafeString:
    """Show the labels, each with the way to all that carry it."""
    url = reverse("admin:orchestrators_instance_changelist")
    rows = [
        (url, urlencode({"labels": f"{name}={text}"}), f"{name}={text}", name, text)
        for name, text in sorted(instance.labels.items())
    ]
    chip = '<a class="mo-label-chip" href="{}?{}" title="{}"><b>{}</b>{}</a>'
    return format_html_join("", chip, rows) or SafeString("–")


def message(row: Message) -> SafeString:
    """Show the state of a message, kept live where the page follows messages."""
    return format_html(
        '<span class="mo-badge mo-badge-{}" data-message="{}" data-show="status">{}</span>',
        MESSAGE[row.status],
        row.pk,
        row.status,
    )


def attempts(row: Message) -> SafeString:
    """Show how often a message was sent, kept live."""
    count = row.attempts if row.direction == Message.Direction.OUTBOUND else "–"
    return format_html('<span data-message="{}" data-show="attempts">{}</span>', row.pk, count)


def organization(row: Organization) -> SafeString:
    """Show the state of an organization; one that is switched off is never shown as active."""
    word = "inactive" if row.status == "active" and not row.is_active else row.status
    glyph, tone = ORGANIZATION[word]
    return format_html('<span class="mo-badge mo-badge-{}"><i>{}</i> {}</span>', tone, glyph, word.capitalize())


def instance_switch(instance: Instance) -> SafeString:
    """Show the independence switch of an orchestrator; one that inherits it says from whom, and does not move."""
    source = instance.independence_source
    return _switch(
        url=reverse("admin:orchestrators_instance_independence", args=[instance.pk]),
        name=instance.orchestrator_id,
        is_on=source is not None,
        note=f"inherited from {instance.organization_id}" if source == "organization" else "",
        live=format_html('data-live="switch" data-of="{}"', instance.orchestrator_id),
        organization_id=instance.organization_id,
    )


def organization_switch(row: Organization) -> SafeString:
    """Show the independence switch of an organization."""
    url = reverse("admin:orgs_organization_independence", args=[row.pk])
    return _switch(url=url, name=row.pk, is_on=row.is_independent, organization_id=row.pk)


def _switch(*, url: str, name: str, is_on: bool, organization_id: str, note: str = "", live: str = "") -> SafeString:
    attributes: dict[str, Any] = {"checked": "true" if is_on else "false", "disabled": "true" if note else "false"}
    return format_html(
        '<span class="mo-switch-box" {}><button type="button" role="switch" class="mo-switch" aria-checked="{}" '
        'aria-disabled="{}" aria-label="Independence of {}" title="{}" data-url="{}" data-name="{}" '
        'data-organization="{}"><span></span></button><small class="mo-note">{}</small></span>',
        live,
        attributes["checked"],
        attributes["disabled"],
        name,
        INDEPENDENCE,
        url,
        name,
        organization_id,
        note,
    )
