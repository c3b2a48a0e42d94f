"""Trends: straight lines through whole days, told where they exceed their own error.

With n days at x_i = 0, 1, 2, … and values y_i: b = S_xy / S_xx, the least-squares slope, and
s_b = sqrt(sum of squared residuals / (n - 2) / S_xx), its standard error. A trend is told when n >= 6,
|b| > t s_b with Student's t of n - 2 degrees of freedom for 99 % (two-sided), and the line moves over the days by at
least a twentieth of the mean and by what matters for the subject. Days without a value are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import sqrt
from typing import Final

from monitoring.analytics.insights import tracks
from monitoring.analytics.insights.finding import INFO, WARNING, Finding, Looked, written
from monitoring.analytics.insights.tracks import DAY, Track

SPAN: Final = timedelta(days=14)  # looked at, at least
LEAST_DAYS: Final = 6
LEAST_SHARE: Final = 0.05
# Student's t, two-sided, 99 %, by degrees of freedom; those between take the one before, which is stricter.
T99: Final = {
    4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499, 8: 3.355, 9: 3.250, 10: 3.169, 12: 3.055, 14: 2.977, 16: 2.921, 20: 2.845,
    25: 2.787, 30: 2.750, 60: 2.660, 120: 2.617,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line through days: value at the first day, slope per day with its error, how many days, their mean."""

    start: float
    slope: float
    error: float
    days: int
    mean: float
    span: int

    @property
    def end(self) -> float:
        """The line's value at the last day."""
        return self.start + self.slope * self.span

    @property
    def t(self) -> float:
        """How many errors a slope must exceed."""
        return next(T99[freedom] for freedom in sorted(T99, reverse=True) if freedom <= self.days - 2)


def fit(values: Mapping[int, float]) -> Line | None:
    """Return the line through values by day (epoch seconds); None of fewer than LEAST_DAYS."""
    if len(values) < LEAST_DAYS:
        return None
    first = min(values)
    xs, ys = [(at - first) / DAY for at in values], list(values.values())
    middle, mean = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle) ** 2 for x in xs)
    slope = sum((x - middle) * (y - mean) for x, y in zip(xs, ys, strict=True)) / spread
    start = mean - slope * middle
    residuals = sum((y - start - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    return Line(start, slope, sqrt(residuals / (len(xs) - 2) / spread), len(xs), mean, round(max(xs)))


def find(looked: Looked) -> list[Finding]:
    """Return the trends of the period, or of the fourteen days before its end where it is shorter."""
    window = replace(looked, since=min(looked.since, looked.until - SPAN))
    return [finding for track in tracks.read(window, step=DAY) if (finding := of(track)) is not None]


def of(track: Track) -> Finding | None:
    """Return the trend of a track of days, None where there is none to tell."""
    line, subject = fit(track.values), track.subject
    if line is None or abs(line.slope) <= line.t * line.error:
        return None
    moved = abs(line.end - line.start)
    if moved < max(abs(line.mean) * LEAST_SHARE, subject.least):
        return None
    way = "rises" if line.slope > 0 else "falls"
    return Finding(
        "trends",
        subject.topic,
        f"{subject.label.capitalize()} {way}",
        f"By {abs(line.slope):.4g} {subject.unit} a day (± {line.t * line.error:.2g}) over {line.days} days, "
        f"from {line.start:.4g} to {line.end:.4g}.",
        {
            "slope_per_day": line.slope,
            "standard_error": line.error,
            "t": line.t,
            "days": line.days,
            "first_day": written(min(track.values)),
            "last_day": written(max(track.values)),
            "line_start": line.start,
            "line_end": line.end,
            "mean": line.mean,
            "unit": subject.unit,
        },
        WARNING if subject.is_bad and line.slope > 0 else INFO,
    )
