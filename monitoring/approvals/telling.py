"""Who is told of approvals: channels that take them, when one is asked for, still waits, or is over.

A word is a delivery, written in the transaction that changes the approval (as alerts have them).
"""

from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Q

from monitoring.alerts import outbox
from monitoring.models import Channel, Severity
from orchestrators.models import Approval, Task, TaskStep

Kind = TaskStep.Kind
ACTIONS: Final = {
    Kind.APPROVAL_REQUESTED: "trigger",
    Kind.ESCALATED: "escalate",
    Kind.APPROVED: "resolve",
    Kind.REJECTED: "resolve",
    Kind.EXPIRED: "resolve",
    Kind.CANCELLED: "resolve",
}
PATH: Final = "/admin/orchestrators/task/{}/change/"
SEVERITIES: Final = {"P0": Severity.CRITICAL, "P1": Severity.ERROR}


def tell(task: Task, kind: Kind) -> None:
    """Write down what channels are to be told of a task's approval; called in the transaction of the change."""
    action = ACTIONS.get(kind)
    approval: Approval | None = getattr(task, "approval", None) if action else None
    if approval is None or action is None:
        return
    taking = Channel.objects.filter(takes_approvals=True, is_enabled=True)
    channels = taking.filter(Q(organization__isnull=True) | Q(organization=task.organization_id))
    outbox.tell(notice(approval, task), action, channels)


def notice(approval: Approval, task: Task) -> dict[str, Any]:
    """Return an approval in the shape of an alert's notice, with what is its own; nothing of the task's payload."""
    return {
        "alert_id": approval.approval_id,
        "dedup_key": f"approval/{approval.approval_id}",
        "organization_id": task.organization_id,
        "orchestrator_id": "",
        "rule_key": "",
        "alert_type": "approval",
        "severity": str(SEVERITIES.get(task.level, Severity.WARNING)),
        "status": str(approval.status),
        "title": f"{task.task_type} ({task.level})",
        "detail": approval.decision_reason or approval.reason,
        "value": None,
        "threshold": None,
        "acknowledged_by": "",
        "escalation_level": int(approval.escalated_at is not None),
        "started_at": _time(approval.created_at),
        "last_seen_at": None,
        "acknowledged_at": None,
        "resolved_at": _time(approval.decided_at),
        "url": f"{settings.PUBLIC_URL}{console(task.pk)}" if settings.PUBLIC_URL else "",
        "approval_id": approval.approval_id,
        "task_id": task.task_id,
        "priority": task.level,
        "created_by": task.created_by,
        "decided_by": approval.decided_by,
        "expires_at": _time(approval.expires_at),
    }


def console(task_pk: int) -> str:
    """Return the path of a task's page in the console; written out, as workers have no views to ask."""
    return PATH.format(task_pk)


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
