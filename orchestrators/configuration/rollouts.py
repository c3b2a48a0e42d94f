"""Rollouts: bring a version to the fleet, in stages or at once; watch it, stop it, take it back.

The rows are the truth: members are the instances whose desired configuration a rollout changed, and every step is one
transaction under the organization's lock. Reports advance it (`statuses.store`), the sweep finds it anyway.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators.configuration import (
    desired,
    documents,
    members,
    overrides,
    pace,
    progress,
    stages,
    tracking,
    versions,
)
from orchestrators.configuration.pace import Step
from orchestrators.models import ConfigVersion, Job, Rollout
from orchestrators.models.instance import released
from orgs import audit, events, organizations
from orgs.models import Organization, User

Status = Rollout.Status
logger = logging.getLogger(__name__)
_broken: set[tuple[int, datetime]] = set()


def active(organization_id: str) -> Rollout | None:
    """Return the rollout that is on its way, None when there is none."""
    rows = Rollout.objects.filter(organization_id=organization_id, status__in=Rollout.ACTIVE)
    return rows.select_related("target", "previous").first()


def require_free(organization: Organization) -> None:
    """Raise `conflict` while a staged rollout is on its way: what it goes back to must stay what it was."""
    row = active(organization.pk)
    if row is not None and row.is_staged:
        raise Conflict(detail=f"Rollout {row.pk} brings version {row.version}: wait for its end, or cancel it.")


def require_not_halted(version: ConfigVersion) -> None:
    """Raise `conflict` for a version whose own rollout was halted; it says when and why."""
    row = Rollout.objects.filter(target=version, status=Status.HALTED).order_by("-id").first()
    if row is not None:
        when = f"{row.finished_at:%Y-%m-%d %H:%M} UTC" if row.finished_at else "earlier"
        reason = row.reason.rstrip(".")
        raise Conflict(
            detail=f"Version {version.version} was halted on {when}: {reason}. To publish it anyway, force it."
        )


# --- beginning ------------------------------------------------------------------------------------------------------


def release(
    organization: Organization, version: ConfigVersion, *, previous: ConfigVersion | None, may_roll_back: bool = True
) -> Rollout:
    """Make `version` the configuration of a locked organization and its whole fleet now; watch what comes of it.

    What fails goes back to the newest version that is proven, else to the `previous` one.
    """
    now = timezone.now()
    _supersede(organization, version, now=now)
    members.release(organization, version)
    row = Rollout.objects.create(
        organization=organization,
        target=version,
        previous=(versions.proven(organization, before=version) if may_roll_back else None) or previous,
        may_roll_back=may_roll_back,
        stages=[stages.EVERYBODY],
        started_by=version.author,
        started_at=now,
        stage_started_at=now,
    )
    desired.republish(members.locked(organization), rollout=row)
    _tell("started", row)
    _proceed(row, organization, now=now)
    return row


def _supersede(organization: Organization, version: ConfigVersion, *, now: datetime) -> None:
    """End the watch over what was released before: a newer change, staged or not, is what counts now."""
    if (older := active(organization.pk)) is not None:
        _end(older, Status.CANCELLED, f"Superseded by version {version.version}.", now=now)


@transaction.atomic
def start(
    organization: Organization,
    document: dict[str, Any],
    *,
    wanted: Any,
    acting_user: User | None,
    comment: str = "",
    source: str = ConfigVersion.Source.EDIT,
    expected: int | None = None,
    **limits: int | None,
) -> Rollout:
    """Begin a staged rollout of `document` as a new version; the organization's own stays what it is until the end.

    `wanted` are the stages (see `stages.read`); `limits` are `max_failed_percent`, `max_failed`,
    `stage_timeout_seconds` and `soak_seconds`. Raises `invalid_field`, `precondition_failed` when the organization has
    another version than the `expected` one by now, and `conflict` while another staged one is on its way. The watch
    over a version that was released at once ends.
    """
    organization, plan, now = organizations.lock(organization.pk), stages.read(wanted), timezone.now()
    versions.require(organization, expected)
    pace.check(limits)
    require_free(organization)
    documents.require(document, organization)
    overrides.require_fitting(document, organization)
    members.require(plan, organization)
    before = released(organization)
    previous = versions.keep(organization, document=before)
    target = versions.record(
        organization,
        document,
        source=source,
        acting_user=acting_user,
        comment=comment,
        before=before,
        is_released=False,
    )
    _supersede(organization, target, now=now)
    row = Rollout.objects.create(
        organization=organization,
        target=target,
        previous=previous,
        is_staged=True,
        stages=plan,
        started_by=target.author,
        started_at=now,
        stage_started_at=now,
        **limits,
    )
    tracking.begin(row, acting_user=acting_user)
    _record("start", row, acting_user=acting_user, after={"version": target.version, "stages": plan}, reason=comment)
    _tell("started", row)
    members.give(row, organization)
    _proceed(row, organization, now=now)
    return row


# --- by hand --------------------------------------------------------------------------------------------------------


@transaction.atomic
def pause(rollout: Rollout, *, acting_user: User | None, reason: str = "") -> Rollout:
    """Stop at the running stage; too many failures still take the fleet back. Raises `conflict` unless it runs."""
    row, _ = _locked(rollout, (Status.RUNNING,))
    row.status = Status.PAUSED
    row.save(update_fields=["status"])
    _record("pause", row, acting_user=acting_user, reason=reason)
    _tell("paused", row)
    return row


@transaction.atomic
def resume(rollout: Rollout, *, acting_user: User | None, reason: str = "") -> Rollout:
    """Go on; the stage's time-out and its soak begin anew. Raises `conflict` unless it is paused."""
    row, organization = _locked(rollout, (Status.PAUSED,))
    row.status, row.stage_started_at, row.settled_at = Status.RUNNING, timezone.now(), None
    row.save(update_fields=["status", "stage_started_at", "settled_at"])
    _record("resume", row, acting_user=acting_user, reason=reason)
    _tell("resumed", row)
    _proceed(row, organization, now=row.stage_started_at)
    return row


@transaction.atomic
def cancel(rollout: Rollout, *, acting_user: User | None, reason: str = "") -> Rollout:
    """End it: of a staged one the members go back, a version released at once stays and is not watched any more.

    Raises `conflict` when it has ended already.
    """
    row, organization = _locked(rollout, Rollout.ACTIVE)
    _record("cancel", row, acting_user=acting_user, reason=reason)
    _end(row, Status.CANCELLED, reason or f"Cancelled by {audit.actor(acting_user)}.", now=timezone.now())
    if row.is_staged:
        members.take_back(row, organization)
    return row


def cancel_job(job: Job, *, acting_user: User | None) -> bool:
    """Cancel the rollout that a job shows; False when there is none any more. Raises what `cancel` raises."""
    row = Rollout.objects.filter(job=job).first()
    if row is not None:
        cancel(row, acting_user=acting_user)
    return row is not None


def _locked(rollout: Rollout, allowed: Iterable[str]) -> tuple[Rollout, Organization]:
    organization = organizations.lock(rollout.organization_id)
    row = Rollout.objects.select_for_update(of=("self",)).select_related("target", "previous").get(pk=rollout.pk)
    if row.status not in allowed:
        raise Conflict(detail=f"This rollout is {row.status}.")
    return row, organization


# --- by itself ------------------------------------------------------------------------------------------------------


def advance_all(organization_ids: Iterable[str], *, now: datetime) -> None:
    """Advance the rollouts of some organizations, where there is one."""
    _advance_each(_moving().filter(organization_id__in=list(organization_ids)), now=now)


def sweep(*, now: datetime) -> None:
    """Advance every rollout: what a lost report, a killed process or the mere passing of time left behind."""
    _advance_each(_moving(), now=now)


def _advance_each(rollouts: Iterable[Rollout], *, now: datetime) -> None:
    """Advance each, whatever becomes of the others; what is wrong with one is told once, not with every sweep."""
    for row in rollouts:
        try:
            advance(row, now=now)
            _broken.discard((row.pk, row.started_at))
        except Exception:
            if (row.pk, row.started_at) not in _broken:
                logger.exception("rollout %s cannot go on; it is tried again with every sweep", row.pk)
            _broken.add((row.pk, row.started_at))


def _moving() -> Any:
    return Rollout.objects.filter(status__in=Rollout.ACTIVE).select_related("target", "previous").order_by("pk")


def advance(rollout: Rollout, *, now: datetime) -> None:
    """Take the steps that are due, if any: the next stage, the end, or the way back. Looks before it locks."""
    counts = progress.of(rollout, now=now)
    if pace.due(rollout, counts, now=now) is None:
        tracking.follow(rollout, counts)
        return
    with transaction.atomic():
        organization = organizations.lock(rollout.organization_id)
        rows = Rollout.objects.select_for_update(of=("self",)).select_related("target", "previous")
        row = rows.filter(pk=rollout.pk, status__in=Rollout.ACTIVE).first()
        if row is not None:
            _proceed(row, organization, now=now)


@audit.origin(audit.SYSTEM.actor)  # also where a person's start or resume is what makes a step due
def _proceed(rollout: Rollout, organization: Organization, *, now: datetime) -> None:
    while rollout.is_active:
        counts = progress.of(rollout, now=now)
        tracking.follow(rollout, counts)
        match pace.due(rollout, counts, now=now):
            case Step.HALT:
                _halt(rollout, organization, pace.reason(rollout, counts, now=now), now=now)
            case Step.SETTLE:
                rollout.settled_at = now
                rollout.save(update_fields=["settled_at"])
            case Step.NEXT if rollout.stage + 1 < len(rollout.stages):
                rollout.stage, rollout.stage_started_at, rollout.settled_at = rollout.stage + 1, now, None
                rollout.save(update_fields=["stage", "stage_started_at", "settled_at"])
                members.give(rollout, organization)
                _tell("advanced", rollout)
            case Step.NEXT:
                _complete(rollout, organization, counts, now=now)
            case _:
                return


def _complete(rollout: Rollout, organization: Organization, counts: progress.Progress, *, now: datetime) -> None:
    _end(rollout, Status.COMPLETED, pace.leftovers(counts), now=now)
    if not rollout.is_staged:
        return
    members.release(organization, rollout.target)
    rollout.target.released_at = now
    rollout.target.save(update_fields=["released_at"])
    _record("complete", rollout, acting_user=None, after={"version": rollout.version})
    members.take_back(rollout, organization, everybody=True)


def _halt(rollout: Rollout, organization: Organization, reason: str, *, now: datetime) -> None:
    """End a rollout that fails, and take its members back to what they had."""
    _end(rollout, Status.HALTED, reason, now=now)
    if rollout.is_staged:
        _record("halt", rollout, acting_user=None, after={"version": rollout.version}, reason=reason)
        members.take_back(rollout, organization)
    elif rollout.may_roll_back:
        document = rollout.previous.content if rollout.previous else {}
        back = versions.record(
            organization,
            document,
            source=ConfigVersion.Source.AUTOMATIC_ROLLBACK,
            acting_user=None,
            comment=f"Version {rollout.version}: {reason}",
            before=rollout.target.content,
            is_released=True,
        )
        after = {"version": back.version, "config_hash": back.config_hash}
        _record("halt", rollout, acting_user=None, before={"version": rollout.version}, after=after, reason=reason)
        release(organization, back, previous=rollout.target, may_roll_back=False)


# --- steps ----------------------------------------------------------------------------------------------------------


def _end(rollout: Rollout, status: str, reason: str, *, now: datetime) -> None:
    kept = progress.summary(rollout, now=now)
    rollout.status, rollout.reason, rollout.finished_at = status, reason[:1000], now
    rollout.outcome, rollout.failures = kept["outcome"], kept["failures"]
    rollout.save(update_fields=["status", "reason", "finished_at", "outcome", "failures"])
    tracking.end(rollout)
    _tell(status, rollout)


def _tell(what: str, rollout: Rollout) -> None:
    data = {
        "rollout": rollout.pk,
        "version": rollout.version,
        "stage": stages.text(rollout.stages[rollout.stage]),
        "reason": rollout.reason,
    }
    events.record(f"rollout.{what}", organization_id=rollout.organization_id, data=data)


def _record(action: str, rollout: Rollout, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"rollout.{action}",
        acting_user=acting_user,
        organization_id=rollout.organization_id,
        target=("rollout", str(rollout.pk)),
        **change,
    )
