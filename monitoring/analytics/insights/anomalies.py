"""Anomalies: hours that are unlike the same hour of other days.

With the values x_i of the same hour of the day (UTC) in the period and the fourteen days before it, the hour itself
left out: m = median(x_i), MAD = median(|x_i - m|), z = 0.6745 (x - m) / max(MAD, |m| / 20). An hour is told when
|z| >= 3.5 (Iglewicz and Hoaglin), |x - m| is at least what matters for the subject, and there are five x_i or more.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import attrgetter
from statistics import median
from typing import Final

from monitoring.analytics.insights import tracks
from monitoring.analytics.insights.finding import CRITICAL, INFO, WARNING, Finding, Looked, written
from monitoring.analytics.insights.tracks import HOUR, Subject, Track

HISTORY: Final = timedelta(days=14)
LEAST_VALUES: Final = 5
THRESHOLD: Final = 3.5
CRITICAL_FROM: Final = 10.0
SCALE: Final = 0.6745  # makes MAD a standard deviation, where values are normal
FLOOR: Final = 20  # MAD counts as a twentieth of the median at least: values that never moved may move a little
MOST: Final = 10


@dataclass(frozen=True, slots=True)
class Odd:
    """An hour that is told: its value, the median and the MAD of the others, its score, how many others."""

    subject: Subject
    at: int
    value: float
    median: float
    mad: float
    score: float
    others: int


def find(looked: Looked) -> list[Finding]:
    """Return the ten oddest stretches of the period, oddest first."""
    window = replace(looked, since=looked.since - HISTORY)
    odd = [entry for track in tracks.read(window, step=HOUR) for entry in of(track, since=looked.since.timestamp())]
    stretches = sorted(_stretches(odd), key=lambda hours: -max(abs(hour.score) for hour in hours))
    return [_finding(hours) for hours in stretches[:MOST]]


def of(track: Track, *, since: float) -> list[Odd]:
    """Return the odd hours of a track from `since` (epoch seconds) on."""
    by_hour: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for at, value in track.values.items():
        by_hour[at // HOUR % 24].append((at, value))
    found = [_judged(track.subject, at, value, same) for same in by_hour.values() for at, value in same if at >= since]
    return sorted((odd for odd in found if odd is not None), key=attrgetter("at"))


def _judged(subject: Subject, at: int, value: float, same: Sequence[tuple[int, float]]) -> Odd | None:
    others = [number for moment, number in same if moment != at]
    if len(others) < LEAST_VALUES:
        return None
    middle = median(others)
    mad = median(abs(number - middle) for number in others)
    width = max(mad, abs(middle) / FLOOR)
    if abs(value - middle) < subject.least:
        return None
    score = SCALE * (value - middle) / width if width else float("inf") * (value - middle)
    return (
        Odd(subject, at, value, middle, mad, max(-1e6, min(1e6, score)), len(others))
        if abs(score) >= THRESHOLD
        else None
    )


def _stretches(odd: Sequence[Odd]) -> list[list[Odd]]:
    """Return hours of one subject and direction that follow each other as one."""
    found: list[list[Odd]] = []
    for hour in odd:
        last = found[-1][-1] if found else None
        follows = last is not None and last.subject == hour.subject and hour.at == last.at + HOUR
        if last is not None and follows and (last.score > 0) == (hour.score > 0):
            found[-1].append(hour)
        else:
            found.append([hour])
    return found


def _finding(hours: Sequence[Odd]) -> Finding:
    peak = max(hours, key=lambda hour: abs(hour.score))
    subject, way = peak.subject, "more" if peak.score > 0 else "less"
    is_worse = subject.is_bad and peak.score > 0
    severity = (CRITICAL if peak.score >= CRITICAL_FROM else WARNING) if is_worse else INFO
    return Finding(
        "anomalies",
        subject.topic,
        f"{subject.label.capitalize()}: much {way} than usual at this hour",
        f"{peak.value:.4g} {subject.unit} in the hour from {written(peak.at)}; "
        f"the median of {peak.others} other days is {peak.median:.4g}.",
        {
            "start": written(hours[0].at),
            "end": written(hours[-1].at + HOUR),
            "hours": len(hours),
            "peak_at": written(peak.at),
            "value": peak.value,
            "median": peak.median,
            "mad": peak.mad,
            "score": peak.score,
            "compared_with": peak.others,
            "unit": subject.unit,
        },
        severity,
    )
