"""The probes of our own API: how many of its calls fail and how long they take, of what all processes answered.

A call counts as failed when it is our fault (5xx). Left out are what nobody waits for (probes, scrapes, files, paths
that do not exist) and refusals at the door (401, 429), which a flood could hide failures behind; for the time a call
takes also other refusals, and calls that last by nature.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from monitoring.alerts import engine
from monitoring.alerts.probes import CONTROLLER, Moment, Reading, Source, Subject
from monitoring.metrics import histogram, routes
from monitoring.metrics.call_spans import MINUTE
from monitoring.models import RequestMetric

WINDOW: Final = timedelta(minutes=5)
FEWEST_CALLS: Final = 100  # for a percent to mean anything; or
FEWEST_FAILED: Final = 5
FEWEST_TIMED: Final = 20
QUANTILE: Final = 0.95
UNASKED: Final = frozenset(
    {"/health", "/healthz", "/readyz", "/metrics", "/api/v1/internal/health", routes.STATIC, routes.UNMATCHED}
)
LASTING: Final = ("/api/v1/stream",)
LASTING_ENDS: Final = ("/export", "/export/metrics", "/download", "/test", "/collect/immediate")


@dataclass(slots=True)
class Traffic:
    """What was answered for somebody within the window, and where the failures and the time are."""

    calls: int = 0
    failed: int = 0
    timed: histogram.Counts = field(default_factory=dict)
    max_ms: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)

    def add(self, row: RequestMetric) -> None:
        """Add a row."""
        route = f"{row.method} {row.route}"
        self.calls += row.count - row.unauthenticated - row.rate_limited
        if row.status_class == "5xx":
            self.failed += row.count
            self.failures[route] += row.count
        if row.status_class != "4xx" and not is_lasting(row.route):
            histogram.merge(self.timed, {int(index): number for index, number in row.buckets.items()})
            self.max_ms = max(self.max_ms, row.max_ms)
            self.times[route] += int(row.sum_ms)

    def failing(self) -> Reading | None:
        """Return the percent that failed, None when there were too few calls to say."""
        if self.calls < FEWEST_CALLS and self.failed < FEWEST_FAILED:
            return None
        worst = f", most often {_most(self.failures)}" if self.failed else ""
        return Reading(100 * self.failed / self.calls, f"{self.failed} of {self.calls} calls failed{worst}.")

    def slowness(self) -> Reading | None:
        """Return the milliseconds within which 95 % were answered, None when there were too few calls to say."""
        number = sum(self.timed.values())
        value = histogram.quantile(self.timed, QUANTILE, high=self.max_ms) if number >= FEWEST_TIMED else None
        if value is None:
            return None
        detail = f"One of 20 calls takes longer than {value:.0f} ms, of {number}; most time goes into "
        return Reading(value, f"{detail}{_most(self.times)}.")


def is_lasting(route: str) -> bool:
    """Whether calls of a route last by nature: streams, downloads, what asks somebody else."""
    return route.startswith(LASTING) or route.rstrip("/").endswith(LASTING_ENDS)


def error_rate(moment: Moment) -> dict[Subject, Reading]:
    """Return the percent of calls that failed, of all and of each organization's."""
    return {subject: found for subject, traffic in _traffic(moment).items() if (found := traffic.failing())}


def response_time(moment: Moment) -> dict[Subject, Reading]:
    """Return the milliseconds within which 95 % of the calls were answered, of all and of each organization's."""
    return {subject: found for subject, traffic in _traffic(moment).items() if (found := traffic.slowness())}


def _most(found: Counter[str]) -> str:
    return found.most_common(1)[0][0]


def _traffic(moment: Moment) -> Mapping[Subject, Traffic]:
    """Read the minutes of the window that began after the last pause: what hung through it says nothing."""
    if "traffic" not in moment.cache:
        found: dict[Subject, Traffic] = defaultdict(Traffic)
        settled_at = datetime.fromtimestamp(engine.settled_at(moment), UTC)
        since = max(moment.now - WINDOW, settled_at)
        rows = RequestMetric.objects.filter(span_seconds=MINUTE, minute_at__gte=since, minute_at__lte=moment.now)
        for row in rows.exclude(route__in=UNASKED).order_by().iterator(chunk_size=2000):
            found[CONTROLLER].add(row)
            if row.organization_id:
                found[row.organization_id, ""].add(row)
        moment.cache["traffic"] = dict(found)
    return cast(Mapping[Subject, Traffic], moment.cache["traffic"])


SOURCES: Final = {
    "error_rate_percent": Source(error_rate),
    "response_time_ms": Source(response_time),
}
