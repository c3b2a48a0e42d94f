"""Collecting: a row of what this host measures now, on the clock or on demand, and how that goes."""

import logging
import time
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Max, Sum
from django.utils import timezone

from monitoring.metrics import collectors, storage
from monitoring.models import NUMBERS, Collection, SystemMetric
from orchestrators.protocol import iso
from orgs import leases

logger = logging.getLogger(__name__)
CLOCK: Final = "scheduler"
APART_SECONDS: Final = 0.25  # between the two readings of a process that never read its counters, or long ago
LEASE_SECONDS: Final = 60
MIN_GAP: Final = 0.8  # of the interval: two beats make one row
LATE_AFTER: Final = 2.0  # intervals
MAX_ERROR: Final = 500


def collect(organization_id: str, *, collected_by: str) -> SystemMetric:
    """Measure this host now, store the row for the organization, and return it; the status says what became of it.

    Raises DatabaseError when it cannot be stored.
    """
    started, at = time.perf_counter(), timezone.now()
    try:
        row = _measured(organization_id, collected_by=collected_by, started=started)
        storage.insert([row])
    except Exception as error:
        _note(organization_id, at=at, collected_by=collected_by, error=error)
        raise
    _note(organization_id, at=at, collected_by=collected_by)
    return row


def tick(*, holder: str, now: datetime) -> SystemMetric | None:
    """Do the clock's run, for DEFAULT_ORGANIZATION_ID; None when another process does or did it just now.

    Nothing without AUTO_COLLECT, too: beat keeps its entry of a time when it was on.
    """
    if not settings.AUTO_COLLECT:
        return None
    gap = settings.METRICS_COLLECTION_INTERVAL * MIN_GAP
    grant = leases.take("metrics", holder=holder, seconds=LEASE_SECONDS, min_gap_seconds=gap, now=now)
    if grant is None:
        return None
    try:
        return collect(settings.DEFAULT_ORGANIZATION_ID, collected_by=CLOCK)
    finally:
        leases.finish(grant, now=now)


def status(organization_id: str | None, *, now: datetime | None = None) -> dict[str, Any]:
    """Return how collecting goes for an organization (None: for all of them together).

    `schedule` is the clock's: `enabled`, `interval_seconds`, `organization_id` (None: another's, and no word of whose);
    `last_run` a moment; `lag_seconds` how long the clock's next run is overdue (None: it has none to do here);
    `is_late` whether that is more than one run; `records`, `failures` and `missed` are counts; `last_error` a text,
    "" when there never was one.
    """
    now, rows = now or timezone.now(), Collection.objects.all()
    is_theirs = organization_id in (None, settings.DEFAULT_ORGANIZATION_ID)
    is_ours = settings.AUTO_COLLECT and is_theirs
    if organization_id is not None:
        rows = rows.filter(pk=organization_id)
    found = rows.aggregate(
        last_run=Max("last_run_at"), records=Sum("records"), failures=Sum("failures"), missed=Sum("missed")
    )
    failed = rows.filter(last_error_at__isnull=False).order_by("-last_error_at").first()
    lag = _lag(now) if is_ours else None
    return {
        "schedule": {
            "enabled": is_ours,
            "interval_seconds": settings.METRICS_COLLECTION_INTERVAL,
            "organization_id": settings.DEFAULT_ORGANIZATION_ID if is_theirs else None,
        },
        "last_run": iso(found["last_run"]) if found["last_run"] else None,
        "lag_seconds": lag,
        "is_late": lag is not None and lag > settings.METRICS_COLLECTION_INTERVAL * (LATE_AFTER - 1),
        "records": found["records"] or 0,
        "failures": found["failures"] or 0,
        "missed": found["missed"] or 0,
        "last_error": failed.last_error if failed else "",
        "last_error_at": iso(failed.last_error_at) if failed and failed.last_error_at else None,
    }


def _lag(now: datetime) -> float | None:
    """Return how many seconds the clock's next run is overdue; None before the first one."""
    last = Collection.objects.filter(pk=settings.DEFAULT_ORGANIZATION_ID).values_list("scheduled_at", flat=True).first()
    if last is None:
        return None
    return max(0.0, round((now - last).total_seconds() - settings.METRICS_COLLECTION_INTERVAL, 1))


def _measured(organization_id: str, *, collected_by: str, started: float) -> SystemMetric:
    if not collectors.are_warm():
        collectors.read_all()
        time.sleep(APART_SECONDS)
    values = collectors.read_all()
    row = SystemMetric(
        metric_id=uuid.uuid4().hex,
        organization_id=organization_id,
        timestamp=timezone.now(),
        collected_by=collected_by,
        custom={name: value for name, value in values.items() if name not in NUMBERS and value is not None},
        **{name: value for name, value in values.items() if name in NUMBERS},
    )
    row.collection_duration_ms = (time.perf_counter() - started) * 1000
    return row


def _note(organization_id: str, *, at: datetime, collected_by: str, error: Exception | None = None) -> None:
    """Write down how a run went; a database that cannot take even this is logged."""
    changes: dict[str, Any] = {"last_run_at": at}
    if error is None:
        changes["records"] = F("records") + 1
    else:
        text = f"{type(error).__name__}: {error}"[:MAX_ERROR]
        changes |= {"failures": F("failures") + 1, "last_error": text, "last_error_at": at}
    try:
        with transaction.atomic():
            Collection.objects.get_or_create(pk=organization_id)
            row = Collection.objects.select_for_update().get(pk=organization_id)
            if collected_by == CLOCK:
                changes |= {"scheduled_at": at, "missed": F("missed") + _missed(row.scheduled_at, at)}
            Collection.objects.filter(pk=organization_id).update(**changes)
    except DatabaseError:
        logger.warning("the run of %s could not be noted: the database does not answer", organization_id)


def _missed(before: datetime | None, at: datetime) -> int:
    """Return how many runs the clock left out between two."""
    interval = timedelta(seconds=settings.METRICS_COLLECTION_INTERVAL)
    return max(0, round((at - before) / interval) - 1) if before else 0
