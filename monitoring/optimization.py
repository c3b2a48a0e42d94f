"""Recommendations for an installation or an organization: each comes from measurements, and names them. Reads rows."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitoring.metrics import calls, levels, series, statistics

MIN_SAMPLES: Final = 10  # of fewer nothing follows
MIN_CALLS: Final = 20
SLOW_MS: Final = (1000.0, 3000.0)
ERRORS: Final = (0.01, 0.05)
IDLE_PERCENT: Final = {"cpu_usage_percent": 20.0, "memory_percent": 40.0}  # 95th percentiles
FULL_DAYS: Final = 14
TREND: Final = timedelta(days=7)
DAY_SECONDS: Final = 86_400
Statistics = Mapping[str, Mapping[str, Any]]  # by column
ADVICE: Final = {
    "cpu": "Add processors, or move orchestrators to another host.",
    "memory": "Add memory, or look for what grows.",
    "disk": "Free space, shorten METRICS_RETENTION_DAYS or MESSAGE_RETENTION_DAYS, or enlarge the disk.",
    "database": "Look for slow statements, and whether the database shares its disk or processors.",
    "redis": "Look at Redis' load and at the network to it.",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured: `value` of a statistic over so many samples or calls, and what it is compared with."""

    metric: str
    statistic: str
    value: float
    unit: str
    threshold: float
    sample_count: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do, how urgent it is (info, warning, critical), and the measurement that led to it."""

    component: str
    severity: str
    title: str
    detail: str
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Span:
    """Whose measurements (None: all), and of when."""

    organizations: Collection[str] | None
    since: datetime
    until: datetime

    def statistics(self, columns: list[str]) -> dict[str, dict[str, Any]]:
        """Return the statistics of these columns."""
        return statistics.summarize(
            organizations=self.organizations, columns=columns, since=self.since, until=self.until, now=self.until
        )

    def measurement(
        self, metric: str, statistic: str, *, value: float, unit: str, threshold: float, count: int
    ) -> Measurement:
        """Return a measurement of this span."""
        return Measurement(metric, statistic, value, unit, threshold, count, self.since, self.until)


def recommend(*, organizations: Collection[str] | None, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return the recommendations that the measurements of these organizations give reason for, most urgent first."""
    span = Span(organizations, since, until)
    columns = [part.column for part in levels.PARTS if part.warning is not None]
    measured = span.statistics(list(dict.fromkeys([*columns, *IDLE_PERCENT])))
    found = [*_busy(span, measured), *_idle(span, measured), *_filling(span), *_routes(span)]
    order = ("critical", "warning", "info")
    return [asdict(advice) for advice in sorted(found, key=lambda advice: order.index(advice.severity))]


def _busy(span: Span, found: Statistics) -> Iterator[Recommendation]:
    """Look for parts whose 95th percentile is above a threshold."""
    for part in (part for part in levels.PARTS if part.warning is not None):
        numbers = found[part.column]
        level = part.level(numbers["p95"])
        if numbers["sample_count"] < MIN_SAMPLES or level not in (levels.WARNING, levels.CRITICAL):
            continue
        threshold = part.critical if level == levels.CRITICAL else part.warning
        assert threshold is not None
        title = f"{part.name}: {numbers['p95']:.1f} {part.unit} or more in 5 % of the samples"
        measured = span.measurement(
            part.column, "p95", value=numbers["p95"], unit=part.unit, threshold=threshold, count=numbers["sample_count"]
        )
        yield Recommendation(part.name, level, title, ADVICE[part.name], measured)


def _idle(span: Span, found: Statistics) -> Iterator[Recommendation]:
    """Look for a machine that could be smaller."""
    if any(
        found[name]["sample_count"] < MIN_SAMPLES or found[name]["p95"] >= most for name, most in IDLE_PERCENT.items()
    ):
        return
    for name, most in IDLE_PERCENT.items():
        component = _part_of(name)
        measured = span.measurement(
            name, "p95", value=found[name]["p95"], unit="percent", threshold=most, count=found[name]["sample_count"]
        )
        title = f"{component}: below {found[name]['p95']:.1f} percent in 95 % of the samples"
        yield Recommendation(component, "info", title, "A smaller machine would do.", measured)


def _part_of(column: str) -> str:
    """Return the part that a column is of."""
    return next(part.name for part in levels.PARTS if part.column == column)


def _filling(span: Span) -> Iterator[Recommendation]:
    """Look for a disk that is full within two weeks, if it goes on as in the last one (least squares)."""
    since = span.until - TREND
    found = series.read(
        organizations=span.organizations, columns=["storage_percent"], since=since, until=span.until, now=span.until
    )
    points = [(float(at), largest) for at, _, _, largest in found.columns["storage_percent"]]
    slope = _slope(points)
    if len(points) < MIN_SAMPLES or slope <= 0:
        return
    days = (100.0 - points[-1][1]) / (slope * DAY_SECONDS)
    if days < FULL_DAYS:
        measured = Measurement(
            "storage_percent", "days_until_full", days, "days", FULL_DAYS, len(points), since, span.until
        )
        title = f"disk: full in {days:.1f} days at the pace of the last week"
        yield Recommendation("disk", "critical" if days < 3 else "warning", title, ADVICE["disk"], measured)


def _slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the straight line through the points, by least squares; 0 of less than two moments."""
    if not points:
        return 0.0
    count = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def _routes(span: Span) -> Iterator[Recommendation]:
    """Look for routes that are slow, or fail on our side."""
    whose: dict[str, Any] = {
        "organizations": span.organizations,
        "since": span.since,
        "until": span.until,
        "now": span.until,
    }
    found = calls.counted(**whose)
    # Histograms are read of those routes alone of which at least one call was slow.
    slow = {route for (_, route), numbers in found.items() if numbers.max_ms >= SLOW_MS[0]}
    measured = calls.by_route(**whose, routes=slow) if slow else {}
    for (method, route), numbers in sorted(found.items()):
        if numbers.count < MIN_CALLS:
            continue
        rate, p95 = numbers.error_rate or 0.0, measured.get((method, route), numbers).quantile(0.95) or 0.0
        name = f"{method} {route}"
        if rate >= ERRORS[0]:
            detail = "Look for these calls in the log, by their request_id."
            yield _route(span, name, "error_rate", rate, ERRORS, "ratio", numbers.count, detail)
        if p95 >= SLOW_MS[0]:
            detail = "Ask for smaller pages or a shorter span, and look at the database's latency at that time."
            yield _route(span, name, "p95_ms", p95, SLOW_MS, "ms", numbers.count, detail)


def _route(
    span: Span,
    name: str,
    statistic: str,
    value: float,
    thresholds: tuple[float, float],
    unit: str,
    count: int,
    detail: str,
) -> Recommendation:
    is_critical = value >= thresholds[1]
    measured = span.measurement(name, statistic, value=value, unit=unit, threshold=thresholds[is_critical], count=count)
    said = f"{value:.1%} of the calls fail" if unit == "ratio" else f"{value:.0f} ms or more in 5 % of the calls"
    return Recommendation("api", "critical" if is_critical else "warning", f"{name}: {said}", detail, measured)
