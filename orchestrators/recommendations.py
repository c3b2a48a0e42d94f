"""Recommendations from orchestrators: read, dismissed, or accepted, which makes their suggestion configuration.

The suggestion is a JSON merge patch (RFC 7396) in the message's content, as `suggested_config` or `config`. It becomes
part of the orchestrator's own columns, or of its organization's base. Nothing an orchestrator sends is applied before
an administrator says so.
"""

from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput, NotFound
from orchestrators import configuration, instances
from orchestrators.configuration import documents, override_versions, overrides
from orchestrators.models import ConfigVersion, Message, OverrideVersion, Recommendation, Review
from orchestrators.models.instance import DOCUMENTS, released
from orgs import audit, events, organizations
from orgs.models import User

STATES: Final = ("new", *Review.Status.values)
TARGETS: Final = ("orchestrator", "organization")


def rows(*, state: str = "") -> QuerySet[Recommendation]:
    """Return recommendations with their reviews, of one state or of all."""
    found = Recommendation.objects.select_related("orchestrator__organization", "review")
    if state == "new":
        return found.filter(review__isnull=True)
    return found.filter(review__status=state) if state else found


def listed(*, state: str = "") -> QuerySet[Recommendation]:
    """Return what `rows` does for a list: the configurations they speak of stay in the database."""
    return rows(state=state).defer(*(f"orchestrator__{name}" for name in DOCUMENTS))


def preview(row: Recommendation, *, target: str) -> list[dict[str, Any]]:
    """Return what accepting it for `target` would change, as a difference; nothing without a suggestion."""
    patch = row.suggestion or {}
    if target == "orchestrator":
        before = overrides.of(row.orchestrator)
        return documents.difference(before, overrides.merge(before, patch) if set(patch) <= set(before) else before)
    before = released(row.orchestrator.organization)
    return documents.difference(before, documents.merge(before, patch))


def problems(row: Recommendation, *, target: str) -> list[str]:
    """Return what would keep it from being accepted for `target`, as sentences; nothing when it would be."""
    patch, instance = row.suggestion or {}, row.orchestrator
    if not patch:
        return []
    if target == "organization":
        document = documents.merge(released(instance.organization), patch)
        found = configuration.validate(document, instance.organization)
        return [f"{problem['path'] or 'The whole'}: {problem['problem']}" for problem in found]
    if wrong := overrides.patch_problems(patch):
        return [f"{path or 'The whole'}: {words}" for path, words in wrong.items()]
    merged = overrides.merge(overrides.of(instance), patch)
    found = overrides.Checker(instance.organization).look(merged)
    return [f"{problem['path'] or 'The whole'}: {problem['problem']}" for problem in found]


def made(row: Recommendation) -> ConfigVersion | OverrideVersion | None:
    """Return the version that accepting it wrote, None where it wrote none, or did before that was noted."""
    review = getattr(row, "review", None)
    applied = review.applied if review and review.applied else {}
    if "version" not in applied:
        return None
    if applied["target"] == "organization":
        return ConfigVersion.objects.filter(organization=applied["target_id"], version=applied["version"]).first()
    return OverrideVersion.objects.filter(orchestrator=row.orchestrator, version=applied["version"]).first()


def default_target(row: Recommendation) -> str:
    """Return the narrowest configuration that can hold all of the suggestion."""
    return "orchestrator" if set(row.suggestion or {}) <= set(overrides.COLUMNS) else "organization"


@transaction.atomic
def read(row: Recommendation, *, acting_user: User | None, reason: str = "") -> Recommendation:
    """Note that somebody read it; one that was reviewed already stays as it is."""
    row = _locked(row)
    return row if row.state != "new" else _review(row, Review.Status.READ, acting_user=acting_user, reason=reason)


@transaction.atomic
def dismiss(row: Recommendation, *, acting_user: User | None, reason: str = "") -> Recommendation:
    """Turn it down; raises `conflict` when it was decided already."""
    row = _undecided(row)
    _note(row, "dismiss", acting_user=acting_user, reason=reason)
    return _review(row, Review.Status.DISMISSED, acting_user=acting_user, reason=reason)


@transaction.atomic
def accept(row: Recommendation, *, acting_user: User | None, target: str = "", reason: str = "") -> Recommendation:
    """Apply what it suggests to `target` (orchestrator or organization; "": the narrower that can hold it).

    Raises `conflict` when it was decided already or its orchestrator is deleted, `invalid_field` for a suggestion that
    the target does not take.
    """
    organizations.lock(row.orchestrator.organization_id)  # before anything that the suggestion is merged into is read
    row = _undecided(row)
    target = target or default_target(row)
    applied = _apply(row, row.suggestion, target, acting_user=acting_user) if row.suggestion else None
    _note(row, "accept", acting_user=acting_user, reason=reason, applied=applied)
    return _review(row, Review.Status.ACCEPTED, acting_user=acting_user, reason=reason, applied=applied)


def _locked(row: Recommendation) -> Recommendation:
    """Lock the message, which two reviewers meet at, and read it anew."""
    if Message.objects.select_for_update(of=("self",)).filter(pk=row.pk).first() is None:
        raise NotFound  # it went with its orchestrator
    return rows().get(pk=row.pk)


def _undecided(row: Recommendation) -> Recommendation:
    row = _locked(row)
    if row.state in (Review.Status.ACCEPTED, Review.Status.DISMISSED):
        raise Conflict(detail=f"This recommendation was {row.state} already.")
    return row


def _apply(row: Recommendation, patch: dict[str, Any], target: str, *, acting_user: User | None) -> dict[str, Any]:
    instance = row.orchestrator
    if target == "organization":
        document = documents.merge(released(instance.organization), patch)
        comment = f"recommendation {row.message_id} of {instance.orchestrator_id}"
        source = ConfigVersion.Source.RECOMMENDATION
        made = configuration.publish(
            instance.organization, document, acting_user=acting_user, comment=comment, source=source
        )
        return {"target": target, "target_id": instance.organization_id, "version": made.version}
    if instance.deleted_at is not None:
        raise Conflict(detail=f"The orchestrator {instance.orchestrator_id} was deleted.")
    if unknown := sorted(set(patch) - set(overrides.COLUMNS)):
        detail = f"Only an organization's configuration has {', '.join(unknown)}; accept it for the organization."
        raise InvalidInput(fields={"target": detail})
    if wrong := overrides.patch_problems(patch):
        raise InvalidInput(detail="The suggestion does not fit an orchestrator's configuration.", fields=wrong)
    wanted = overrides.columns(overrides.merge(overrides.of(instance), patch))
    updated = instances.update(
        instance,
        acting_user=acting_user,
        comment=f"recommendation {row.message_id}",
        source=OverrideVersion.Source.RECOMMENDATION,
        **wanted,
    )
    version = override_versions.current(updated).version
    return {"target": target, "target_id": instance.orchestrator_id, "version": version}


def _review(
    row: Recommendation, status: str, *, acting_user: User | None, reason: str = "", applied: Any = None
) -> Recommendation:
    columns = {"status": status, "reason": reason[:500], "applied": applied, "reviewed_by": acting_user}
    columns |= {"actor": audit.actor(acting_user), "reviewed_at": timezone.now()}
    Review.objects.update_or_create(message_id=row.pk, defaults=columns)
    events.record(
        f"recommendation.{status}",
        organization_id=row.orchestrator.organization_id,
        orchestrator_id=row.orchestrator.orchestrator_id,
        data={"id": row.pk, "message_id": row.message_id, "actor": columns["actor"]},
    )
    return rows().get(pk=row.pk)


def _note(row: Recommendation, action: str, *, acting_user: User | None, reason: str, applied: Any = None) -> None:
    audit.record(
        f"recommendation.{action}",
        acting_user=acting_user,
        organization_id=row.orchestrator.organization_id,
        target=("recommendation", row.message_id),
        before={"status": row.state},
        after={"orchestrator_id": row.orchestrator.orchestrator_id, "applied": applied},
        reason=reason,
    )
