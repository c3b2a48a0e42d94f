"""The topic `alerts`: what fires and what became of it, out of the events `alert.*` and the table of alerts.

The table is named from outside (`install`); without one, what an event tells of its alert is all that is shown.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from monitoring.dashboard.topics import Frame, Scope
from orchestrators.protocol import iso
from orgs.models import Event

KIND: Final = "alert."
RECENT: Final = 500
COLUMNS: Final = (
    "alert_id", "organization_id", "orchestrator_id", "rule_key", "alert_type", "severity", "status", "title", "detail",
    "value", "threshold", "started_at", "last_seen_at", "acknowledged_at", "acknowledged_by", "resolved_at",
    "escalation_level",
)  # fmt: skip
_rows: Callable[[], QuerySet[Any]] | None = None


def install(rows: Callable[[], QuerySet[Any]] | None) -> None:
    """Read alerts from this table: COLUMNS, and `resolved_at` is null while one is open."""
    global _rows
    _rows = rows


def open_ones(scope: Scope) -> list[Frame]:
    """Return the alerts that fire or are acknowledged, oldest first, at most the newest RECENT."""
    if _rows is None:
        return []
    rows = scope.narrow(_rows().filter(resolved_at=None).exclude(status="resolved"))  # the index has it by `status`
    return [_frame(columns) for columns in rows.order_by("-started_at", "-pk").values(*COLUMNS)[:RECENT]][::-1]


def frames(events: Sequence[Event]) -> list[Frame]:
    """Return an `alert` frame for each event of one: its `event`, and the alert as it is now."""
    told = [row for row in events if row.kind.startswith(KIND)]
    now = _named({str(row.data.get("alert_id", "")) for row in told}) if told else {}
    return [_of_event(row, now) for row in told]


def _named(alert_ids: Collection[str]) -> dict[str, Frame]:
    if _rows is None:
        return {}
    rows = _rows().filter(alert_id__in=alert_ids).values(*COLUMNS)
    return {columns["alert_id"]: _frame(columns) for columns in rows}


def _of_event(row: Event, now: dict[str, Frame]) -> Frame:
    told = row.data | now.get(str(row.data.get("alert_id", "")), {})
    whose = {"organization_id": row.organization_id, "orchestrator_id": row.orchestrator_id}
    happened = {"event": row.kind.removeprefix(KIND), "timestamp": iso(row.created_at)}
    return {**told, "type": "alert", **whose, **happened}


def _frame(columns: dict[str, Any]) -> Frame:
    shown = {name: iso(value) if isinstance(value, datetime) else value for name, value in columns.items()}
    return {"type": "alert", **shown}
