"""Alerts as HTML: badges, the subject with the way to it, and what the page of one shows."""

from typing import Any, Final

from django.db.models import OuterRef, QuerySet, Subquery
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from monitoring.alerts import silences, words
from monitoring.models import Alert, Rule, Silence
from orchestrators.models import Instance
from orgs.admin.base import ago, badge, exact, until

PARTS: Final = 50
SEVERITY: Final = {
    "info": ("blue", "ℹ"), "warning": ("amber", "▲"), "error": ("red", "✖"), "critical": ("critical", "‼"),
}  # fmt: skip
STATUS: Final = {
    "firing": ("red", "●", "Firing"), "acknowledged": ("blue", "◐", "Acknowledged"),
    "resolved": ("green", "✔", "Resolved"),
}  # fmt: skip


def severity(word: str) -> SafeString:
    """Show how bad it is."""
    tone, glyph = SEVERITY[word]
    return badge(tone, glyph, word.capitalize())


def status(row: Alert) -> SafeString:
    """Show where it stands, and whether it is silenced."""
    mark = badge(*STATUS[row.status])
    return format_html("{} {}", mark, badge("gray", "◌", "Silenced")) if row.is_silenced and row.is_open else mark


def subject(row: Alert) -> SafeString:
    """Name what it is about, with the way to it."""
    if not row.organization_id:
        return SafeString("the controller" if row.alert_type != "fleet_offline" else "the installation")
    if not row.orchestrator_id:
        url = reverse("admin:orgs_organization_change", args=[row.organization_id])
        return format_html('<a class="mo-link" href="{}">{}</a>', url, row.organization_id)
    pk = getattr(row, "instance_pk", None)
    if pk is None:
        name = format_html("{}", row.orchestrator_id)
    else:
        url = reverse("admin:orchestrators_instance_change", args=[pk])
        name = format_html('<a class="mo-link" href="{}">{}</a>', url, row.orchestrator_id)
    return format_html('<span class="mo-name">{}<small>{}</small></span>', name, row.organization_id)


def with_instance(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    """Read along which page of an orchestrator each row is about (`instance_pk`)."""
    found = Instance.objects.present().filter(orchestrator_id=OuterRef("orchestrator_id"))
    return rows.annotate(instance_pk=Subquery(found.values("pk")[:1]))


def told(row: Alert) -> str:
    """Say whether the channels were told of it, or why not; with the way to add one where there is none."""
    if row.parent_id and not row.is_share:
        return "part of an incident"
    if row.is_silenced and not row.is_announced:
        return "silenced"
    if row.announced_at is None:
        return "not yet" if row.is_open else "no"
    if row.told_nobody:
        url = reverse("admin:monitoring_channel_add")
        url += "?" + urlencode({"organization": row.organization_id}) if row.organization_id else ""
        return format_html('nobody: no channel<br><a class="mo-link" href="{}">Add one</a>', url)
    return f"{row.announced_at:%H:%M:%S} UTC"


def shown(row: Alert) -> dict[str, Any]:
    """Return an alert as its page shows it."""
    children = with_instance(Alert.objects.filter(parent=row))
    parts = list(children.order_by("status", "-started_at").defer("timeline")[: PARTS + 1])
    covers = silences.covering(row, now=timezone.now())
    return {
        "alert": row,
        "severity": severity(row.severity),
        "status": status(row),
        "facts": _facts(row, is_silenced=bool(covers)),
        "silences": [_silence(silence) for silence in covers],
        "parts": [
            {"row": part, "url": _page(part), "status": status(part), "who": subject(part)} for part in parts[:PARTS]
        ],
        "more_parts": max(0, row.children.count() - PARTS) if len(parts) > PARTS else 0,
        "incident_url": _page(row.parent) if row.parent else "",
        "steps": [{**line, "moment": parse_datetime(line["at"])} for line in reversed(row.timeline)],
    }


def _page(row: Alert) -> str:
    return reverse("admin:monitoring_alert_change", args=[row.pk])


def _silence(row: Silence) -> dict[str, Any]:
    return {
        "row": row,
        "what": {"snooze": "Snoozed", "maintenance": "In maintenance"}.get(row.kind, "Silenced"),
        "until": format_html("{} ({})", exact(row.ends_at), until(row.ends_at, now=timezone.now())),
        "url": reverse("admin:monitoring_silence_change", args=[row.pk]),
        "end_url": reverse("admin:monitoring_silence_end", args=[row.pk]),
    }


def _facts(row: Alert, *, is_silenced: bool) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [
        ("Of", _of(row)),
        ("Since", format_html("{} ({})", ago(row.started_at), exact(row.started_at))),
        ("Last seen", ago(row.last_seen_at)),
        ("Rule", _rule(row)),
        ("Value", _value(row)),
        ("Told", told(row)),
    ]
    if row.acknowledged_at:
        found.append(("Acknowledged", format_html("{} by {}", exact(row.acknowledged_at), row.acknowledged_by)))
    if row.resolved_at:
        by = f"by {row.resolved_by}" if row.resolved_by else "because its cause was gone"
        found.append(("Resolved", format_html("{} {}", exact(row.resolved_at), by)))
    if row.escalate_at and row.status == Alert.Status.FIRING and not is_silenced:
        found.append(("Goes up a level", exact(row.escalate_at)))
    if row.reopened:
        found.append(("Came back", "once" if row.reopened == 1 else f"{row.reopened} times"))
    return [*found, ("Alert id", row.alert_id)]


def _value(row: Alert) -> str:
    limit = "" if row.threshold is None else f" (limit {words.number(row.threshold)})"
    return "–" if row.value is None else f"{words.number(row.value)}{limit}"


def _of(row: Alert) -> SafeString:
    pk = getattr(row, "instance_pk", None)
    if pk is None:
        return subject(row)
    url = reverse("admin:orchestrators_instance_change", args=[pk])
    return format_html('<a class="mo-link" href="{}">{}</a> of {}', url, row.orchestrator_id, row.organization_id)


def _rule(row: Alert) -> Any:
    rules = Rule.objects.filter(rule_key=row.rule_key, organization_id__in=["", row.organization_id])
    rule = rules.order_by("-organization_id").first()
    if rule is None:
        return row.rule_key or "–"
    url = reverse("admin:monitoring_rule_change", args=[rule.pk])
    return format_html('<a class="mo-link" href="{}">{}</a>', url, row.rule_key)
