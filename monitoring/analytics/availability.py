"""Availability: the share of time that orchestrators were connected or alive, out of the events of their lives.

An orchestrator is available from its connection (or, without a socket, its registration or a heartbeat) until it is
disconnected or declared inactive; a health of `degraded` or `error` is alive. The time before it was created and after
it was deleted does not count. Its state at the beginning is that after the last event before; where none is kept, the
opposite of what the first event after made it, and without any event its state now.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any, Final

from django.db.models import OuterRef, Q, QuerySet, Subquery

from monitoring.analytics.figures import Figure, Shares, of_values
from moolai.errors import AppError
from orchestrators.models import Instance
from orgs.models import Event

STATES: Final[Mapping[str, bool | None]] = {  # True: available, False: not, None: it does not exist
    "orchestrator.created": False,
    "orchestrator.registered": True,
    "orchestrator.connected": True,
    "orchestrator.active": True,
    "orchestrator.health": True,
    "orchestrator.disconnected": False,
    "orchestrator.inactive": False,
    "orchestrator.deleted": None,
}
ENDS: Final = ("orchestrator.disconnected", "orchestrator.inactive")  # a deletion closes the session: it is told later
MAX_EVENTS: Final = 200_000
Interval = tuple[float, float, bool]  # from, until (epoch seconds), whether it was available


@dataclass(frozen=True, slots=True)
class Whose:
    """Which orchestrators, and the span."""

    organizations: Collection[str] | None
    since: datetime
    until: datetime

    def instances(self) -> QuerySet[Instance]:
        """Return those that existed in the span."""
        rows = Instance.objects.filter(created_at__lt=self.until).order_by("orchestrator_id")
        rows = rows.filter(Q(deleted_at__isnull=True) | Q(deleted_at__gt=self.since))
        return rows if self.organizations is None else rows.filter(organization_id__in=list(self.organizations))

    def events(self) -> QuerySet[Event]:
        """Return what changed their states in the span, oldest first."""
        rows = Event.objects.filter(kind__in=STATES, created_at__gte=self.since, created_at__lt=self.until)
        if self.organizations is not None:
            rows = rows.filter(organization_id__in=list(self.organizations))
        return rows.order_by("created_at", "id")


class Spread:
    """Seconds per bucket; an interval costs the same however many buckets it covers."""

    def __init__(self, since: float, until: float, step: int) -> None:
        self.first, self.step = int(since // step) * step, step
        self.size = int((until - 1e-6 - self.first) // step) + 1
        self._edges = [0.0] * (self.size + 1)
        self._whole = [0] * (self.size + 1)

    def add(self, since: float, until: float) -> None:
        """Add the seconds of an interval within the span."""
        one = int((since - self.first) // self.step)
        other = int((until - self.first) // self.step)
        if one == other:
            self._edges[one] += until - since
            return
        self._edges[one] += self.first + (one + 1) * self.step - since
        self._edges[other] += until - self.first - other * self.step
        self._whole[one + 1] += 1
        self._whole[other] -= 1

    def seconds(self) -> list[float]:
        """Return the seconds of each bucket."""
        whole = accumulate(self._whole)
        return [edge + number * self.step for edge, number in zip(self._edges, whole, strict=True)][: self.size]


@dataclass(slots=True)
class _Tally:
    """The intervals of a group of orchestrators."""

    intervals: list[Interval] = field(default_factory=list)
    orchestrators: int = 0

    @property
    def value(self) -> float | None:
        observed = sum(until - since for since, until, _ in self.intervals)
        up = sum(until - since for since, until, is_up in self.intervals if is_up)
        return min(1.0, up / observed) if observed else None

    def figure(self, since: float, until: float, step: int) -> tuple[Figure, dict[int, Figure]]:
        """Return the share in all, with extremes and percentiles of the buckets, and that of each bucket."""
        observed, up = Spread(since, until, step), Spread(since, until, step)
        for start, end, is_up in self.intervals:
            observed.add(start, end)
            if is_up:
                up.add(start, end)
        pairs = enumerate(zip(up.seconds(), observed.seconds(), strict=True))
        shares = {observed.first + at * step: min(1.0, one / all_) for at, (one, all_) in pairs if all_ > 1e-6}
        points = {at: Figure(share, sample_count=self.orchestrators) for at, share in shares.items()}
        return of_values(list(shares.values()), self.value, self.orchestrators), points


def read(whose: Whose, *, group_by: str | None, step: int, most: int) -> Shares:
    """Return the share of time available: in all, per bucket of `step` seconds, by organization or orchestrator.

    `sample_count` is the number of orchestrators that existed. Three statements. Of more than `most` groups the less
    available have extremes and percentiles. Raises `invalid_parameter` where the span has more events than can be read.
    """
    span = (whose.since.timestamp(), whose.until.timestamp())
    total, groups = _Tally(), defaultdict[str, _Tally](_Tally)
    for orchestrator_id, organization_id, intervals in _lives(whose):
        tallies = [total]
        if group_by:
            tallies.append(groups[orchestrator_id if group_by == "orchestrator" else organization_id])
        for tally in tallies:
            tally.orchestrators += 1
            tally.intervals += intervals
    figure, points = total.figure(*span, step)
    worst = sorted(groups, key=lambda key: (groups[key].value or 0.0, key))
    told = {key: groups[key].figure(*span, step)[0] for key in worst[:most]}
    rest = {key: Figure(groups[key].value, sample_count=groups[key].orchestrators) for key in worst[most:]}
    return Shares(figure, points, told | rest)


def active(whose: Whose) -> set[str]:
    """Return the orchestrators that were available at some time of the span: at its beginning, or by an event in it.

    Two statements, and one that reads the names alone: events may be as many as they are.
    """
    events = whose.events().filter(kind__in=[kind for kind, is_up in STATES.items() if is_up]).order_by()
    risen = set(events.values_list("orchestrator_id", flat=True).distinct())
    rows = _starts(whose)
    return {name for row in rows if (name := row["orchestrator_id"]) in risen or _at_start(row, whose.since)}


def _lives(whose: Whose) -> Iterator[tuple[str, str, list[Interval]]]:
    """Yield, of each orchestrator that existed, its organization and its intervals."""
    changes: dict[str, list[tuple[float, bool | None]]] = defaultdict(list)
    rows = list(whose.events().values_list("orchestrator_id", "kind", "created_at")[: MAX_EVENTS + 1])
    if len(rows) > MAX_EVENTS:
        raise AppError("invalid_parameter", f"These are more than {MAX_EVENTS} events: choose a shorter period.")
    gone: set[str] = set()
    for orchestrator_id, kind, at in rows:
        if orchestrator_id in gone and kind in ENDS:
            continue
        (gone.add if kind == "orchestrator.deleted" else gone.discard)(orchestrator_id)
        changes[orchestrator_id].append((at.timestamp(), STATES[kind]))
    for row in _starts(whose):
        intervals = _intervals(row, changes.get(row["orchestrator_id"], []), whose)
        if intervals:
            yield row["orchestrator_id"], row["organization_id"], intervals


def _starts(whose: Whose) -> Iterable[Mapping[str, Any]]:
    """Return the orchestrators with the kinds of the last event before the span and of the first one from its start."""
    before = Event.objects.filter(created_at__lt=whose.since).order_by("-created_at", "-id")
    last_id = before.values_list("id", flat=True).first() or 0
    own = Event.objects.filter(orchestrator_id=OuterRef("orchestrator_id"), kind__in=STATES)
    rows = whose.instances().annotate(
        before=Subquery(own.filter(id__lte=last_id).order_by("-id").values("kind")[:1]),
        after=Subquery(own.filter(id__gt=last_id).order_by("id").values("kind")[:1]),
    )
    names = "orchestrator_id organization_id created_at deleted_at status is_connected before after".split()
    found: Iterable[Mapping[str, Any]] = rows.values(*names)
    return found


def _at_start(row: Mapping[str, Any], since: datetime) -> bool | None:
    if row["before"] is not None:
        return STATES[row["before"]]
    if row["created_at"] >= since:
        return None
    if row["after"] is not None:
        return not STATES[row["after"]]
    return bool(row["is_connected"] or row["status"] != Instance.Status.INACTIVE)


def _intervals(row: Mapping[str, Any], changes: list[tuple[float, bool | None]], whose: Whose) -> list[Interval]:
    since, until = whose.since.timestamp(), whose.until.timestamp()
    state = _at_start(row, whose.since)
    places: list[tuple[float, bool | None]] = [(since, state)]
    if state is None and row["created_at"] >= whose.since and row["before"] is None:
        places.append((row["created_at"].timestamp(), False))
    places += changes
    if row["deleted_at"] is not None and row["deleted_at"] < whose.until:
        places.append((row["deleted_at"].timestamp(), None))
    places.sort(key=lambda place: place[0])
    ends = [*places, (until, None)]
    return [(at, end, is_up) for (at, is_up), (end, _) in pairwise(ends) if is_up is not None and end > at]
