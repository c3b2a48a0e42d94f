"""Leases: of several processes that could do a periodic job, exactly one does it at a time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from orgs.models import Lease


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
