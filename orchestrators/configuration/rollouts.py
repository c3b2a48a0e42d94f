"""Rollouts: bring a version to the fleet, in stages or at once; watch it, stop it, take it back.

The rows are the truth: members are the instances whose desired configuration a rollout changed, and every step is one
transaction under the organization's lock. Reports advance it (`statuses.store`), the sweep finds it anyway.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput
from orchestrators import selection
from orchestrators.configuration import desired, documents, overrides, pace, progress, stages, versions
from orchestrators.configuration.pace import Step
from orchestrators.models import ConfigVersion, Instance, Rollout
from orchestrators.models.instance import released
from orgs import audit, events, organizations
from orgs.models import Organization, User

Status = Rollout.Status
MAX_SECONDS: Final = 30 * 86_400


def active(organization_id: str) -> Rollout | None:
    """Return the rollout that is on its way, None when there is none."""
    rows = Rollout.objects.filter(organization_id=organization_id, status__in=Rollout.ACTIVE)
    return rows.select_related("target", "previous").first()


def require_free(organization: Organization) -> None:
    """Raise `conflict` while a staged rollout is on its way: what it goes back to must stay what it was."""
    row = active(organization.pk)
    if row is not None and row.is_staged:
        raise Conflict(detail=f"Rollout {row.pk} brings version {row.version}: wait for its end, or cancel it.")


# --- beginning ------------------------------------------------------------------------------------------------------


def release(
    organization: Organization, version: ConfigVersion, *, previous: ConfigVersion | None, may_roll_back: bool = True
) -> Rollout:
    """Make `version` the configuration of a locked organization and its whole fleet now; watch what comes of it."""
    now = timezone.now()
    if (older := active(organization.pk)) is not None:
        _end(older, Status.CANCELLED, f"Version {version.version} came after it.", now=now)
    _set_released(organization, version)
    row = Rollout.objects.create(
        organization=organization,
        target=version,
        previous=previous,
        may_roll_back=may_roll_back,
        stages=[stages.EVERYBODY],
        started_by=version.author,
        started_at=now,
        stage_started_at=now,
    )
    desired.republish(_fleet(organization), rollout=row)
    _tell("started", row)
    _proceed(row, organization, now=now)
    return row


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
    another version than the `expected` one by now, and `conflict` while another one is on its way.
    """
    organization, plan, now = organizations.lock(organization.pk), stages.read(wanted), timezone.now()
    versions.require(organization, expected)
    _check_limits(limits)
    if (other := active(organization.pk)) is not None:
        raise Conflict(detail=f"Rollout {other.pk} of version {other.version} is {other.status}: end or cancel it.")
    documents.require(document, organization)
    overrides.require_fitting(document, organization)
    _require_members(plan, organization)
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
    _record("start", row, acting_user=acting_user, after={"version": target.version, "stages": plan}, reason=comment)
    _tell("started", row)
    _give(row, organization)
    _proceed(row, organization, now=now)
    return row


def _require_members(plan: Sequence[stages.Stage], organization: Organization) -> None:
    """Refuse a stage by labels that nobody carries: it would be over at once, and the next one everybody's."""
    fleet = Instance.objects.present().filter(organization=organization)
    for index, stage in enumerate(plan):
        if "labels" in stage and not selection.by_labels(fleet, stage["labels"]).exists():
            raise InvalidInput(fields={f"stages[{index}]": f"No orchestrator carries {stages.text(stage)}."})


def _check_limits(limits: dict[str, int | None]) -> None:
    bounds = {
        "max_failed_percent": (0, 100),
        "stage_timeout_seconds": (1, MAX_SECONDS),
        "soak_seconds": (0, MAX_SECONDS),
    }
    for name, (low, high) in bounds.items():
        value = limits.get(name, low)
        if value is None or not low <= value <= high:
            raise InvalidInput(fields={name: f"Give {low} to {high}."})


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
    """Go on; the stage's time-out begins anew. Raises `conflict` unless it is paused."""
    row, organization = _locked(rollout, (Status.PAUSED,))
    row.status, row.stage_started_at = Status.RUNNING, timezone.now()
    row.save(update_fields=["status", "stage_started_at"])
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
        _take_back(row, organization)
    return row


def _locked(rollout: Rollout, allowed: Iterable[str]) -> tuple[Rollout, Organization]:
    organization = organizations.lock(rollout.organization_id)
    row = Rollout.objects.select_for_update(of=("self",)).select_related("target", "previous").get(pk=rollout.pk)
    if row.status not in allowed:
        raise Conflict(detail=f"This rollout is {row.status}.")
    return row, organization


# --- by itself ------------------------------------------------------------------------------------------------------


def advance_all(organization_ids: Iterable[str], *, now: datetime) -> None:
    """Advance the rollouts of some organizations, where there is one."""
    for row in _moving().filter(organization_id__in=list(organization_ids)):
        advance(row, now=now)


def sweep(*, now: datetime) -> None:
    """Advance every rollout: what a lost report, a killed process or the mere passing of time left behind."""
    for row in _moving():
        advance(row, now=now)


def _moving() -> Any:
    return Rollout.objects.filter(status__in=Rollout.ACTIVE).select_related("target", "previous").order_by("pk")


def advance(rollout: Rollout, *, now: datetime) -> None:
    """Take the steps that are due, if any: the next stage, the end, or the way back. Looks before it locks."""
    if pace.due(rollout, progress.of(rollout), now=now) is None:
        return
    with transaction.atomic(), audit.origin("system"):
        organization = organizations.lock(rollout.organization_id)
        rows = Rollout.objects.select_for_update(of=("self",)).select_related("target", "previous")
        row = rows.filter(pk=rollout.pk, status__in=Rollout.ACTIVE).first()
        if row is not None:
            _proceed(row, organization, now=now)


def _proceed(rollout: Rollout, organization: Organization, *, now: datetime) -> None:
    while rollout.is_active:
        counts = progress.of(rollout)
        match pace.due(rollout, counts, now=now):
            case Step.HALT:
                _halt(rollout, organization, pace.reason(rollout, counts, now=now), now=now)
            case Step.SETTLE:
                rollout.settled_at = now
                rollout.save(update_fields=["settled_at"])
            case Step.NEXT if rollout.stage + 1 < len(rollout.stages):
                rollout.stage, rollout.stage_started_at, rollout.settled_at = rollout.stage + 1, now, None
                rollout.save(update_fields=["stage", "stage_started_at", "settled_at"])
                _give(rollout, organization)
                _tell("advanced", rollout)
            case Step.NEXT:
                _complete(rollout, organization, counts, now=now)
            case _:
                return


def _complete(rollout: Rollout, organization: Organization, counts: progress.Progress, *, now: datetime) -> None:
    _end(rollout, Status.COMPLETED, pace.leftovers(counts), now=now)
    if not rollout.is_staged:
        return
    _set_released(organization, rollout.target)
    rollout.target.released_at = now
    rollout.target.save(update_fields=["released_at"])
    _record("complete", rollout, acting_user=None, after={"version": rollout.version})
    rows = _fleet(organization)
    Instance.objects.filter(config_base=rollout.target).update(config_base=None)
    for row in rows:
        row.config_base = None
    desired.republish(rows)


def _halt(rollout: Rollout, organization: Organization, reason: str, *, now: datetime) -> None:
    """End a rollout that fails, and take its members back to what they had."""
    _end(rollout, Status.HALTED, reason, now=now)
    if rollout.is_staged:
        _record("halt", rollout, acting_user=None, after={"version": rollout.version}, reason=reason)
        _take_back(rollout, organization)
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


def _fleet(organization: Organization, **where: Any) -> list[Instance]:
    """Return present instances, locked in the order every writer takes these locks in."""
    rows = Instance.objects.present().filter(organization=organization, **where)
    return list(rows.select_for_update(of=("self",), no_key=True).order_by("pk"))


def _set_released(organization: Organization, version: ConfigVersion) -> None:
    if documents.digest(released(organization)) == documents.digest(version.content):
        return
    organization.settings = {**organization.settings, "config": version.content}
    organization.save(update_fields=["settings", "updated_at"])


def _give(rollout: Rollout, organization: Organization) -> None:
    """Give the version to those of the stages reached who do not have it."""
    fleet = list(Instance.objects.present().filter(organization=organization))
    chosen = stages.members(fleet, rollout.stages[: rollout.stage + 1])
    lacking = [row.pk for row in chosen if row.config_base_id != rollout.target_id]
    rows = _fleet(organization, pk__in=lacking)
    Instance.objects.filter(pk__in=lacking).update(config_base=rollout.target)
    for row in rows:
        row.config_base = rollout.target
    desired.republish(rows, rollout=rollout)


def _take_back(rollout: Rollout, organization: Organization) -> None:
    rows = _fleet(organization, config_base=rollout.target)
    Instance.objects.filter(config_base=rollout.target).update(config_base=None)
    for row in rows:
        row.config_base = None
    desired.republish(rows)


def _end(rollout: Rollout, status: str, reason: str, *, now: datetime) -> None:
    kept = progress.summary(rollout)
    rollout.status, rollout.reason, rollout.finished_at = status, reason[:1000], now
    rollout.outcome, rollout.failures = kept["outcome"], kept["failures"]
    rollout.save(update_fields=["status", "reason", "finished_at", "outcome", "failures"])
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
