"""What time does to tasks and approvals."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from django.db import transaction

from orchestrators.models import Task
from orchestrators.work import approvals, holding, timeline

AT_ONCE: Final = 200  # in one transaction
ROUNDS: Final = 25  # of each part in one sweep: the clock asks again


def sweep(*, now: datetime) -> dict[str, int]:
    """Give back what nobody renewed, end what took too long or was not approved, note missed targets; count each.

    No fault stops the other parts; they are raised together at the end.
    """
    parts: dict[str, Callable[..., int]] = {
        "timed_out": holding.time_out,
        "given_back": holding.expire,
        "approvals_expired": approvals.expire,
        "approvals_escalated": approvals.escalate,
        "targets_missed": _miss_targets,
    }
    counts: dict[str, int] = {}
    errors: list[Exception] = []
    for name, part in parts.items():
        try:
            counts[name] = _all(part, now=now)
        except Exception as error:  # told below, with the others
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} part{'s' * (len(errors) > 1)} of the tasks' sweep failed", errors)
    return counts


def _all(part: Callable[..., int], *, now: datetime) -> int:
    """Repeat a part while it finds as much as it takes at once."""
    total = 0
    for _ in range(ROUNDS):
        count = part(now=now, limit=AT_ONCE)
        total += count
        if count < AT_ONCE:
            break
    return total


@transaction.atomic
def _miss_targets(*, now: datetime, limit: int) -> int:
    """Note once for each task that it was not over in time."""
    late = Task.objects.filter(completed_at__isnull=True, sla_target__lte=now, sla_missed_at__isnull=True)
    count = 0
    for row in late.order_by("pk")[:limit]:
        if late.filter(pk=row.pk).update(sla_missed_at=now):
            text = f"was to be over by {row.sla_target:%Y-%m-%d %H:%M} UTC"
            timeline.note(row, timeline.Kind.SLA_MISSED, now=now, text=text)
            count += 1
    return count
