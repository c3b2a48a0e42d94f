"""What the page of one task shows: its picture and timeline, its facts, and what may be done about it."""

import json
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orchestrators.admin import task_steps, task_words
from orchestrators.models import Agent, Approval, Instance, Task
from orchestrators.work import approvals, board, counts
from orgs import authentication, keys
from orgs.admin.base import ago, exact, until
from orgs.models import AuditEntry, User

LONGEST: Final = 20_000  # characters of a payload or a result that are shown
MOST_WAITING: Final = 1000  # the badge counts no further
OWN: Final = "The task is your own, and its organization wants somebody else to approve it."


def document(value: Any) -> SafeString:
    """Show JSON indented, as text, and no more of it than a page bears."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    cut = f"\n… {len(text) - LONGEST:,} characters more: ask the API for them" if len(text) > LONGEST else ""
    return format_html('<pre class="mo-json" tabindex="0">{}{}</pre>', text[:LONGEST], cut)


def is_own(task: Task, who: User) -> bool:
    """Whether this person may not approve the task because it is theirs."""
    return task.creator == authentication.caller_id(who) and approvals.forbids_own(task.organization)


def badge_words() -> str:
    """Return what the sidebar says of approvals that wait, "" for none."""
    number = counts.waiting(most=MOST_WAITING)
    return f"{MOST_WAITING - 1}+" if number == MOST_WAITING else str(number or "")


def shown(task: Task, *, who: User) -> dict[str, Any]:
    """Return a task as its page shows it."""
    now, steps = timezone.now(), task_steps.read(task)
    approval: Approval | None = getattr(task, "approval", None)
    is_waiting = approval is not None and approval.status == Approval.Status.PENDING
    phases = task_steps.phases(steps)
    return {
        "task": task,
        "waiting_badge": badge_words(),
        "level": task_words.level(task),
        "status": task_words.status(task),
        "approval": approval if is_waiting else None,
        "own": OWN if is_waiting and is_own(task, who) else "",
        "is_running": task.status == Task.Status.IN_PROGRESS,
        "may_cancel": not task.is_over,
        "may_run_again": task.status in board.AGAIN,
        "bars": task_steps.draw(phases, now=now),
        "whole": task_words.span(((task.completed_at or now) - task.created_at).total_seconds()),
        "steps": task_steps.lines(steps)[::-1],
        "facts": _facts(task, approval, now=now),
        "again": _again(task),
        "payload": document(task.payload),
        "result": document(task.result) if task.result is not None else "",
    }


def _again(task: Task) -> list[dict[str, Any]]:
    """Return the newest tasks that run this one again, as the audit trail knows them."""
    rows = AuditEntry.objects.filter(action="task.run_again", target_type="task", target_id=task.task_id)
    names = [entry.after["task_id"] for entry in rows.order_by("-id")[:5] if entry.after]
    found = Task.objects.filter(task_id__in=names).only("task_id") if names else ()
    return [{"task_id": row.task_id, "url": page(row.pk)} for row in found]


def page(pk: int) -> str:
    """Return the address of a task's page."""
    return reverse("admin:orchestrators_task_change", args=[pk])


def _facts(task: Task, approval: Approval | None, *, now: datetime) -> list[tuple[str, Any]]:
    given = f" (given as {task.given_priority})" if task.given_priority not in ("", task.level) else ""
    found: list[tuple[str, Any]] = [
        ("Organization", task_words.link("orgs_organization", task.organization_id, task.organization_id)),
        ("Agent", _agent(task)),
        ("Priority", f"{task.priority} of 10{given}"),
        ("Attempts", f"{task.attempts} of at most {settings.TASK_MAX_ATTEMPTS}"),
        *_times(task, now=now),
        *_held(task, now=now),
    ]
    if task.source:
        found.append(("Source", task.source))
    found.append(
        ("Created by", format_html('<span title="{}">{}</span>', task.created_by, keys.named(task.created_by)))
    )
    if approval is not None:
        found.append(("Approval", format_html("{} {}", task_words.decision(approval), _decided(approval))))
    if task.metadata:
        found.append(("Metadata", document(task.metadata)))
    return [*found, ("Task id", format_html("<code>{}</code>", task.task_id))]


def _times(task: Task, *, now: datetime) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [("Created", exact(task.created_at))]
    if task.status == Task.Status.ASSIGNED and task.run_after > now:
        found.append(("Tried again", until(task.run_after, now=now)))
    if task.started_at:
        found.append(("First taken", exact(task.started_at)))
    if task.completed_at:
        found.append(("Ended", exact(task.completed_at)))
    if task.sla_target:
        found.append(("To be over by", format_html("{} {}", exact(task.sla_target), _target(task, now=now))))
    if task.timeout_seconds:
        found.append(("Time limit", f"{task_words.span(task.timeout_seconds)} for an attempt"))
    return found


def _target(task: Task, *, now: datetime) -> str:
    assert task.sla_target is not None
    if task.completed_at:
        return "(met)" if task.completed_at <= task.sla_target else "(missed)"
    return f"({until(task.sla_target, now=now)})" if task.sla_target > now else "(late)"


def _held(task: Task, *, now: datetime) -> list[tuple[str, Any]]:
    if not task.holder:
        return []
    found: list[tuple[str, Any]] = [("Held by" if not task.is_over else "Last held by", task.holder)]
    if task.orchestrator_id:
        found.append(("Orchestrator", _orchestrator(task)))
    if task.status == Task.Status.IN_PROGRESS:
        lease = (
            f"until {exact(task.lease_until)}, renewed by progress" if task.lease_until else "none: an agent outside"
        )
        found.append(("Lease", f"number {task.lease}, {lease}" if task.lease_until else lease))
    return found


def _orchestrator(task: Task) -> Any:
    rows = Instance.objects.present().filter(orchestrator_id=task.orchestrator_id)
    pk = rows.values_list("pk", flat=True).first()
    return task_words.link("orchestrators_instance", pk, task.orchestrator_id) if pk else task.orchestrator_id


def _agent(task: Task) -> Any:
    rows = Agent.objects.filter(Q(organization_id=task.organization_id, agent_id=task.assigned_agent))
    pk = rows.values_list("pk", flat=True).first()
    return task_words.link("orchestrators_agent", pk, task.assigned_agent) if pk else task.assigned_agent or "–"


def _decided(approval: Approval) -> SafeString:
    """Say who decided and why, or until when somebody may."""
    if approval.status == Approval.Status.PENDING:
        return format_html("{}, asked {}", _expiry(approval), ago(approval.created_at))
    by = f"by {keys.named(approval.decided_by)}" if approval.decided_by else ""
    why = f": {approval.decision_reason}" if approval.decision_reason else ""
    return format_html("{}{}", by, why)


def _expiry(approval: Approval) -> str:
    if approval.expires_at is None:
        return "without an end"
    return f"cancelled {until(approval.expires_at, now=timezone.now())} unless somebody approves"
