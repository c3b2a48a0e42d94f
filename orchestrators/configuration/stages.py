"""Stages: which part of a fleet gets a version next."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

from moolai.errors import InvalidInput
from orchestrators.models import Instance

MAX_STAGES: Final = 20
EVERYBODY: Final[dict[str, Any]] = {"percent": 100}
Stage = dict[str, Any]


def read(stages: Any) -> list[Stage]:
    """Return stages that were checked, ending with everybody; raises `invalid_field`.

    Each is {"percent": above 0, at most 100, more than the one before} or {"labels": {name: text}}.
    """
    if not isinstance(stages, list) or not 1 <= len(stages) <= MAX_STAGES:
        raise InvalidInput(fields={"stages": f"Give 1 to {MAX_STAGES} stages."})
    reached, found = 0.0, {}
    for index, stage in enumerate(stages):
        if problem := _problem(stage, reached):
            found[f"stages[{index}]"] = problem
        else:
            reached = max(reached, float(stage.get("percent", 0)))
    if found:
        raise InvalidInput(fields=found)
    return [*stages] if reached == 100 and "percent" in stages[-1] else [*stages, EVERYBODY]


def _problem(stage: Any, reached: float) -> str:
    if not isinstance(stage, dict) or set(stage) not in ({"percent"}, {"labels"}):
        return 'Write {"percent": 10} or {"labels": {"env": "canary"}}.'
    if "labels" in stage:
        labels = stage["labels"]
        is_named = isinstance(labels, dict) and bool(labels)
        is_text = is_named and all(isinstance(value, str) for value in labels.values())
        return "" if is_text else "labels is an object of names and texts."
    percent = stage["percent"]
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 < percent <= 100:
        return "percent is a number above 0, at most 100."
    return "" if percent > reached else "Each percentage is larger than the one before."


def members(fleet: Sequence[Instance], stages: Sequence[Stage]) -> list[Instance]:
    """Return those of a fleet that belong to any of `stages`.

    A percentage is rounded up, and is of the fleet in the order of a hash of the ids: the same orchestrators each time,
    and those of 10 % are among those of 50 %.
    """
    ranked = sorted(fleet, key=lambda row: hashlib.sha256(row.orchestrator_id.encode()).digest())
    chosen: dict[int, Instance] = {}
    for stage in stages:
        if "percent" in stage:
            part = ranked[: math.ceil(len(ranked) * stage["percent"] / 100)]
        else:
            part = [row for row in fleet if is_labelled(row, stage["labels"])]
        chosen |= {row.pk: row for row in part}
    return list(chosen.values())


def is_labelled(instance: Instance, wanted: dict[str, str]) -> bool:
    """Whether an orchestrator has all the labels of `wanted`."""
    labels = getattr(instance, "labels", None) or {}
    return all(labels.get(name) == value for name, value in wanted.items())


def text(stage: Stage) -> str:
    """Return a stage in words: `10 %` or `env=canary`."""
    if "percent" in stage:
        return f"{stage['percent']:g} %"
    return ", ".join(f"{name}={value}" for name, value in sorted(stage["labels"].items()))
