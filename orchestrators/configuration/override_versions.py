"""Versions of overrides: the history of what an orchestrator has of its own, written in the change's transaction."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max, QuerySet
from django.utils import timezone

from moolai.errors import AppError, NotFound
from orchestrators.configuration import documents, overrides
from orchestrators.configuration.overrides import Document
from orchestrators.models import Instance, OverrideVersion
from orgs import audit, parsing
from orgs.models import User

Source = OverrideVersion.Source
KEPT = "What was there before versions were kept."


def current(instance: Instance) -> OverrideVersion:
    """Return the version an orchestrator has; one whose override nobody changed yet is version 0, not stored."""
    row = instance.override_versions.first()
    return row or OverrideVersion(
        orchestrator=instance, version=0, document=overrides.of(instance), created_at=instance.created_at
    )


def listed(instance: Instance) -> QuerySet[OverrideVersion]:
    """Return an orchestrator's versions, newest first; their documents stay in the database."""
    rows = instance.override_versions.select_related("orchestrator")
    return rows.only("version", "comment", "source", "author", "created_at", "changes", "orchestrator__orchestrator_id")


def require(instance: Instance, expected: int | None) -> None:
    """Raise `precondition_failed` when a locked orchestrator's override has another version than the expected one."""
    if expected is not None and (now := current(instance).version) != expected:
        raise AppError("precondition_failed", f"What it has of its own is at version {now} now: read it again.")


def get(instance: Instance, version: int) -> OverrideVersion:
    """Return one version; raises `not_found`."""
    row = instance.override_versions.filter(version=version).first()
    if row is None:
        raise NotFound(detail=f"There is no version {version} of this orchestrator's own configuration.")
    return row


def begin(instance: Instance, *, acting_user: User | None) -> None:
    """Write the version of an orchestrator that was just made, where that has, or had under this id, one to tell."""
    row = instance.override_versions.first()
    record([(instance, row.content if row else overrides.BLANK)], acting_user=acting_user)


def record(
    changes: Sequence[tuple[Instance, Document]],
    *,
    acting_user: User | None,
    comment: str = "",
    source: str = Source.EDIT,
) -> None:
    """Write the next versions of locked instances whose overrides are not what stands beside them any more."""
    changed = [pair for pair in changes if not parsing.is_same(overrides.of(pair[0]), pair[1])]
    found = OverrideVersion.objects.filter(orchestrator__in=[instance.pk for instance, _ in changed]).order_by()
    newest = dict(found.values_list("orchestrator_id").annotate(newest=Max("version")))
    now, author = timezone.now(), audit.actor(acting_user)
    rows: list[OverrideVersion] = []
    for instance, before in changed:
        number = newest.get(instance.pk, 0)
        if not number and before != overrides.BLANK:
            number += 1
            rows.append(_kept(instance, before, now=now))
        document = overrides.of(instance)
        rows.append(
            OverrideVersion(
                orchestrator=instance,
                version=number + 1,
                document=document,
                changes=documents.difference(before, document),
                comment=comment[:500],
                source=source,
                author=author,
                created_by=acting_user,
                created_at=now,
            )
        )
    OverrideVersion.objects.bulk_create(rows)


def _kept(instance: Instance, document: Document, *, now: datetime) -> OverrideVersion:
    return OverrideVersion(
        orchestrator=instance,
        version=1,
        document=document,
        changes=documents.difference(overrides.BLANK, document),
        comment=KEPT,
        source=Source.IMPORT,
        author="system",
        created_at=now,
    )
