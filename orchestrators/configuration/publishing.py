"""Publishing: how an organization's configuration changes, whatever door it comes by."""

from typing import Any

from django.db import transaction

from orchestrators.configuration import desired, documents, overrides, rollouts, versions
from orchestrators.models import ConfigVersion, Instance
from orchestrators.models.instance import released
from orgs import audit, organizations
from orgs.models import Organization, User

Source = ConfigVersion.Source


def validate(document: Any, organization: Organization) -> list[documents.Problem]:
    """Return what is wrong with a document for an organization as [{path, problem}]; nothing when it can be used.

    What orchestrators have of their own that would not go with it has paths that begin with `overrides.` and the id.
    """
    found = documents.problems(document, schema=organization.settings.get("config_schema"))
    return found or overrides.broken(document, organization)


@transaction.atomic
def publish(
    organization: Organization,
    document: dict[str, Any],
    *,
    acting_user: User | None,
    comment: str = "",
    source: str = Source.EDIT,
    expected: int | None = None,
) -> ConfigVersion:
    """Make `document` the organization's configuration now and push it; returns its version, the old one when equal.

    `expected` is the version the writer has seen. Raises `precondition_failed` when it is another by now,
    `invalid_field`, and `conflict` during a staged rollout. When more of the fleet refuses it than a rollout allows,
    the version before it is published again (`rollouts.release`).
    """
    organization = organizations.lock(organization.pk)
    now_current = versions.require(organization, expected)
    documents.require(document, organization)
    if now_current.pk and documents.digest(document) == documents.digest(released(organization)):
        return now_current
    overrides.require_fitting(document, organization)
    return _publish(organization, document, action="publish", acting_user=acting_user, comment=comment, source=source)


@transaction.atomic
def rollback(
    organization: Organization,
    version: int,
    *,
    acting_user: User | None,
    comment: str = "",
    is_forced: bool = False,
    expected: int | None = None,
) -> ConfigVersion:
    """Publish the content of an older version as a new one; raises what `publish` raises, and `not_found`.

    One that was halted is likely to be taken back at once: `conflict`, unless `is_forced`.
    """
    organization = organizations.lock(organization.pk)
    versions.require(organization, expected)
    target = versions.get(organization, version)
    if not is_forced:
        rollouts.require_not_halted(target)
    document = target.content
    documents.require(document, organization)
    overrides.require_fitting(document, organization)
    return _publish(
        organization,
        document,
        action="rollback",
        acting_user=acting_user,
        comment=comment or f"Back to version {version}.",
        source=Source.ROLLBACK,
    )


def _publish(
    organization: Organization,
    document: dict[str, Any],
    *,
    action: str,
    acting_user: User | None,
    comment: str,
    source: str,
) -> ConfigVersion:
    rollouts.require_free(organization)
    row, previous = _next(organization, released(organization), document, acting_user, comment, source)
    audit.record(
        f"config.{action}",
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("organization", organization.pk),
        before={"version": previous.version if previous else 0},
        after={"version": row.version, "config_hash": row.config_hash},
        reason=comment,
    )
    rollouts.release(organization, row, previous=previous)
    return row


@transaction.atomic
def begin(organization: Organization, *, acting_user: User | None) -> None:
    """Write version 1 of an organization that was made with a configuration; raises `invalid_field`."""
    if not {"config", "config_schema"} & set(organization.settings):
        return
    documents.require(organization.settings.get("config", {}), organization, under="settings.config")
    if document := released(organization):
        versions.record(
            organization,
            document,
            source=Source.EDIT,
            acting_user=acting_user,
            comment="",
            before={},
            is_released=True,
        )


@transaction.atomic
def follow(before: Organization, organization: Organization, *, acting_user: User | None) -> None:
    """Let versions and fleet follow a locked organization whose row was just changed; the audit row is its writer's.

    `before` is the row as it was. Raises `invalid_field` for a configuration or schema that cannot be used, and
    `conflict` when the configuration changes during a staged rollout.
    """
    old, new = before.settings.get("config"), organization.settings.get("config")
    if organization.settings.get("config_schema") != before.settings.get("config_schema") or new != old:
        documents.require({} if new is None else new, organization, under="settings.config")
        overrides.require_fitting(released(organization), organization, before=before, under="settings")
    if documents.digest(released(before)) != documents.digest(released(organization)):
        rollouts.require_free(organization)
        row, previous = _next(organization, released(before), released(organization), acting_user, "", Source.EDIT)
        rollouts.release(organization, row, previous=previous)
    elif organization.name != before.name:
        locked = Instance.objects.present().filter(organization=organization)
        desired.republish(list(locked.select_for_update(of=("self",), no_key=True).order_by("pk")))


def _next(
    organization: Organization,
    before: dict[str, Any],
    document: dict[str, Any],
    acting_user: User | None,
    comment: str,
    source: str,
) -> tuple[ConfigVersion, ConfigVersion | None]:
    """Write the next version; return it and the one before it."""
    previous = versions.keep(organization, document=before)
    row = versions.record(
        organization,
        document,
        source=source,
        acting_user=acting_user,
        comment=comment,
        before=before,
        is_released=True,
    )
    return row, previous
