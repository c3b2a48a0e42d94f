"""Which rows of calls a span of time is read from: days, hours and minutes, the coarsest in the middle. Pure.

Each process stores a call in its minute, its hour and its day at once, so a running hour or day is as new as its
minutes. A span has the calls of the minutes that begin in it; no two parts cover one minute.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q

from monitoring.models import ALL

MINUTE, HOUR, DAY = 60, 3600, 86_400
SPANS: Final = (MINUTE, HOUR, DAY)
FINER: Final = {DAY: HOUR, HOUR: MINUTE}
KEPT: Final = {
    MINUTE: "REQUEST_METRICS_MINUTE_DAYS",
    HOUR: "METRICS_HOURLY_RETENTION_DAYS",
    DAY: "METRICS_DAILY_RETENTION_DAYS",
}
MINUTE_SPAN: Final = timedelta(hours=6)
HOUR_SPAN: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of `span_seconds` that begin from `start_at` on and before `end_at`."""

    span_seconds: int
    start_at: datetime
    end_at: datetime


def parts(since: datetime, until: datetime, *, now: datetime, coarsest: int = DAY) -> list[Part]:
    """Cut a span into parts, rows of `coarsest` where whole ones fit, finer ones before and after.

    Where nothing finer is kept an edge lies at the beginning of its hour or day. The moments are aware, of any zone.
    """
    return _cut(kept(since, now=now), kept(until, now=now), now, coarsest)


def _cut(since: datetime, until: datetime, now: datetime, span: int) -> list[Part]:
    if since >= until:
        return []
    if span == MINUTE:
        return [Part(MINUTE, since, until)]
    first = ceiling(since, span)
    last = floor(until, span) if until < now else until  # the running one has nothing from behind `now` yet
    if first >= last:
        return _cut(since, until, now, FINER[span])
    return [*_cut(since, first, now, FINER[span]), Part(span, first, last), *_cut(last, until, now, FINER[span])]


def floor(moment: datetime, span: int) -> datetime:
    """Return the beginning of the minute, hour or day of UTC."""
    whole = timedelta(seconds=int(moment.timestamp()) % span, microseconds=moment.microsecond)
    return moment - whole


def ceiling(moment: datetime, span: int) -> datetime:
    """Return the beginning of the next minute, hour or day, or `moment` where it is one."""
    start = floor(moment, span)
    return start if start == moment else start + timedelta(seconds=span)


def kept(moment: datetime, *, now: datetime) -> datetime:
    """Return `moment`, or the beginning of its hour or day where nothing finer is kept."""
    for span, coarser in ((MINUTE, HOUR), (HOUR, DAY)):
        if not _is_kept(moment, span, now=now):
            moment = floor(moment, coarser)
    return moment


def kept_since(span: int, *, now: datetime) -> datetime | None:
    """Return from when on rows of `span` seconds are kept, None for always."""
    days = getattr(settings, KEPT[span])
    return now - timedelta(days=days) if days else None


def _is_kept(moment: datetime, span: int, *, now: datetime) -> bool:
    since = kept_since(span, now=now)
    return since is None or floor(moment, span) >= since


def resolution(since: datetime, until: datetime, *, now: datetime) -> int:
    """Return the seconds that a point of a series covers at least: of what there are not too many, nor none left."""
    for span, longest in ((MINUTE, MINUTE_SPAN), (HOUR, HOUR_SPAN)):
        if until - since <= longest and _is_kept(since, span, now=now):
            return span
    return DAY


def coarsest(step_seconds: int | None) -> int:
    """Return the longest rows that lie whole in buckets of `step_seconds` (None: one bucket)."""
    return next(span for span in reversed(SPANS) if step_seconds is None or step_seconds % span == 0)


def matching(found: list[Part], *, are_sums: bool = False) -> Q:
    """Return the condition of rows that lie in one of these parts: by route, or the sums over everything of them."""
    condition, kind = Q(pk__in=[]), Q(route=ALL, organization_id=ALL) if are_sums else ~Q(route=ALL)
    for part in found:
        rows = Q(span_seconds=part.span_seconds, minute_at__gte=part.start_at, minute_at__lt=part.end_at)
        condition |= rows if part.span_seconds == MINUTE else rows & kind
    return condition
