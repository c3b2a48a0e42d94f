"""Statuses: what orchestrators report of their configuration, in `config_status` frames (PROTOCOL §1)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from orchestrators import protocol
from orchestrators.configuration import rollouts
from orchestrators.models import Instance
from orchestrators.protocol import FrameError
from orgs import events
from orgs.models import Event

logger = logging.getLogger(__name__)
MAX_ERROR: Final = 1000
_STORE: Final = """
UPDATE orchestrator_instances
SET config_reported_hash = config_hash, config_status = told.column3, config_error = told.column4,
  config_reported_at = %s
FROM (VALUES {rows}) AS told
WHERE orchestrator_instances.id = told.column1 AND orchestrator_instances.config_hash = told.column2
"""
OUTCOMES: Final = (Instance.ConfigStatus.APPLIED, Instance.ConfigStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Report:
    """A validated `config_status` frame."""

    instance_pk: int
    orchestrator_id: str
    organization_id: str
    config_hash: str
    status: str
    error: str


def check(session: Any, frame_: dict[str, Any]) -> Report:
    """Validate a `config_status` frame (PROTOCOL §1)."""
    status = frame_.get("status")
    if status not in ("applying", "applied", "failed"):
        raise FrameError("invalid_field", "status must be applying, applied or failed.", path="status")
    return Report(
        session.instance_pk,
        session.orchestrator_id,
        session.organization_id,
        protocol.text_field(frame_, "config_hash", limit=200),
        status,
        protocol.text_field(frame_, "error", limit=MAX_ERROR),
    )


def store(reports: Sequence[Report]) -> list[None]:
    """Store what the sessions reported, newest report per orchestrator last; rollouts that waited for it move on."""
    _store(reports)
    outcomes = {report.organization_id for report in reports if report.status != "applying"}
    try:
        rollouts.advance_all(outcomes, now=timezone.now())
    except (DatabaseError, InterfaceError) as error:  # the reports are stored; the sweep looks again
        logger.warning("rollouts wait for the sweep: %s", error)
    return [None] * len(reports)


@transaction.atomic
def _store(reports: Sequence[Report]) -> None:
    """Write the reports on what each orchestrator should run now; those on older configurations cover nothing."""
    keys = {report.instance_pk for report in reports}
    locked = Instance.objects.filter(pk__in=keys).select_for_update(no_key=True).order_by("pk")
    rows = {row.pk: row for row in locked.only("pk", "config_hash", "config_status", "config_error")}
    latest, news = _follow(rows, reports)
    if not latest:
        return
    values: list[Any] = [connection.ops.adapt_datetimefield_value(timezone.now())]
    for report in latest.values():
        values += [report.instance_pk, report.config_hash, report.status, report.error]
    with connection.cursor() as cursor:
        cursor.execute(_STORE.format(rows=",".join(["(%s, %s, %s, %s)"] * len(latest))), values)
    events.record_many(
        Event(
            kind=f"config.{report.status}",
            organization_id=report.organization_id,
            orchestrator_id=report.orchestrator_id,
            data={"status": report.status, "error": report.error},
        )
        for report in news
    )


def _follow(rows: Mapping[int, Instance], reports: Sequence[Report]) -> tuple[dict[int, Report], list[Report]]:
    """Return the report that holds at the end for each of `rows`, and those that said something new, in order.

    Reports may come twice and in another order: `applying` says nothing once there is an outcome.
    """
    latest: dict[int, Report] = {}
    news = []
    for report in reports:
        row = rows.get(report.instance_pk)
        if row is None or row.config_hash != report.config_hash:
            continue
        if report.status == Instance.ConfigStatus.APPLYING and row.config_status in OUTCOMES:
            continue
        latest[row.pk] = report
        if (row.config_status, row.config_error) != (report.status, report.error):
            row.config_status, row.config_error = report.status, report.error
            news.append(report)
    return latest, news
