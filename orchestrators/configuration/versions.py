"""Versions: the history of an organization's configuration. Written in the transaction of the change, never changed."""

from collections.abc import Collection
from typing import Any, Final

from django.db.models import Exists, Max, OuterRef, Q
from django.utils import timezone

from moolai.errors import AppError, NotFound
from orchestrators.configuration import documents
from orchestrators.models import ConfigVersion, Instance, Rollout
from orchestrators.models.instance import released
from orgs import audit
from orgs.models import Organization, User

Source = ConfigVersion.Source
_ALL_APPLIED: Final = Q(outcome__waiting=0, outcome__lost=0, outcome__failed=0, outcome__applied__gt=0)
TAKEN: Final = Q(status=Rollout.Status.COMPLETED) | Q(_ALL_APPLIED, status=Rollout.Status.CANCELLED, is_staged=False)


def current(organization: Organization) -> ConfigVersion:
    """Return the version an organization has; one that nobody published is version 0, which is not stored."""
    row = organization.config_versions.filter(released_at__isnull=False).first()
    return row or ConfigVersion(
        organization=organization,
        version=0,
        document=released(organization),
        config_hash=documents.digest(released(organization)),
        created_at=organization.created_at,
    )


def followed(instances: Collection[Instance]) -> dict[int, int]:
    """Return which version of its organization's configuration each of `instances` is to run, by key; 0 without any.

    It is the one that a staged rollout gave it, else the newest that was released. `config_base` is read where it is
    not loaded.
    """
    rows = ConfigVersion.objects.filter(released_at__isnull=False)
    rows = rows.filter(organization__in={row.organization_id for row in instances}).order_by()
    newest = dict(rows.values_list("organization_id").annotate(newest=Max("version")))
    return {
        row.pk: row.config_base.version if row.config_base else newest.get(row.organization_id, 0) for row in instances
    }


def text(organization_id: str, version: int) -> str:
    """Return a version as people are told of it."""
    return f"{organization_id} version {version}" if version else "no configuration published"


def require(organization: Organization, expected: int | None) -> ConfigVersion:
    """Return the version a locked organization has; raises `precondition_failed` when `expected` is another one."""
    row = current(organization)
    if expected is not None and expected != row.version:
        detail = f"The configuration is at version {row.version} now: read it, and send If-Match with that."
        raise AppError("precondition_failed", detail)
    return row


def get(organization: Organization, version: int) -> ConfigVersion:
    """Return one version; raises `not_found`."""
    row = organization.config_versions.filter(version=version).first()
    if row is None:
        raise NotFound(detail=f"There is no version {version} of this configuration.")
    return row


def proven(organization: Organization, *, before: ConfigVersion) -> ConfigVersion | None:
    """Return the newest version older than `before` that the fleet took, or that is older than rollouts are.

    Its rollout completed, or something newer replaced it when all who were there had applied it. One that was halted,
    or that somebody had not answered or had refused by then, is not among them.
    """
    ways = Rollout.objects.filter(target=OuterRef("pk"))
    rows = organization.config_versions.filter(released_at__isnull=False, version__lt=before.version)
    return rows.filter(Exists(ways.filter(TAKEN)) | ~Exists(ways)).first()


def keep(organization: Organization, *, document: dict[str, Any]) -> ConfigVersion | None:
    """Return the stored version of what a locked organization had until now: `document`, written when nobody did.

    None when there was nothing at all.
    """
    row = organization.config_versions.filter(released_at__isnull=False).first()
    if row is not None or not document:
        return row
    comment = "What was there before versions were kept."
    return record(
        organization, document, source=Source.IMPORT, acting_user=None, comment=comment, before={}, is_released=True
    )


def record(
    organization: Organization,
    document: dict[str, Any],
    *,
    source: str,
    acting_user: User | None,
    comment: str,
    before: dict[str, Any],
    is_released: bool,
) -> ConfigVersion:
    """Write the next version of a locked organization; `before` is the document it is compared with."""
    now = timezone.now()
    newest = organization.config_versions.aggregate(newest=Max("version"))["newest"] or 0
    return ConfigVersion.objects.create(
        organization=organization,
        version=newest + 1,
        document=document,
        config_hash=documents.digest(document),
        changes=documents.difference(before, document),
        comment=comment[:500],
        source=source,
        author=audit.actor(acting_user)[:200],
        created_by=acting_user,
        created_at=now,
        released_at=now if is_released else None,
    )
