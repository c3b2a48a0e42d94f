"""What dashboards can subscribe to: per topic a snapshot, and the frames that follow. Reads rows, runs in threads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.db.models import Count, Model, QuerySet
from django.utils import timezone

from orchestrators.models import Instance, Node
from orchestrators.nodes import BEAT_SECONDS, DEAD_AFTER_SECONDS
from orchestrators.protocol import iso
from orgs.models import Event

RECENT_EVENTS: Final = 50
STATUS_COLUMNS: Final = (
    "orchestrator_id", "organization_id", "status", "last_seen", "is_connected", "name", "version", "node",
    "is_independent", "organization__is_independent", "config_status",
)  # fmt: skip
Frame = dict[str, Any]
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a dashboard may see: every organization (None), or these.

    With an `orchestrator_id` (an orchestrator's key watches) only what is about that orchestrator, or, where it is "",
    about any orchestrator: nothing about the organization itself.
    """

    organizations: frozenset[str] | None
    orchestrator_id: str | None = None

    def reaches(self, organization_id: str) -> bool:
        """Whether anything of the organization may be shown."""
        return self.organizations is None or organization_id in self.organizations

    def allows(self, frame: Frame) -> bool:
        """Whether a frame may be shown: by the organization and the orchestrator it names; one without is nobody's."""
        if "organization_id" not in frame:
            return True
        named = frame["orchestrator_id"]
        is_ours = self.orchestrator_id is None or (named and self.orchestrator_id in ("", named))
        return bool(is_ours) and self.reaches(frame["organization_id"])

    def narrow(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Return the rows (instances or events) inside the scope."""
        if self.organizations is not None:
            rows = rows.filter(organization_id__in=self.organizations)
        if self.orchestrator_id is None:
            return rows
        return (
            rows.filter(orchestrator_id=self.orchestrator_id)
            if self.orchestrator_id
            else rows.exclude(orchestrator_id="")
        )


def status_frame(columns: Sequence[Any]) -> Frame:
    """Return the `orchestrator_status` frame of a row, given its STATUS_COLUMNS."""
    orchestrator_id, organization_id, status, last_seen, is_connected, name, version, node, *rest = columns
    is_own, is_inherited, config_status = rest
    return {
        "type": "orchestrator_status",
        "orchestrator_id": orchestrator_id,
        "organization_id": organization_id,
        "status": status,
        "last_seen": iso(last_seen) if last_seen else None,
        "is_connected": is_connected,
        "name": name,
        "version": version,
        "node": node,
        "is_independent": is_own or is_inherited,
        "independence_source": "own" if is_own else "organization" if is_inherited else None,
        "config_status": config_status,
    }


def status_frames(rows: QuerySet[Instance]) -> list[Frame]:
    """Return an `orchestrator_status` frame for each row."""
    return [status_frame(columns) for columns in rows.values_list(*STATUS_COLUMNS)]


def orchestrators(scope: Scope) -> list[Frame]:
    """Return the state of every visible orchestrator."""
    return status_frames(scope.narrow(Instance.objects.present()).order_by("orchestrator_id"))


def event_frame(row: Event) -> Frame:
    """Return an event as the console shows it."""
    return {
        "type": "event",
        "id": row.id,
        "kind": row.kind,
        "organization_id": row.organization_id,
        "orchestrator_id": row.orchestrator_id,
        "data": row.data,
        "timestamp": iso(row.created_at),
    }


def recent_events(scope: Scope) -> list[Frame]:
    """Return the newest events, oldest first."""
    rows = list(scope.narrow(Event.objects.all()).order_by("-id")[:RECENT_EVENTS])
    return [event_frame(row) for row in reversed(rows)]


def fleet(scope: Scope) -> list[Frame]:
    """Return one `fleet` frame: counts by status, open sessions and, for a superadmin, heartbeats per second."""
    visible = scope.narrow(Instance.objects.present())
    by_status = dict(visible.order_by().values_list("status").annotate(count=Count("pk")))
    now = timezone.now()
    frame: Frame = {
        "type": "fleet",
        "by_status": {status: by_status.get(status, 0) for status in Instance.Status.values},
        "total": sum(by_status.values()),
        "connected": visible.filter(is_connected=True).count(),
        "timestamp": iso(now),
    }
    if scope.organizations is None:
        frame["heartbeats"] = heartbeat_series(now=now)
    return [frame]


def heartbeat_series(*, now: datetime) -> list[list[float]]:
    """Return [epoch seconds, heartbeats per second] for the last five minutes, summed over the living nodes."""
    totals: dict[int, int] = {}
    fresh = Node.objects.filter(beat_at__gte=now - timedelta(seconds=DEAD_AFTER_SECONDS))
    for buckets in fresh.values_list("heartbeats", flat=True):
        for start, count in buckets:
            totals[start] = totals.get(start, 0) + count
    return [[start, round(totals[start] / BEAT_SECONDS, 2)] for start in sorted(totals)]


def named(orchestrator_ids: Collection[str], organizations: Collection[str]) -> list[Frame]:
    """Return the state of these orchestrators, and of all of these organizations."""
    rows = Instance.objects.present().filter(orchestrator_id__in=orchestrator_ids)
    return status_frames(rows | Instance.objects.present().filter(organization_id__in=organizations))
