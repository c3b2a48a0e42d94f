"""Probes: where the numbers come from that rules compare, one function per metric, each in bulk.

`moolai/wiring.py` lists them all. A rule whose metric has no probe waits, and is never evaluated on a made-up number.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from orgs.models import Event

logger = logging.getLogger(__name__)
Subject = tuple[str, str]  # (organization id, orchestrator id); ("", "") is the controller
CONTROLLER: Final[Subject] = ("", "")
# Metrics that the engine itself knows.
OWN: Final = ("fleet_dark_percent",)


@dataclass(frozen=True, slots=True)
class Reading:
    """One number, and a sentence about it for people ("": the number says it all).

    `at` is when it was measured; None: just now, by us.
    """

    value: float
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What probes may look at: the time, what happened since the last run, and what the engine remembers.

    `suspects` are, by metric, the subjects that a rule held for at the last run; `memory` is JSON that probes keep
    between runs, under a name of their own; `cache` is for this run.
    """

    now: datetime
    late_seconds: float = 0.0
    happened: Sequence[Event] = ()
    suspects: Mapping[str, Collection[Subject]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)

    def told(self, kind: str) -> list[Event]:
        """Return the new events of one kind."""
        return [event for event in self.happened if event.kind == kind]


Probe = Callable[[Moment], Mapping[Subject, float | Reading]]


@dataclass(frozen=True, slots=True)
class Source:
    """A probe; `is_timeless` when its answer is right even just after the controller was paused.

    `is_sampled` when it reads what others measure and send: no number then says nothing, not that all is well.
    """

    read: Probe
    is_timeless: bool = False
    is_sampled: bool = False


_sources: Mapping[str, Source] = {}


def install(sources: Mapping[str, Source]) -> None:
    """Name the probes; called once by `moolai/wiring.py`."""
    global _sources
    _sources = dict(sources)


def sampled() -> set[str]:
    """Return the metrics whose numbers others measure and send."""
    return {metric for metric, source in _sources.items() if source.is_sampled}


def metrics() -> list[str]:
    """Return every metric that a rule may name."""
    return sorted({*_sources, *OWN})


def waits_for(metric: str) -> str:
    """Return what a metric waits for, "" when there is a probe for it."""
    return "" if metric in _sources or metric in OWN else "a source of this metric"


def read(wanted: Collection[str], moment: Moment, *, is_settling: bool) -> dict[str, dict[Subject, Reading]]:
    """Ask the probes of `wanted`; those that fail, or are not to be trusted while settling, are missing."""
    found: dict[str, dict[Subject, Reading]] = {}
    for metric in sorted(wanted):
        source = _sources.get(metric)
        if source is None or (is_settling and not source.is_timeless):
            continue
        try:
            answer = source.read(moment)
        except Exception:
            logger.exception("the probe of %s failed", metric)
            continue
        found[metric] = {
            subject: value if isinstance(value, Reading) else Reading(float(value)) for subject, value in answer.items()
        }
    return found
