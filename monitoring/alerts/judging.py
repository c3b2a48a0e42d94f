"""Judging: which rules hold for which subjects now, and which of them held for long enough to fire."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F

from monitoring.alerts.probes import CONTROLLER, Reading, Subject
from monitoring.models import RANKS, Holding, Rule

COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that holds for a subject."""

    rule: Rule
    subject: Subject
    reading: Reading

    @property
    def dedup_key(self) -> str:
        """What an alert about this is known by."""
        return dedup_key(self.rule.alert_type, self.subject)


def dedup_key(alert_type: str, subject: Subject) -> str:
    """Return the key of an alert of this type about this subject."""
    return "/".join((alert_type, subject[0] or "-", subject[1] or "-"))


class Rulebook:
    """The rules in force: an organization's own row takes the place of the one for everywhere."""

    def __init__(self, rows: Sequence[Rule]) -> None:
        self._own = {(row.rule_key, row.organization_id): row for row in rows if row.organization_id}
        self._everywhere = {row.rule_key: row for row in rows if not row.organization_id}

    @classmethod
    def load(cls) -> "Rulebook":
        """Read them all: tens of rows, and what organizations changed."""
        return cls(list(Rule.objects.all()))

    def applicable(self, key: str, organization_id: str) -> Rule | None:
        """Return the rule of this key that holds in an organization, None when it is switched off there."""
        rule = self._own.get((key, organization_id)) or self._everywhere.get(key)
        return rule if rule is not None and rule.is_enabled else None

    def keys(self) -> set[str]:
        """Return every key there is."""
        return {*self._everywhere, *(key for key, _ in self._own)}

    def metrics(self) -> set[str]:
        """Return the metrics of rules that are switched on somewhere."""
        return {row.metric for row in (*self._everywhere.values(), *self._own.values()) if row.is_enabled}

    def metrics_of(self, alert_type: str, *, organization_id: str | None = None) -> set[str]:
        """Return the metrics that make alerts of this type: anywhere, or in one organization ("": the controller)."""
        if organization_id is not None:
            found = (self.applicable(key, organization_id) for key in self.keys())
            return {row.metric for row in found if row is not None and row.alert_type == alert_type}
        rows = (*self._everywhere.values(), *self._own.values())
        return {row.metric for row in rows if row.is_enabled and row.alert_type == alert_type}


def covers(rule: Rule, subject: Subject) -> bool:
    """Whether a rule speaks of subjects of this kind."""
    match rule.scope:
        case Rule.Scope.CONTROLLER:
            return subject == CONTROLLER
        case Rule.Scope.ORGANIZATION:
            return bool(subject[0]) and not subject[1]
    return bool(subject[1])


def holding(book: Rulebook, values: Mapping[str, Mapping[Subject, Reading]]) -> Iterator[Finding]:
    """Yield every rule that holds for a subject by the numbers of now."""
    own = {(key, row.metric): row for (key, _), row in book._own.items()}
    pairs = {*((key, row.metric) for key, row in book._everywhere.items()), *own}
    for key, metric in sorted(pairs):
        for subject, reading in values.get(metric, {}).items():
            rule = book.applicable(key, subject[0])
            if rule is None or rule.metric != metric or not covers(rule, subject):
                continue
            if COMPARE[rule.comparison](reading.value, rule.threshold):
                yield Finding(rule, subject, reading)


def ripe(findings: Sequence[Finding], judged: set[str], *, now: datetime) -> list[Finding]:
    """Keep the books on what holds, and return what held for as long as its rule asks.

    `judged` are the metrics that were read: what holds by others stays as it is. Time is that of the measurements: one
    that is read again and again holds for no longer than when it was new.
    """
    patient = {(f.rule.pk, *f.subject): f for f in findings if f.rule.for_seconds or f.rule.consecutive > 1}
    rows = list(Holding.objects.filter(rule__metric__in=judged))
    known = {(row.rule_id, row.organization_id, row.orchestrator_id): row for row in rows}
    gone = [row.pk for key, row in known.items() if key not in patient]
    stays = [row for key, row in known.items() if key in patient]
    fresh = [
        Holding(rule_id=key[0], organization_id=key[1], orchestrator_id=key[2], since=f.reading.at or now)
        for key, f in patient.items()
        if key not in known
    ]
    for start in range(0, len(gone), CHUNK):
        Holding.objects.filter(pk__in=gone[start : start + CHUNK]).delete()
    for row in stays:
        row.count += 1
    for start in range(0, len(stays), CHUNK):
        chunk = [row.pk for row in stays[start : start + CHUNK]]
        Holding.objects.filter(pk__in=chunk).update(count=F("count") + 1)
    Holding.objects.bulk_create(fresh)
    long = {
        (row.rule_id, row.organization_id, row.orchestrator_id)
        for row in (*stays, *fresh)
        if _is_ripe(row, patient, now=now)
    }
    return [f for f in findings if (f.rule.pk, *f.subject) in long or (f.rule.pk, *f.subject) not in patient]


def _is_ripe(row: Holding, patient: Mapping[tuple[int, str, str], Finding], *, now: datetime) -> bool:
    finding = patient[(row.rule_id, row.organization_id, row.orchestrator_id)]
    rule, until = finding.rule, finding.reading.at or now
    return row.count >= rule.consecutive and until - row.since >= timedelta(seconds=rule.for_seconds)


def extend(late: timedelta) -> None:
    """Move all beginnings on by a pause of ours: what was not watched did not hold."""
    Holding.objects.update(since=F("since") + late)


def worst(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Return of each dedup key the most severe finding."""
    found: dict[str, Finding] = {}
    for finding in findings:
        other = found.get(finding.dedup_key)
        if other is None or RANKS[finding.rule.severity] > RANKS[other.rule.severity]:
            found[finding.dedup_key] = finding
    return found
