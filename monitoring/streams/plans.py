"""What a subscriber asked for: which stream, whose rows, and from where on."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from monitoring.dashboard.place import Place
from monitoring.dashboard.reaches import Credential
from monitoring.dashboard.topics import Scope

WINDOWS: Final = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
DEFAULT_WINDOW: Final = "1h"


class Stream(StrEnum):
    """The three streams."""

    EVERYTHING = "everything"
    HEALTH = "health"
    METRICS = "metrics"


TOPICS: Final[dict[Stream, frozenset[str]]] = {
    Stream.EVERYTHING: frozenset({"orchestrators", "messages", "alerts", "system_metrics"}),
    Stream.HEALTH: frozenset({"system_health"}),
    Stream.METRICS: frozenset({"system_metrics"}),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One subscription: `reach` is what the credential may see, `scope` the part of it that was asked for.

    `last_event_id` is what the client sent, "" for a new one; `after` is the place it names, None when no place of
    this subscription is known by it.
    """

    stream: Stream
    caller_id: str
    credential: Credential
    reach: Scope
    scope: Scope
    window: str = ""
    last_event_id: str = ""
    after: Place | None = None
    request_id: str = ""

    def may_go_on(self, reach: Scope | None) -> bool:
        """Whether the credential, which reaches this far now, still carries the subscription as it was opened."""
        if reach is None or reach.orchestrator_id is not None:
            return False
        if self.scope == self.reach:
            return reach == self.reach
        return all(reach.reaches(organization_id) for organization_id in self.scope.organizations or ())
