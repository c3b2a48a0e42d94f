"""Absence: what becomes of an alert while no samples come: no data is not recovery."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from monitoring.alerts import probes
from monitoring.alerts.board import Board
from monitoring.alerts.judging import Rulebook
from monitoring.alerts.probes import Reading, Subject
from monitoring.models import Alert
from orchestrators.models import Instance

PATIENCE: Final = timedelta(hours=24)
CHUNK: Final = 5000
INACTIVE: Final = "No more samples: the orchestrator is inactive."
GONE: Final = "No more samples: the orchestrator is gone."
TOO_LONG: Final = "No more samples for 24 hours."


def is_unheard(alert: Alert, book: Rulebook, values: Mapping[str, Mapping[Subject, Reading]]) -> bool:
    """Whether rules that are switched on wait for samples of the alert's subject, and none is fresh."""
    subject = (alert.organization_id, alert.orchestrator_id)
    metrics = book.metrics_of(alert.alert_type, organization_id=alert.organization_id) & probes.sampled()
    return bool(metrics) and not any(subject in values.get(metric, {}) for metric in metrics)


def settle(board: Board, unheard: Sequence[Alert]) -> None:
    """Keep alerts open that no sample speaks of; resolve those whose orchestrator will send none, with the reason."""
    states = _states({row.orchestrator_id for row in unheard if row.orchestrator_id})
    for alert in unheard:
        if alert.good_since is not None:  # the last word was good
            board.ease(alert)
        elif reason := _reason(board, alert, states):
            board.resolve(alert, text=reason)
        else:
            board.miss(alert)


def _reason(board: Board, alert: Alert, states: Mapping[str, str]) -> str:
    if alert.orchestrator_id and alert.orchestrator_id not in states:
        return GONE
    if states.get(alert.orchestrator_id) == Instance.Status.INACTIVE:
        return INACTIVE
    return TOO_LONG if board.now - alert.last_seen_at >= PATIENCE else ""


def _states(orchestrator_ids: set[str]) -> dict[str, str]:
    ids, found = sorted(orchestrator_ids), dict[str, str]()
    for start in range(0, len(ids), CHUNK):
        rows = Instance.objects.present().filter(orchestrator_id__in=ids[start : start + CHUNK])
        found.update(rows.values_list("orchestrator_id", "status"))
    return found
