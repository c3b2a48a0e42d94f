"""How many tasks there are, and how many wait for a person: of everybody, without a name."""

import time
from typing import Final

from django.db.models import Count

from orchestrators.models import Approval, Task

Status = Task.Status
PENDING: Final = (Status.PENDING_APPROVAL, Status.ASSIGNED)
OVER_SECONDS: Final = 5.0
_over: tuple[float, int, int] = (0.0, 0, 0)  # until when it holds, how many were over, and how many in all
_newest: dict[str, int] | None = None


def queue() -> dict[str, int]:
    """Return `pending_tasks` (waiting for approval or to be taken), `processing_tasks` and `total_tasks`.

    What is open is counted each time, by its index; what is over, however many those are, every OVER_SECONDS.
    """
    global _newest
    rows = Task.objects.filter(completed_at__isnull=True).order_by().values_list("status")
    found: dict[str, int] = dict(rows.annotate(count=Count("*")))
    _newest = {
        "pending_tasks": sum(found.get(status, 0) for status in PENDING),
        "processing_tasks": found.get(Status.IN_PROGRESS, 0),
        "total_tasks": _total(sum(found.values())),
    }
    return dict(_newest)


def newest() -> dict[str, int] | None:
    """Return what this process counted last, None when it never did."""
    return dict(_newest) if _newest else None


def forget() -> None:
    """Count anew the next time."""
    global _over, _newest
    _over, _newest = (0.0, 0, 0), None


def _total(count_open: int) -> int:
    """Return how many there are with those that are open; one that ends meanwhile does not count as gone."""
    global _over
    until, over, total = _over
    if (now := time.monotonic()) >= until:
        over = Task.objects.filter(completed_at__isnull=False).count()
        total = over + count_open
        _over = now + OVER_SECONDS, over, total
    return max(total, over + count_open)


def waiting(*, most: int) -> int:
    """Return how many approvals wait for a person; `most` when there are more."""
    return len(Approval.objects.filter(status=Approval.Status.PENDING).order_by().values_list("pk")[:most])
