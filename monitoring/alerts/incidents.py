"""Incidents: one alert for a cause that took a fleet away, instead of one for each orchestrator.

When the share of a fleet that the rule `fleet_offline` names, and at least FEWEST, go dark within WINDOW, that is one
incident of the organization, or of the installation when several organizations are hit; the single alerts become its
children, and nobody is told of them. It ends when all but a few are back; those then stand for themselves.

In an incident of the installation each organization has a share: an alert of its own, child of the incident and parent
of its orchestrators' alerts, with the dedup key an incident of its own would have. Its own channels are told of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count

from monitoring.alerts.board import Board
from monitoring.alerts.judging import COMPARE, Finding, Rulebook, dedup_key
from monitoring.alerts.probes import CONTROLLER, Reading, Subject
from monitoring.models import Alert
from orchestrators.models import Instance
from orchestrators.presence import MANAGED

KEY: Final = "fleet_offline"
SINGLE: Final = "orchestrator_inactive"
EMPTY: Final = "organization_empty"
FEWEST: Final = 5
WINDOW: Final = timedelta(minutes=2)
TOGETHER: Final = ", together with others of the installation"
JOIN: Final = timedelta(minutes=5)  # who goes dark later than this after the last one is on its own


def group(board: Board, book: Rulebook) -> None:
    """Fold the orchestrators that went dark into incidents, and close incidents that are over."""
    if any(alert.alert_type == SINGLE for alert in board.fired):
        _join(board, book)
        _begin(board, book)
    _fold_empty(board)
    below = _below(board)
    for incident in _incidents(board):
        _review(board, incident, below[incident.dedup_key])
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
            is_held = row.alert_type == KEY and row.parent is None and len(dark) > together[row.organization_id]
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
            _share(board, book, _open(board, whole, fresh), dark)
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


def _open(board: Board, finding: Finding, children: Sequence[Alert]) -> Alert:
    incident = board.open.get(finding.dedup_key)
    if incident is None:
        board.fire([finding])
        incident = board.open[finding.dedup_key]
    board.adopt(children, incident)
    return incident


def _share(board: Board, book: Rulebook, incident: Alert, alerts: Iterable[Alert]) -> None:
    """Put alerts below an incident of the installation, those of each organization below its share in it.

    Where an organization has switched the rule off it has none, and nobody there is told.
    """
    groups: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        groups[alert.organization_id].append(alert)
    living, below = _living(), _below(board)
    findings = []
    for organization_id, rows in groups.items():
        known = {row.dedup_key for row in (*rows, *below[dedup_key(KEY, (organization_id, ""))])}
        finding = _share_of(book, organization_id, dark=len(known), living=living[organization_id])
        if finding is None:
            board.adopt(rows, incident)
        else:
            findings.append(finding)
    board.fire([finding for finding in findings if finding.dedup_key not in board.open])
    for finding in findings:
        share = board.open[finding.dedup_key]
        board.renew(share, finding)
        board.adopt([share] if share.parent is None else [], incident)
        board.adopt(groups[finding.subject[0]], share)


def _share_of(book: Rulebook, organization_id: str, *, dark: int, living: int) -> Finding | None:
    """Return what an organization is told; as severe as single alerts when few of its own went dark."""
    rule = book.applicable(KEY, organization_id)
    if rule is None:
        return None
    percent = 100 * dark / (dark + living)
    single = book.applicable(SINGLE, organization_id)
    if single is not None and not COMPARE[rule.comparison](percent, rule.threshold):
        rule = copy(rule)
        rule.severity = single.severity
    detail = f"{dark} of {dark + living} orchestrators of {organization_id} went dark{TOGETHER}."
    return Finding(rule, (organization_id, ""), Reading(round(percent, 1), detail))


def _join(board: Board, book: Rulebook) -> None:
    """Let who goes dark while an incident spreads be part of it."""
    below = _below(board)
    spreading = {
        row.organization_id: row
        for row in _incidents(board)
        if board.now - max((one.started_at for one in below[row.dedup_key]), default=row.started_at) <= JOIN
    }
    if whole := spreading.get(""):
        _share(board, book, whole, _dark(board))
        return
    for alert in _dark(board) if spreading else ():
        if incident := spreading.get(alert.organization_id):
            board.adopt([alert], incident)


def _below(board: Board) -> dict[str, list[Alert]]:
    """Return the single alerts below each alert, at any depth, by its dedup key."""
    found: dict[str, list[Alert]] = defaultdict(list)
    for row in board.open.values():
        above = row.parent if row.alert_type == SINGLE else None
        while above is not None:
            found[above.dedup_key].append(row)
            above = above.parent
    return found


def _fold_empty(board: Board) -> None:
    """Keep “no orchestrator is left” and what it says from being told twice."""
    incidents = {row.organization_id: row for row in _incidents(board)}
    for empty in [row for row in board.open.values() if row.alert_type == EMPTY]:
        incident = incidents.get(empty.organization_id) or incidents.get("")
        if incident is not None and empty.parent is None:
            board.adopt([empty], incident)
        elif incident is None:
            board.adopt([row for row in _dark(board) if row.organization_id == empty.organization_id], empty)


def _review(board: Board, incident: Alert, below: Sequence[Alert]) -> None:
    """Ease an incident when few of its orchestrators are still dark; `_release` lets those stand for themselves.

    A share lasts as long as any is.
    """
    dark = sum(row.good_since is None for row in below)
    if dark < (1 if incident.is_share else FEWEST):
        board.ease(incident)
        return
    whose = incident.organization_id or "the installation"
    detail = f"{dark} of the orchestrators of {whose} are dark{TOGETHER if incident.is_share else ''}."
    if incident.good_since is not None or incident.detail != detail:
        incident.good_since, incident.detail, incident.last_seen_at = None, detail, board.now
        board.change(incident)


def _release(board: Board) -> None:
    """Let what a finished incident leaves behind stand for itself."""
    rows = [row for row in board.open.values() if row.parent is not None]
    board.release(row for row in rows if row.parent is not None and row.parent.dedup_key not in board.open)
