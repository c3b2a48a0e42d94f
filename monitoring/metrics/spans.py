"""Which rows a span of time is read from: days, hours and samples, the coarsest in the middle. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings

RAW, HOURLY, DAILY = "raw", "hourly", "daily"
STEPS: Final = {HOURLY: timedelta(hours=1), DAILY: timedelta(days=1)}
FINER: Final = {DAILY: HOURLY, HOURLY: RAW}
# Buckets that ended less than this long ago may not be computed yet, and are read from what lies below.
SETTLED: Final = {HOURLY: timedelta(minutes=10), DAILY: timedelta(hours=2)}
RAW_SPAN: Final = timedelta(hours=3)
HOURLY_SPAN: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Part:
    """From `start_at` on, until before `end_at`, of the rows of `level`."""

    level: str
    start_at: datetime
    end_at: datetime


def resolution(since: datetime, until: datetime, *, now: datetime, raw_span: timedelta = RAW_SPAN) -> str:
    """Return what a series of this span is drawn with: the finest of which there are not too many, nor none left.

    `raw_span` is the longest that samples themselves are read for.
    """
    age = now - since
    if until - since <= raw_span and age <= timedelta(days=settings.METRICS_RETENTION_DAYS or age.days + 1):
        return RAW
    if until - since <= HOURLY_SPAN and age <= timedelta(days=settings.METRICS_HOURLY_RETENTION_DAYS or age.days + 1):
        return HOURLY
    return DAILY


def floor(moment: datetime, level: str) -> datetime:
    """Return the beginning of the hour or the day of UTC."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return start.replace(hour=0) if level == DAILY else start


def ceiling(moment: datetime, level: str) -> datetime:
    """Return the beginning of the next hour or day, or `moment` where it is one."""
    start = floor(moment, level)
    return start if start == moment else start + STEPS[level]


def parts(since: datetime, until: datetime, *, level: str, now: datetime) -> list[Part]:
    """Cut a span into parts, `level` where whole buckets of it are settled, finer rows before and after."""
    if since >= until:
        return []
    if level == RAW:
        return [Part(RAW, since, until)]
    first = ceiling(since, level)
    last = min(floor(until, level), floor(now - SETTLED[level], level))
    if first >= last:
        return parts(since, until, level=FINER[level], now=now)
    return [
        *parts(since, first, level=FINER[level], now=now),
        Part(level, first, last),
        *parts(last, until, level=FINER[level], now=now),
    ]
