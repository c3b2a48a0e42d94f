"""Retention: rows that served their time are deleted, a bounded batch per statement; audit rows never are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import QuerySet

from orgs import counters, idempotency
from orgs.models import Counter as Refusals
from orgs.models import Event, IdempotencyKey, RefreshToken

BATCH: Final = 1000
GRACE: Final = timedelta(days=1)  # a refresh token that is replayed a little late still ends its sign-in


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows that may go, oldest first along the index of `order`."""

    name: str
    rows: QuerySet[Any]
    order: str


def rules(*, now: datetime) -> list[Rule]:
    """Return what this app lets go."""
    found = [
        Rule("idempotency_keys", IdempotencyKey.objects.filter(created_at__lt=now - idempotency.KEPT), "created_at"),
        Rule("refresh_tokens", RefreshToken.objects.filter(expires_at__lt=now - GRACE), "expires_at"),
        Rule("counters", Refusals.objects.filter(minute__lt=now - counters.KEPT), "minute"),
    ]
    if settings.EVENT_RETENTION_DAYS:
        cutoff = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
        found.append(Rule("events", Event.objects.filter(created_at__lt=cutoff), "created_at"))
    return found


def delete_batch(rule: Rule, *, size: int = BATCH) -> int:
    """Delete the oldest `size` rows of a rule in one short transaction; return how many went.

    The condition is looked at again when they go: a row that came back to life meanwhile stays.
    """
    keys = list(rule.rows.order_by(rule.order).values_list("pk", flat=True)[:size])
    if not keys:
        return 0
    # What refers to a row is deleted or loosened by its key: contents, which may be large, stay in the database.
    _, counts = rule.rows.order_by().filter(pk__in=keys).only("pk").delete()
    return counts.get(rule.rows.model._meta.label, 0)


def count(found: Sequence[Rule]) -> dict[str, int]:
    """Return how many rows each rule would let go now."""
    counted: Counter[str] = Counter()
    for rule in found:
        counted[rule.name] += rule.rows.count()
    return dict(counted)
