"""Leases: of several processes that could do a periodic job, exactly one does it at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from orgs.models import Lease

BEAT: Final = "beat"  # noted by Celery's beat whenever the broker took a task


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that was taken: `ran_at` is when the job last ran to its end (None: never)."""

    name: str
    holder: str
    ran_at: datetime | None


def take(name: str, *, holder: str, seconds: float, min_gap_seconds: float = 0.0, now: datetime) -> Grant | None:
    """Take the lease `name` by one conditional update, or return None when it is held or the job ran just now.

    `min_gap_seconds` keeps two clocks from running one job twice: nothing is granted sooner after the last run.
    """
    Lease.objects.get_or_create(name=name, defaults={"expires_at": now})
    free = Lease.objects.filter(name=name, expires_at__lte=now).filter(
        Q(ran_at__isnull=True) | Q(ran_at__lte=now - timedelta(seconds=min_gap_seconds))
    )
    if not free.update(holder=holder, expires_at=now + timedelta(seconds=seconds)):
        return None
    return Grant(name, holder, Lease.objects.values_list("ran_at", flat=True).get(name=name))


def finish(grant: Grant, *, now: datetime) -> None:
    """Give the lease back and note that the job ran to its end at `now`; nothing when another took it meanwhile."""
    Lease.objects.filter(name=grant.name, holder=grant.holder).update(expires_at=now, ran_at=now)


def note(name: str, *, holder: str, now: datetime) -> None:
    """Note that `holder` did the job `name` at `now`, where nobody competes for it."""
    Lease.objects.update_or_create(name=name, defaults={"holder": holder, "expires_at": now, "ran_at": now})


def last_runs(names: Collection[str]) -> dict[str, tuple[str, datetime]]:
    """Return {name: (holder, when it last ran to its end)} of those jobs that ever did, in one query."""
    rows = Lease.objects.filter(name__in=names, ran_at__isnull=False).values_list("name", "holder", "ran_at")
    return {name: (holder, ran_at) for name, holder, ran_at in rows if ran_at is not None}
