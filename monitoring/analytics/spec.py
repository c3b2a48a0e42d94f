"""What a query asks for: metrics, a span, filters, groups, an aggregation; parsed and checked against the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from monitoring.analytics import catalog
from moolai.errors import AppError, InvalidInput
from orgs.operations import Parameter, is_day

AGGREGATIONS: Final = ("sum", "avg", "min", "max", "count", "p50", "p95", "p99")
DEFAULT_AGGREGATION: Final = "avg"
# The buckets of time, their seconds, and the longest span that may be cut into them.
BUCKETS: Final = {
    "minute": (60, timedelta(hours=24)),
    "hour": (3600, timedelta(days=31)),
    "day": (86_400, timedelta(days=731)),
}
MAX_SPAN: Final = timedelta(days=731)
MAX_METRICS, MAX_VALUES, MAX_LENGTH = 40, 100, 200
MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
FIELDS: Final = ("metrics", "time_range", "filters", "group_by", "aggregation", "limit")
ALIASES: Final = {
    "organization_id": "organization", "organization_ids": "organization", "orchestrator_id": "orchestrator",
    "orchestrator_ids": "orchestrator",
}  # fmt: skip
_MOMENT: Final = Parameter(kind="date-time")


@dataclass(frozen=True, slots=True)
class Spec:
    """A query that is sound: every name in it is known, every span and number within bounds.

    `bucket` is one of BUCKETS or None, `dimensions` the rest of `group_by`; `limit` None means all rows.
    """

    metrics: tuple[str, ...]
    start_at: datetime
    end_at: datetime
    filters: Mapping[str, tuple[str, ...]]
    bucket: str | None = None
    dimensions: tuple[str, ...] = ()
    aggregation: str = DEFAULT_AGGREGATION
    limit: int | None = DEFAULT_LIMIT

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Return the query that a body of `POST query` asks for; raises `unknown_field` and `invalid_field`.

        A refusal names the choices. `group_by` is a name or a list of them, a filter a value or a list of them.
        """
        if unknown := sorted(set(data) - set(FIELDS)):
            detail = f"Accepted fields: {', '.join(FIELDS)}."
            raise AppError("unknown_field", detail, fields=dict.fromkeys(map(str, unknown), "unknown field"))
        metrics = _metrics(data.get("metrics"))
        allowed = _dimensions(metrics)
        buckets, dimensions = _groups(data.get("group_by"), allowed)
        start_at, end_at = _span(data.get("time_range"), buckets)
        return cls(
            metrics=metrics,
            start_at=start_at,
            end_at=end_at,
            filters=_filters(data.get("filters"), allowed),
            bucket=buckets[0] if buckets else None,
            dimensions=dimensions,
            aggregation=_choice("aggregation", data.get("aggregation", DEFAULT_AGGREGATION), AGGREGATIONS),
            limit=_limit(data.get("limit", DEFAULT_LIMIT)),
        )

    def unlimited(self) -> Self:
        """Return the same query for all rows, as an export wants them."""
        return replace(self, limit=None)

    def one_more(self) -> Self:
        """Return the same query for a row more: it says whether there are others."""
        return replace(self, limit=self.limit and self.limit + 1)

    def told(self) -> dict[str, Any]:
        """Return the query as JSON that `parse` reads."""
        groups = [*([self.bucket] if self.bucket else []), *self.dimensions]
        return {
            "metrics": list(self.metrics),
            "time_range": {"start": _written(self.start_at), "end": _written(self.end_at)},
            "filters": {name: list(values) for name, values in self.filters.items()},
            "group_by": groups,
            "aggregation": self.aggregation,
            "limit": self.limit or MAX_LIMIT,
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of every row, in order: `timestamp` where it is by time, the dimensions, the metrics."""
        return (*(("timestamp",) if self.bucket else ()), *self.dimensions, *self.metrics)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refused(field: str, text: str) -> InvalidInput:
    return InvalidInput(fields={field: text})


def _choice(field: str, value: Any, choices: Any) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise _refused(field, f"There is no {str(value)[:50]!r}. Choose from: {', '.join(choices)}.")


def _texts(field: str, value: Any, *, most: int) -> list[str]:
    """Return a text or a list of texts as a list, each once."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(entry, str) and len(entry) <= MAX_LENGTH for entry in found):
        raise _refused(field, f"Send a text or a list of texts of at most {MAX_LENGTH} characters.")
    if len(found) > most:
        raise _refused(field, f"Send at most {most}.")
    return list(dict.fromkeys(found))


def _metrics(value: Any) -> tuple[str, ...]:
    found = _texts("metrics", value, most=MAX_METRICS)
    if not found:
        raise _refused("metrics", f"Name at least one of: {', '.join(catalog.metrics())}.")
    return tuple(_choice("metrics", name, catalog.metrics()) for name in found)


def _dimensions(metrics: tuple[str, ...]) -> list[str]:
    """Return the dimensions that all metrics have."""
    known = [catalog.metrics()[name].dimensions for name in metrics]
    return [name for name in known[0] if all(name in other for other in known)]


def _groups(value: Any, allowed: list[str]) -> tuple[list[str], tuple[str, ...]]:
    names = [ALIASES.get(name, name) for name in _texts("group_by", [] if value is None else value, most=5)]
    for name in names:
        _choice("group_by", name, [*BUCKETS, *allowed])
    buckets = [name for name in names if name in BUCKETS]
    if len(buckets) > 1:
        raise _refused("group_by", f"Only one of {', '.join(BUCKETS)}.")
    return buckets, tuple(dict.fromkeys(name for name in names if name not in BUCKETS))


def _span(value: Any, buckets: list[str]) -> tuple[datetime, datetime]:
    if not isinstance(value, Mapping) or set(value) != {"start", "end"}:
        raise _refused("time_range", 'Send {"start": …, "end": …}.')
    start_at, end_at = (_moment(f"time_range.{name}", value[name]) for name in ("start", "end"))
    if is_day(value["end"]):
        end_at += timedelta(days=1)
    if start_at >= end_at:
        raise _refused("time_range", "start must lie before end.")
    most = BUCKETS[buckets[0]][1] if buckets else MAX_SPAN
    if end_at - start_at > most:
        by = f" by {buckets[0]}" if buckets else ""
        raise _refused("time_range", f"At most {most // timedelta(hours=1)} hours{by}.")
    return start_at, end_at


def _moment(field: str, value: Any) -> datetime:
    try:
        if isinstance(value, str) and len(value) <= MAX_LENGTH:
            moment: datetime = _MOMENT.read(field, value)
            return moment.astimezone(UTC)
    except AppError as problem:
        raise _refused(field, problem.detail) from None
    raise _refused(field, "Send a time in ISO 8601, such as 2026-11-21T12:00:00Z.")


def _filters(value: Any, allowed: list[str]) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused("filters", f"Send an object. Its keys: {', '.join(allowed)}.")
    found: dict[str, tuple[str, ...]] = {}
    for key, wanted in value.items():
        name = _choice("filters", ALIASES.get(str(key), str(key)), allowed)
        if name in found:
            raise _refused(f"filters.{key}", f"{name} stands there already, by its other name.")
        found[name] = tuple(_texts(f"filters.{name}", wanted, most=MAX_VALUES))
    return found


def _limit(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LIMIT:
        raise _refused("limit", f"A whole number from 1 to {MAX_LIMIT}.")
    return value
