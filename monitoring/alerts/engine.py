"""The engine: every ten seconds it reads what happened, judges by the rules, and keeps the alerts true.

Probes are asked outside the transaction; the place among the events, the alerts, their events and what the channels
are told are written in one. When the engine itself was late it declares nothing for SETTLE on what may be stale, and
windows of time are longer by the pause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from monitoring.alerts import absence, incidents, judging, place, probes, reported, silences
from monitoring.alerts.board import Board
from monitoring.alerts.judging import Finding, Rulebook
from monitoring.alerts.probes import Moment, Reading, Subject
from monitoring.models import Alert, EngineState, Holding, Rule
from orgs import leases

LEASE: Final = "alerts"
INTERVAL_SECONDS: Final = 10
LEASE_SECONDS: Final = 60
LATE: Final = timedelta(seconds=30)
SETTLE: Final = timedelta(seconds=30)
Wanted = Mapping[str, Finding]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did."""

    events: int
    fired: int
    open: int
    late_seconds: float


def run(*, holder: str, now: datetime | None = None) -> Outcome | None:
    """Do one run, or return None when another process does or did just now."""
    now = now or timezone.now()
    gap = INTERVAL_SECONDS * 0.6
    grant = leases.take(LEASE, holder=holder, seconds=LEASE_SECONDS, min_gap_seconds=gap, now=now)
    if grant is None:
        return None
    outcome = _run(now=now, ran_at=grant.ran_at)
    leases.finish(grant, now=now)
    return outcome


def _run(*, now: datetime, ran_at: datetime | None) -> Outcome:
    state = _state()
    version = state.ran_at
    late = max(timedelta(0), now - ran_at - timedelta(seconds=INTERVAL_SECONDS)) if ran_at else timedelta(0)
    is_settling = _settle(state, late=late if late > LATE else None, now=now)
    happened = place.read(state)
    book = Rulebook.load()
    moment = Moment(now, late.total_seconds(), happened, _suspects(book), state.memory)
    values = probes.read(book.metrics(), moment, is_settling=is_settling)
    with transaction.atomic():
        held = EngineState.objects.select_for_update().get(pk=state.pk)
        if held.ran_at != version:  # another process was quicker than our lease
            return Outcome(0, 0, 0, late.total_seconds())
        if late > LATE:
            judging.extend(late)
        board = _judge(book, values, reported.findings(happened), late=late if late > LATE else timedelta(0), now=now)
        state.ran_at = now
        state.save()
    return Outcome(len(happened), len(board.fired), len(board.open), late.total_seconds())


def _state() -> EngineState:
    state = EngineState.objects.filter(pk="engine").first()
    if state is None:
        state = EngineState(name="engine")
        place.open_at_the_end(state)
        EngineState.objects.bulk_create([state], ignore_conflicts=True)
        state = EngineState.objects.get(pk="engine")
    return state


def _settle(state: EngineState, *, late: timedelta | None, now: datetime) -> bool:
    """Remember a pause; return whether it is still too fresh to trust every number."""
    if late is not None:
        state.memory["late"] = {"seconds": round(late.total_seconds(), 1), "at": now.timestamp()}
    return now.timestamp() - _pause(state.memory).get("at", 0.0) < SETTLE.total_seconds()


def _pause(memory: dict[str, Any]) -> dict[str, float]:
    found = memory.get("late")
    return found if isinstance(found, dict) else {}


def settled_at(moment: Moment) -> float:
    """Return from which moment on (epoch seconds) numbers are not of the last pause; 0 without one."""
    at = _pause(moment.memory).get("at")
    return 0.0 if at is None else at + SETTLE.total_seconds()


def lateness(moment: Moment) -> dict[Subject, Reading]:
    """Return how long the engine had not run before the last pause ended, for a few minutes afterwards (a probe)."""
    pause = _pause(moment.memory)
    if moment.now.timestamp() - pause.get("at", 0.0) > 300:
        return {probes.CONTROLLER: Reading(0.0)}
    seconds = pause["seconds"]
    return {probes.CONTROLLER: Reading(seconds, f"For {seconds:.0f} s nobody looked for alerts; none was lost.")}


def _suspects(book: Rulebook) -> dict[str, set[Subject]]:
    found: dict[str, set[Subject]] = {}
    rows = Alert.objects.unresolved().values_list("alert_type", "organization_id", "orchestrator_id")
    metrics: dict[str, set[str]] = {}
    for alert_type, organization_id, orchestrator_id in rows:
        if alert_type not in metrics:
            metrics[alert_type] = book.metrics_of(alert_type)
        for metric in metrics[alert_type]:
            found.setdefault(metric, set()).add((organization_id, orchestrator_id))
    for metric, *subject in Holding.objects.values_list("rule__metric", "organization_id", "orchestrator_id"):
        found.setdefault(metric, set()).add((subject[0], subject[1]))
    return found


def _judge(
    book: Rulebook, values: dict[str, dict[Subject, Reading]], raised: Wanted, *, late: timedelta, now: datetime
) -> Board:
    board = Board(now=now)
    if late:
        board.extend(late)
    held = list(judging.holding(book, values))
    wanted = judging.worst(judging.ripe(held, set(values), now=now)) | dict(raised)
    _reconcile(board, book, wanted, judging.worst(held), values)
    silences.mark(board)
    incidents.group(board, book)
    silences.mark(board)  # incidents are new
    _tell(board)
    board.save()
    return board


def _reconcile(
    board: Board, book: Rulebook, wanted: Wanted, held: Wanted, values: dict[str, dict[Subject, Reading]]
) -> None:
    unheard = []
    for key, alert in list(board.open.items()):
        own = book.applicable(alert.rule_key, alert.organization_id)
        metrics = book.metrics_of(alert.alert_type) - set(probes.OWN)
        if key in wanted:
            board.renew(alert, wanted[key], own=own)
        elif alert.alert_type == incidents.KEY:
            continue
        elif reported.is_one(alert):
            reported.settle(board, alert)
        elif key in held:  # again, but not for long enough to be an alert by itself: it is not gone
            board.renew(alert, held[key], own=own, is_ripe=False)
        elif metrics <= values.keys():
            if absence.is_unheard(alert, book, values):
                unheard.append(alert)
            else:
                board.ease(alert, _eased(alert, own, values))
    absence.settle(board, unheard)
    board.fire([finding for key, finding in wanted.items() if key not in board.open])


def _eased(alert: Alert, own: Rule | None, values: dict[str, dict[Subject, Reading]]) -> Finding | None:
    """Return the number of now beside the rule that holds no more, where there is one."""
    subject = (alert.organization_id, alert.orchestrator_id)
    reading = values.get(own.metric, {}).get(subject) if own is not None else None
    return Finding(own, subject, reading) if own is not None and reading is not None else None


def _tell(board: Board) -> None:
    """Announce what is due, and escalate what nobody took."""
    forming = incidents.forming(board)
    for alert in list(board.open.values()):
        is_part = alert.parent is not None and not alert.is_share
        if is_part or alert.is_silenced or alert.status != Alert.Status.FIRING:
            continue
        if not alert.is_announced:
            is_due = alert.announce_at is None or alert.announce_at <= board.now
            if is_due and alert.good_since is None and alert.dedup_key not in forming:
                board.announce(alert)
        elif alert.escalate_at is not None and alert.escalate_at <= board.now:
            board.escalate(alert)
