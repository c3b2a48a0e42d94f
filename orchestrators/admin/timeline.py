"""What the page of a message shows: what happened to it, step by step, and what may be done about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orchestrators.admin import badges
from orchestrators.messages import outbox
from orchestrators.models import Message
from orgs.admin.base import ago, exact
from orgs.admin.trail import pretty
from orgs.models import AuditEntry

Status = Message.Status
FINISHED: Final = (Status.DELIVERED, Status.FAILED, Status.EXPIRED)
MAX_BY_HAND: Final = 20
# What a person made of it → how its line looks, and how it begins.
BY_HAND: Final = {
    Status.PENDING.value: ("replay", "blue", "Queued anew"),
    Status.FAILED.value: ("error", "red", "Given up"),
    Status.EXPIRED.value: ("timer_off", "gray", "Declared expired"),
    Status.DELIVERED.value: ("mark_email_read", "green", "Declared delivered"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline, with its icon (Material Symbols) and tone."""

    icon: str
    tone: str
    text: str
    when: SafeString


def way(row: Message) -> str:
    """Show the direction."""
    return "↓ to it" if row.direction == Message.Direction.OUTBOUND else "↑ from it"


def orchestrator_link(row: Message) -> SafeString:
    """Show the orchestrator, with the way to it."""
    url = reverse("admin:orchestrators_instance_change", args=[quote(row.orchestrator.pk)])
    return format_html('<a class="mo-link" href="{}">{}</a>', url, row.orchestrator_id)


def steps(row: Message) -> list[Step]:
    """Return what happened to the message, and what will happen next."""
    if row.direction == Message.Direction.INBOUND:
        return [_step("inbox", "green", "Received, stored and acknowledged", row.created_at)]
    by = f" by {row.created_by}" if row.created_by else ""
    found = [_step("outbox", "gray", f"Queued{by}", row.created_at), *_by_hand(row)]
    if row.attempts and row.sent_at:
        times = "Sent" if row.attempts == 1 else f"Sent {row.attempts} times, the last time"
        found.append(_step("send", "blue", times, row.sent_at))
    if row.status == Status.PENDING:
        found.append(Step("schedule", "gray", "Waits until the orchestrator is connected", SafeString("")))
    if row.status == Status.SENT and row.next_attempt_at:
        found.append(Step("schedule", "gray", "Not acknowledged yet; sent again at", _at(row.next_attempt_at)))
    if row.status in (Status.PENDING, Status.SENT) and row.expires_at:
        found.append(Step("timer", "gray", "Given up at", _at(row.expires_at)))
    if row.status == Status.DELIVERED:
        found.append(_step("mark_email_read", "green", "Delivered", row.finished_at))
    if row.status == Status.FAILED:
        found.append(_step("error", "red", f"Failed: {row.error}" if row.error else "Failed", row.finished_at))
    if row.status == Status.EXPIRED:
        found.append(_step("timer_off", "gray", "Expired before it was delivered", row.finished_at))
    return found


def _by_hand(row: Message) -> list[Step]:
    """Return what people did to it, oldest first; what it is now because of that is a line of its own."""
    rows = AuditEntry.objects.filter(action="message.status", target_type="message", target_id=row.message_id)
    done = list(rows.filter(organization_id=row.orchestrator.organization_id).order_by("-id")[:MAX_BY_HAND])[::-1]
    if done and row.status in FINISHED and (done[-1].after or {}).get("status") == row.status:
        done.pop()
    found = []
    for entry in done:
        icon, tone, words = BY_HAND[(entry.after or {}).get("status", "")]
        error = (entry.after or {}).get("error", "")
        text = f"{words} by {entry.actor}"
        found.append(_step(icon, tone, f"{text}: {error}" if error else text, entry.created_at))
    return found


def _step(icon: str, tone: str, text: str, moment: datetime | None) -> Step:
    return Step(icon, tone, text, ago(moment) if moment else SafeString(""))


def _at(moment: datetime) -> SafeString:
    return format_html('<span class="mo-when">{}</span>', exact(moment))


def may(row: Message, status: Status) -> bool:
    """Whether the state machine lets a person move it to `status`."""
    return row.direction == Message.Direction.OUTBOUND and row.status in outbox.BY_HAND[status]


def everything(row: Message) -> dict[str, Any]:
    """Return what the page shows."""
    facts: list[tuple[str, Any]] = [
        ("Orchestrator", orchestrator_link(row)),
        ("Organization", row.orchestrator.organization_id),
        ("Way", way(row)),
        ("Type", row.message_type),
        ("Message id", row.message_id),
        ("Created", exact(row.created_at)),
    ]
    return {
        "message": row,
        "badge": badges.message(row),
        "steps": steps(row),
        "facts": facts,
        "content": pretty(row.message_content),
        "result": pretty(row.result) if row.result is not None else "",
        "may_retry": may(row, Status.PENDING),
        "may_cancel": may(row, Status.FAILED),
    }
