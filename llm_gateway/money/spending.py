"""Spending: what calls came to over a period, from the hours the ledger keeps, and from its rows at the ragged ends."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Trunc
from django.utils import timezone

from llm_gateway.models import Call, Spending
from llm_gateway.money import books

HOUR: Final = timedelta(hours=1)
RUNNING: Final = timedelta(minutes=1)  # whoever asks until so long ago means now, and took a moment to ask
COLUMNS: Final = ("organization_id", "model", "provider", "key_id")
GRANULARITIES: Final = ("hour", "day", "week", "month")
NUMBERS: Final = 5  # of a Total
Key = tuple[Any, ...]


class Span(Protocol):
    """From `start_at` on, until before `end_at`."""

    @property
    def start_at(self) -> datetime: ...  # noqa: D102
    @property
    def end_at(self) -> datetime: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Total:
    """What calls came to: those that were billed and the others, their tokens, their cost, and what the cache saved."""

    requests: int = 0
    failed: int = 0
    tokens: int = 0
    cost_usd_micros: int = 0
    saved_usd_micros: int = 0

    def __add__(self, other: "Total") -> "Total":
        return Total(
            self.requests + other.requests,
            self.failed + other.failed,
            self.tokens + other.tokens,
            self.cost_usd_micros + other.cost_usd_micros,
            self.saved_usd_micros + other.saved_usd_micros,
        )


def totals(
    *,
    organizations: Collection[str] | None,
    since: datetime,
    until: datetime,
    group_by: Sequence[str] = (),
    granularity: str = "",
) -> dict[Key, Total]:
    """Return what the calls begun from `since` until before `until` came to (`organizations` None: all).

    The keys are tuples of the columns in `group_by` (COLUMNS), and first, with a `granularity`, of when its hour, day,
    week (from Monday) or month began, in UTC. Without either there is one key, the empty tuple, or none.
    """
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    first, last = -(-since.timestamp() // 3600) * 3600, until.timestamp() // 3600 * 3600
    if until >= timezone.now() - RUNNING:
        last = max(last, until.timestamp())  # the hour that runs is counted in its row already
    hours = [datetime.fromtimestamp(moment, UTC) for moment in (first, last)]
    edges, found = [(since, until)], dict[Key, Total]()
    if hours[0] < hours[1]:
        edges = [(since, hours[0]), (hours[1], until)]
        rows = Spending.objects.filter(hour_at__gte=hours[0], hour_at__lt=hours[1])
        _add(found, _rolled(_within(rows, organizations), group_by, granularity))
    for start, end in edges:
        if start < end:
            calls = Call.objects.filter(started_at__gte=start, started_at__lt=end, finished_at__isnull=False)
            _add(found, _single(_within(calls, organizations), group_by, granularity))
    return found


def overview(organizations: Collection[str] | None, period: Span) -> Mapping[str, Mapping[str, int]]:
    """Return {organization id: {"requests", "tokens", "cost_usd_micros"}} of a period, for the overview."""
    found = totals(
        organizations=organizations, since=period.start_at, until=period.end_at, group_by=("organization_id",)
    )
    return {
        key[0]: {
            "requests": total.requests + total.failed,
            "tokens": total.tokens,
            "cost_usd_micros": total.cost_usd_micros,
        }
        for key, total in found.items()
    }


def _within(rows: QuerySet[Any], organizations: Collection[str] | None) -> QuerySet[Any]:
    return rows if organizations is None else rows.filter(organization_id__in=organizations)


def _rolled(rows: QuerySet[Any], group_by: Sequence[str], granularity: str) -> Iterable[tuple[Any, ...]]:
    at = {"at": Trunc("hour_at", granularity, tzinfo=UTC)} if granularity else {}
    grouped = rows.order_by().values(*group_by, **at)
    tokens = Sum("input_tokens") + Sum("output_tokens")
    sums = {
        "billed": Sum("requests"),
        "others": Sum("failed"),
        "used": tokens,
        "cost": Sum("cost_usd_micros"),
        "saved": Sum("saved_usd_micros"),
    }
    found: QuerySet[Any, Any] = grouped.annotate(**sums).values_list(*at, *group_by, *sums)
    return found


def _single(rows: QuerySet[Any], group_by: Sequence[str], granularity: str) -> Iterable[tuple[Any, ...]]:
    """Add calls up one by one, as the hours were."""
    billed = Q(status__in=books.BILLED) | Q(cost_usd_micros__gt=0)
    named = {"asked": Case(When(model="", then=F("requested_model")), default=F("model"))}
    columns = ["asked" if name == "model" else name for name in group_by]
    at = {"at": Trunc("started_at", granularity, tzinfo=UTC)} if granularity else {}
    grouped = rows.order_by().annotate(**named).values(*columns, **at)
    tokens = Sum("input_tokens") + Sum("output_tokens")
    sums = {
        "billed": Count("pk", filter=billed),
        "others": Count("pk", filter=~billed),
        "used": tokens,
        "cost": Sum("cost_usd_micros", default=Value(0)),
        "saved": Sum("saved_usd_micros", default=Value(0)),
    }
    found: QuerySet[Any, Any] = grouped.annotate(**sums).values_list(*at, *columns, *sums)
    return found


def _add(found: dict[Key, Total], rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        if row[-1] is not None:
            found[row[:-NUMBERS]] = found.get(row[:-NUMBERS], Total()) + Total(*row[-NUMBERS:])
