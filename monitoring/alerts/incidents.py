"""Incidents: one alert for a cause that took a fleet away, instead of one for each orchestrator.

When the share of a fleet that the rule `fleet_offline` names, and at least FEWEST, go dark within WINDOW, that is one
incident of the organization, or of the installation when several organizations are hit; the single alerts become its
children, and nobody is told of them. It ends when all but a few are back; those then stand for themselves.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count

from monitoring.alerts.board import Board
from monitoring.alerts.judging import COMPARE, Finding, Rulebook
from monitoring.alerts.probes import CONTROLLER, Reading, Subject
from monitoring.models import Alert
from orchestrators.models import Instance
from orchestrators.presence import MANAGED

KEY: Final = "fleet_offline"
SINGLE: Final = "orchestrator_inactive"
EMPTY: Final = "organization_empty"
FEWEST: Final = 5
WINDOW: Final = timedelta(minutes=2)
JOIN: Final = timedelta(minutes=5)  # who goes dark later than this after the last one is on its own


def group(board: Board, book: Rulebook) -> None:
    """Fold the orchestrators that went dark into incidents, and close incidents that are over."""
    if any(alert.alert_type == SINGLE for alert in board.fired):
        _join(board)
        _begin(board, book)
    _fold_empty(board)
    for incident in _incidents(board):
        _review(board, incident)
    _release(board)


def forming(board: Board) -> set[str]:
    """Return the dedup keys of those nobody is told of yet: so many went dark together that more may follow."""
    dark = [row for row in _dark(board) if not row.is_announced and board.now - row.started_at < patience()]
    together = Counter(row.organization_id for row in dark)
    found: set[str] = set()
    for row in board.open.values():
        if board.now - row.started_at >= patience() or not row.organization_id:
            continue
        if row.alert_type in (SINGLE, EMPTY):
            is_held = together[row.organization_id] >= FEWEST or len(dark) >= FEWEST
        else:  # an organization's incident, while others go dark too, may turn out to be the installation's
            is_held = row.alert_type == KEY and len(dark) > together[row.organization_id]
        found |= {row.dedup_key} if is_held else set()
    return found


def patience() -> timedelta:
    """Return how long a fleet that vanished at once takes to be declared dark: its last heartbeats are spread."""
    return timedelta(seconds=settings.ALERT_GROUPING_SECONDS + settings.HEARTBEAT_INTERVAL_SEC)


def _dark(board: Board) -> list[Alert]:
    """Return the single alerts of the window that belong to no incident and to no maintenance."""
    since = board.now - WINDOW
    rows = (row for row in board.open.values() if row.alert_type == SINGLE and row.started_at >= since)
    return [
        row
        for row in rows
        if not row.is_silenced and row.good_since is None and (row.parent is None or row.parent.alert_type == EMPTY)
    ]


def _incidents(board: Board) -> list[Alert]:
    return [row for row in board.open.values() if row.alert_type == KEY]


def _living() -> Counter[str]:
    rows = Instance.objects.filter(MANAGED).exclude(status=Instance.Status.INACTIVE).order_by()
    return Counter(dict(rows.values_list("organization_id").annotate(number=Count("pk"))))


def _begin(board: Board, book: Rulebook) -> None:
    """Open an incident for each organization that is hit, or one for the installation when that is what happened."""
    dark, living = _dark(board), _living()
    groups: dict[str, list[Alert]] = {}
    for alert in dark:
        groups.setdefault(alert.organization_id, []).append(alert)
    hit = {
        organization_id: finding
        for organization_id, rows in groups.items()
        if (finding := _finding(book, (organization_id, ""), dark=len(rows), living=living[organization_id]))
    }
    fresh = [row for row in _incidents(board) if row.organization_id and row.parent is None]
    fresh = [row for row in fresh if board.now - row.started_at < WINDOW]
    is_wide = len(hit) + len(fresh) > 1 and bool(hit)
    rest = [row for row in dark if row.organization_id not in hit]
    others = sum(number for organization_id, number in living.items() if organization_id not in hit)
    if is_wide or (
        len({row.organization_id for row in rest}) > 1 and _finding(book, CONTROLLER, dark=len(rest), living=others)
    ):
        whole = _finding(book, CONTROLLER, dark=len(dark), living=living.total(), is_certain=True)
        if whole is not None:
            _open(board, whole, [*dark, *fresh])
            return
    for organization_id, finding in hit.items():
        _open(board, finding, groups[organization_id])


def _finding(book: Rulebook, subject: Subject, *, dark: int, living: int, is_certain: bool = False) -> Finding | None:
    rule = book.applicable(KEY, subject[0])
    percent = 100 * dark / (dark + living)
    if rule is None or dark < FEWEST or not (is_certain or COMPARE[rule.comparison](percent, rule.threshold)):
        return None
    whose = f"of {subject[0]}" if subject[0] else "of the installation"
    detail = f"{dark} of {dark + living} orchestrators {whose} went dark."
    return Finding(rule, subject, Reading(round(percent, 1), detail))


def _open(board: Board, finding: Finding, children: Sequence[Alert]) -> None:
    incident = board.open.get(finding.dedup_key)
    if incident is None:
        board.fire([finding])
        incident = board.open[finding.dedup_key]
    board.adopt(children, incident)


def _join(board: Board) -> None:
    """Let who goes dark while an incident spreads be part of it."""
    spreading = {row.organization_id: row for row in _incidents(board) if board.now - _newest(board, row) <= JOIN}
    for alert in _dark(board) if spreading else ():
        incident = spreading.get("") or spreading.get(alert.organization_id)
        if incident is not None:
            board.adopt([alert], incident)


def _children(board: Board, incident: Alert) -> list[Alert]:
    return [row for row in board.open.values() if row.parent is incident]


def _newest(board: Board, incident: Alert) -> datetime:
    return max((row.started_at for row in _children(board, incident)), default=incident.started_at)


def _fold_empty(board: Board) -> None:
    """Keep “no orchestrator is left” and what it says from being told twice."""
    incidents = {row.organization_id: row for row in _incidents(board)}
    for empty in [row for row in board.open.values() if row.alert_type == EMPTY]:
        incident = incidents.get(empty.organization_id) or incidents.get("")
        if incident is not None and empty.parent is None:
            board.adopt([empty], incident)
        elif incident is None:
            board.adopt([row for row in _dark(board) if row.organization_id == empty.organization_id], empty)


def _review(board: Board, incident: Alert) -> None:
    """Ease an incident when few of its orchestrators are still dark; `_release` lets those stand for themselves."""
    dark = [row for row in _children(board, incident) if row.good_since is None and row.alert_type in (SINGLE, KEY)]
    if len(dark) < FEWEST and all(row.alert_type == SINGLE for row in dark):
        board.ease(incident)
        return
    number = sum(_is_below(row, incident) for row in board.open.values() if row.alert_type == SINGLE)
    detail = f"{number} orchestrators of {incident.organization_id or 'the installation'} are dark."
    if incident.good_since is not None or incident.detail != detail:
        incident.good_since, incident.detail, incident.last_seen_at = None, detail, board.now
        board.change(incident)


def _is_below(alert: Alert, incident: Alert) -> bool:
    parent = alert.parent
    return parent is incident or (parent is not None and parent.parent is incident)


def _release(board: Board) -> None:
    """Let what a finished incident leaves behind stand for itself."""
    rows = [row for row in board.open.values() if row.parent is not None]
    board.release(row for row in rows if row.parent is not None and row.parent.dedup_key not in board.open)
