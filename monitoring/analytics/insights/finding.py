"""A finding, and where it was looked for. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

INFO, WARNING, CRITICAL = "info", "warning", "critical"


@dataclass(frozen=True, slots=True)
class Looked:
    """Within these organizations (None: all), from `since` on, until before `until`, which is not after `now`; UTC."""

    organizations: Collection[str] | None
    since: datetime
    until: datetime
    now: datetime

    @property
    def before(self) -> "Looked":
        """The period of the same length just before."""
        return Looked(self.organizations, self.since - (self.until - self.since), self.since, self.now)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and the numbers behind it; `topic` says what it is about."""

    insight_type: str
    topic: str
    title: str
    detail: str
    numbers: Mapping[str, Any]
    severity: str = INFO

    def told(self) -> dict[str, Any]:
        """Return the finding as the API answers it."""
        return {
            "insight_type": self.insight_type,
            "topic": self.topic,
            "title": self.title,
            "detail": self.detail,
            "severity": self.severity,
            "numbers": dict(self.numbers),
        }


def written(at: float) -> str:
    """Return a moment of epoch seconds as the API writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
