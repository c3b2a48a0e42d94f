"""Services: how what workflows need is, in truth: providers by their newest requests, the queue, the workers."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Min, Q

from llm_gateway.models import Attempt, WorkflowRun
from llm_gateway.plane import catalog, planes
from llm_gateway.plane.catalog import Source
from orchestrators.models import Task
from orgs.models import Organization

SPAN: Final = timedelta(minutes=15)
MOST: Final = 5_000
OURS: Final = ("client_left", "interrupted")
ILL, WEAK = 0.5, 0.05
_workers: Callable[[datetime], dict[str, Any]] | None = None


def install(workers: Callable[[datetime], dict[str, Any]]) -> None:
    """Name what says how the workers are: {"status", "age_seconds"}; called once by `moolai/wiring.py`."""
    global _workers
    _workers = workers


def health(organization: Organization, *, now: datetime) -> dict[str, Any]:
    """Return the state of an organization's providers, of the queue and of the workers, and the worst of them."""
    providers = _providers(organization, now=now)
    workers = _workers(now) if _workers is not None else {"status": "unknown", "age_seconds": None}
    words = {one["status"] for one in providers}
    is_served = bool(words - {"unhealthy"})
    status = "healthy" if words <= {"healthy", "unused"} and workers["status"] == "running" else "degraded"
    return {
        "status": status if is_served else "unhealthy",
        "providers": providers,
        "queue": _queue(organization, now=now),
        "worker": workers,
    }


def _providers(organization: Organization, *, now: datetime) -> list[dict[str, Any]]:
    rows = Attempt.objects.filter(organization_id=organization.pk, started_at__gte=now - SPAN).exclude(error__in=OURS)
    counted: dict[str, list[int]] = {}
    for provider, error in rows.order_by("-pk").values_list("provider", "error")[:MOST]:
        counts = counted.setdefault(provider, [0, 0])
        counts[0] += 1
        counts[1] += bool(error)
    view = catalog.read().view(organization.pk)
    return [_provider(source, *counted.get(source.name, [0, 0])) for source in view.sources]


def _provider(source: Source, requests: int, failed: int) -> dict[str, Any]:
    plane = planes.running()
    states = set(plane.breakers.states(source.key).values()) if plane is not None else set()
    ratio = failed / requests if requests else 0.0
    word = "unused" if not requests else "unhealthy" if ratio >= ILL else "degraded" if ratio >= WEAK else "healthy"
    if states:
        word = "unhealthy" if "open" in states else "degraded"
    breaker = "open" if "open" in states else "half_open" if states else "closed"
    return {
        "name": source.name, "dialect": source.dialect, "status": word, "breaker": breaker, "requests": requests,
        "failed": failed,
    }  # fmt: skip


def _queue(organization: Organization, *, now: datetime) -> dict[str, Any]:
    rows = WorkflowRun.objects.filter(organization=organization, completed_at__isnull=True)
    waiting = Q(task__status=Task.Status.ASSIGNED)
    found = rows.aggregate(
        waiting=Count("pk", filter=waiting),
        running=Count("pk", filter=Q(task__status=Task.Status.IN_PROGRESS)),
        oldest=Min("created_at", filter=waiting),
    )
    oldest = found["oldest"]
    return {
        "waiting": found["waiting"],
        "running": found["running"],
        "oldest_waiting_seconds": None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 1),
    }
