"""What the panels of the orchestrator's page show; each is one small read, so that it can be loaded anew alone."""

from collections.abc import Callable
from typing import Any, Final

from django.urls import reverse
from django.utils.html import format_html

from orchestrators.admin import badges, config_badges
from orchestrators.admin.override_versions import history
from orchestrators.configuration import override_versions, versions
from orchestrators.models import Instance
from orgs.admin import trail
from orgs.admin.base import ago

RECENT_MESSAGES: Final = 20


def session(instance: Instance) -> dict[str, Any]:
    """Return what is known of its session."""
    rows: list[tuple[str, Any]] = [
        ("Socket", badges.connected(instance)),
        ("Connected since", ago(instance.connected_at) if instance.connected_at else "–"),
        ("Address", instance.remote_address or "–"),
        ("Session id", instance.session_id or "–"),
        ("Process", instance.node or "–"),
        ("Epoch", instance.epoch),
        ("Version", instance.version or "–"),
        ("Capabilities", ", ".join(map(str, instance.capabilities)) or "none announced"),
    ]
    return {"instance": instance, "rows": rows}


def configuration(instance: Instance) -> dict[str, Any]:
    """Return the desired configuration, what was reported, and how that went."""
    version, brought = _versions(instance)
    told = versions.text(instance.organization_id, version)
    rows: list[tuple[str, Any]] = [
        ("State", badges.config(instance)),
        ("Desired", f"{told} · push {instance.config_version} · {short(instance.config_hash)}"),
        ("Reported", short(instance.config_reported_hash) or "nothing yet"),
        ("Reported at", ago(instance.config_reported_at) if instance.config_reported_at else "–"),
    ]
    if instance.config_error:
        rows.append(("Error", instance.config_error))
    link = '<a class="mo-link" href="{}">{}</a>'
    rows.append(
        (
            "Its base",
            format_html(
                link, config_badges.editor(instance.organization_id), f"configuration of {instance.organization_id}"
            ),
        )
    )
    own = override_versions.current(instance)
    words = f"own version {own.version}, {own.source}" if own.pk else "never changed"
    rows.append(("Its own", format_html(link, history(instance), words)))
    if instance.config_rollout_id:
        url = reverse("admin:orchestrators_rollout_change", args=[instance.config_rollout_id])
        rows.append(("Came by", format_html(link, url, f"rollout {instance.config_rollout_id}, of version {brought}")))
    return {"instance": instance, "rows": rows, "document": trail.pretty(instance.config_document())}


def _versions(instance: Instance) -> tuple[int, int | None]:
    """Return the version of its organization that it is to run, and the one that its last rollout brought."""
    rows: Any = Instance.objects.filter(pk=instance.pk).with_organization_version()
    found: tuple[int, int | None] = rows.values_list("organization_version", "config_rollout__target__version").get()
    return found


def health(instance: Instance) -> dict[str, Any]:
    """Return what it last said of its health."""
    return {"instance": instance, "report": trail.pretty(instance.health_status) if instance.health_status else ""}


def messages(instance: Instance) -> dict[str, Any]:
    """Return its newest messages."""
    rows = instance.messages.order_by("-id")[:RECENT_MESSAGES]
    items = [
        {
            "row": row,
            "badge": badges.message(row),
            "when": ago(row.created_at),
            "url": reverse("admin:orchestrators_message_change", args=[row.pk]),
        }
        for row in rows
    ]
    return {"instance": instance, "items": items}


def short(fingerprint: str) -> str:
    """Return the beginning of a hash."""
    return fingerprint if len(fingerprint) <= 19 else fingerprint[:19] + "…"


PANELS: Final[dict[str, Callable[[Instance], dict[str, Any]]]] = {
    "session": session,
    "configuration": configuration,
    "health": health,
    "messages": messages,
}


def one(name: str, instance: Instance) -> dict[str, Any]:
    """Return one panel's content; raises KeyError for an unknown name."""
    return PANELS[name](instance)


def everything(instance: Instance) -> dict[str, Any]:
    """Return the header and all panels."""
    return {
        "event_mark": trail.mark(),
        "instance": instance,
        "badge": badges.status(instance),
        "dot": badges.connected(instance),
        "switch": badges.instance_switch(instance),
        "seen": badges.seen(instance),
        "panels": {name: build(instance) for name, build in PANELS.items()},
        "events": trail.recent(instance.orchestrator_id),
    }
