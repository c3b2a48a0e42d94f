"""The metrics that can be asked for by name, and who reads them; `moolai/wiring.py` adds those of other rooms."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from monitoring.metrics.aggregates import Aggregate
from moolai.errors import AppError, InvalidInput

MEASURED, COUNTED = "measured", "counted"
HOUR: Final = 3600
EVER: Final = 86_400 * 100_000  # seconds, in whole days: all of time is one unit


@dataclass(frozen=True, slots=True)
class Metric:
    """A named metric: what is measured has values of its own, what is counted is a number per hour.

    `dimensions` are those it can be filtered and grouped by; `source` names who reads it, `kept_setting` the setting
    that says for how many days its rows are kept (0, or no setting: for ever).
    """

    name: str
    kind: str
    unit: str
    description: str
    dimensions: tuple[str, ...]
    source: str
    kept_setting: str = ""

    def kept_since(self, now: datetime) -> float:
        """Return from when on its rows are kept, in epoch seconds; 0 for always."""
        days = getattr(settings, self.kept_setting) if self.kept_setting else 0
        return (now - timedelta(days=days)).timestamp() if days else 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a source is to read: metrics of its own, from `start_at` until before `end_at`.

    Within `organizations` (None: all there are) and `filters` (dimension: values), by `dimensions`, in buckets of
    `step_seconds` (None: all of it in one). What is counted comes by the hour at most, or by `longest_unit` seconds.
    """

    metrics: tuple[str, ...]
    organizations: Collection[str] | None
    start_at: datetime
    end_at: datetime
    filters: Mapping[str, tuple[str, ...]]
    dimensions: tuple[str, ...]
    step_seconds: int | None
    now: datetime
    longest_unit: int = HOUR


@dataclass(frozen=True, slots=True)
class Cell:
    """What a metric comes to in a bucket: its beginning in epoch seconds, the values of the dimensions.

    Several cells of one bucket are put together. Of a counted metric a bucket is what `unit_seconds` says.
    """

    metric: str
    at: int
    keys: tuple[str, ...]
    aggregate: Aggregate


def counted(metric: str, at: int, keys: tuple[str, ...], number: float) -> Cell:
    """Return the cell of a counted metric."""
    return Cell(metric, at, keys, [1, number, number, number, []])


Reader = Callable[[Wanted], Iterable[Cell]]
_metrics: dict[str, Metric] = {}
_readers: dict[str, Reader] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """A room whose numbers can be asked for."""

    name: str
    metrics: Sequence[Metric]
    read: Reader


def install(sources: Iterable[Source]) -> None:
    """Name the rooms; called once by `moolai/wiring.py`."""
    _metrics.clear()
    _readers.clear()
    for source in sources:
        _readers[source.name] = source.read
        _metrics.update({metric.name: metric for metric in source.metrics})


def metrics() -> Mapping[str, Metric]:
    """Return {name: metric} of all there are."""
    return _metrics


def read(source: str, wanted: Wanted) -> Iterable[Cell]:
    """Return what a source has."""
    return _readers[source](wanted)


def too_many() -> AppError:
    """Return what a question is refused with whose rows are too many to be read at once."""
    text = "Too many groups for this span: choose a shorter one, or filters."
    return InvalidInput(detail=text, fields={"time_range": text})


def unit_seconds(wanted: Wanted) -> int:
    """Return how long a bucket of a counted metric is."""
    return min(wanted.longest_unit, wanted.step_seconds or wanted.longest_unit)
