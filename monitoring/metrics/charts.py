"""What the console's charts draw: series in columns, as uPlot takes them, with a mark where samples are missing."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, Final

from monitoring.metrics import call_series, series, spans, task_series
from monitoring.metrics.series import Value

RANGES: Final = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
MAX_POINTS: Final = 360
MAX_POINTS_TOGETHER: Final = 120  # of several machines: each bucket has samples of most of them
ALONE_RAW_SPAN: Final = timedelta(hours=24)  # of one machine there are few samples
GAP: Final = 3  # times the usual distance
NEIGHBOURS: Final = 5  # on each side, which say what is usual
DIGITS: Final = 3
Columns = dict[str, dict[str, list[float | None] | None]]


def measured(
    organization_id: str, *, orchestrator_id: str | None, columns: Sequence[str], since: datetime, until: datetime
) -> dict[str, Any]:
    """Return `{"resolution", "step", "x": [epoch s, …], "series": {column: {"avg", "low", "high": [value, …]}}}`.

    Of one orchestrator ("": of the host), or of everything in the organization together. `low` and `high` are None
    where they are the averages. Values are None where there is none; a time without samples has one such point.
    """
    is_alone = orchestrator_id is not None
    found = series.read(
        organizations=[organization_id],
        orchestrator_id=orchestrator_id,
        columns=columns,
        since=since,
        until=until,
        max_points=MAX_POINTS if is_alone else MAX_POINTS_TOGETHER,
        raw_span=ALONE_RAW_SPAN if is_alone else spans.RAW_SPAN,
        now=until,
    )
    xs = with_gaps({at for values in found.columns.values() for at, *_ in values}, step_seconds=found.step_seconds)
    drawn = {name: side_by_side(xs, values) for name, values in found.columns.items()}
    return {"resolution": found.resolution, "step": found.step_seconds, "x": xs, "series": drawn}


def calls(*, since: datetime, until: datetime) -> dict[str, Any]:
    """Return the calls of the controller's own API in the same shape."""
    found = call_series.read(since=since, until=until)
    return _drawn(call_series.NAMES, found.points, step_seconds=found.step_seconds)


def tasks(organization_id: str | None, *, since: datetime, until: datetime) -> dict[str, Any]:
    """Return the task queue of an organization (None: of all) in the same shape."""
    organizations = None if organization_id is None else [organization_id]
    found = task_series.read(organizations=organizations, since=since, until=until)
    return _drawn(task_series.NAMES, found.points, step_seconds=found.step_seconds)


def _drawn(names: Sequence[str], points: Sequence[tuple[Any, ...]], *, step_seconds: int) -> dict[str, Any]:
    xs = [at for at, *_ in points]
    columns = list(zip(*(values for _, *values in points), strict=True)) or [()] * len(names)
    drawn = {
        name: {"avg": [_rounded(value) for value in values], "low": None, "high": None}
        for name, values in zip(names, columns, strict=True)
    }
    return {"resolution": "minutes", "step": step_seconds, "x": xs, "series": drawn}


def with_gaps(moments: Collection[int], *, step_seconds: int) -> list[int]:
    """Return the moments in order, with one more where the next is much later than the others usually are."""
    xs = sorted(moments)
    distances = [after - before for before, after in pairwise(xs)]
    marks = [at + step_seconds for index, at in enumerate(xs[:-1]) if _is_gap(distances, index, step_seconds)]
    return sorted([*xs, *marks])


def _is_gap(distances: Sequence[int], index: int, step_seconds: int) -> bool:
    """Whether one distance is much longer than those before and those after it; both, as the pace may change there."""
    sides = distances[max(0, index - NEIGHBOURS) : index], distances[index + 1 : index + 1 + NEIGHBOURS]
    usual = [median(side) for side in sides if side]
    return bool(usual) and distances[index] > GAP * max(step_seconds, *usual)


def side_by_side(xs: Sequence[int], values: Sequence[Value]) -> dict[str, list[float | None] | None]:
    """Return averages, lows and highs at each of `xs`, None where there is no value."""
    found = {at: (average, low, high) for at, average, low, high in values}
    nothing = (None, None, None)
    rows = [found.get(at, nothing) for at in xs]
    average, low, high = ([_rounded(row[index]) for row in rows] for index in range(3))
    is_flat = low == average == high
    return {"avg": average, "low": None if is_flat else low, "high": None if is_flat else high}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
