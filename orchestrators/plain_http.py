"""The life of orchestrators that hold no socket: register, heartbeat and deregister over plain HTTP (API §4)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import AppError, NotFound
from orchestrators import configuration, independence, instances, presence, protocol
from orchestrators.models import Instance
from orgs import audit, events, organizations
from orgs.models import Organization, User

COLUMNS: Final = (
    "name", "internal_url", "database_url", "redis_url", "container_id", "image_name", "environment_variables",
)  # fmt: skip


@transaction.atomic
def register(
    orchestrator_id: str,
    *,
    organization: Organization,
    fields: Mapping[str, Any],
    may_create: bool,
    acting_user: User | None,
) -> Instance:
    """Make or renew an instance and call it alive; an independent one is renewed and otherwise left alone."""
    if not protocol.IDENTIFIER.fullmatch(orchestrator_id) or orchestrator_id in protocol.RESERVED_IDS:
        raise AppError("invalid_field", fields={"orchestrator_id": "This id cannot be used."})
    organization = organizations.lock(organization.pk)
    if not organization.is_open:
        raise AppError("forbidden", "The organization is suspended.")
    instance = Instance.objects.filter(orchestrator_id=orchestrator_id).select_for_update().first()
    if instance is not None and (instance.organization_id != organization.pk or instance.deleted_at is not None):
        raise NotFound
    if instance is None and not may_create:
        raise NotFound
    known = {name: fields[name] for name in COLUMNS if name in fields}
    if "monitoring" in fields:
        known["monitoring_enabled"] = fields["monitoring"]
    if instance is None:
        instance = instances.create(orchestrator_id, organization=organization, acting_user=acting_user, **known)
    else:
        instance = instances.update(instance, acting_user=acting_user, **known)
    _alive(instance, status=Instance.Status.ACTIVE, now=timezone.now())
    configuration.republish([instance])
    events.record("orchestrator.registered", organization_id=organization.pk, orchestrator_id=orchestrator_id)
    return instance


@transaction.atomic
def heartbeat(orchestrator_id: str, *, status: str, health_status: str) -> Instance:
    """Note that a managed instance is alive, and how it is; nothing of an independent one moves."""
    instance = _locked(orchestrator_id)
    now = timezone.now()
    words = {"active": Instance.Status.ACTIVE, "degraded": Instance.Status.DEGRADED, "error": Instance.Status.ERROR}
    by_health = presence.status_for({"status": health_status})
    wanted = words[status] if status != "active" else by_health
    if not instance.is_effectively_independent:
        before = instance.status
        instance.health_status = {"status": health_status}
        _alive(instance, status=wanted, now=now)
        if before != wanted:
            data = {"status": wanted}
            events.record(
                "orchestrator.health",
                organization_id=instance.organization_id,
                orchestrator_id=orchestrator_id,
                data=data,
            )
    return instance


@transaction.atomic
def deregister(orchestrator_id: str, *, acting_user: User | None) -> Instance:
    """Note a clean leave: inactive at once, without an alert; one that has left, or is independent, stays as it is."""
    rows = Instance.objects.present().filter(orchestrator_id=orchestrator_id)
    organization_id = rows.values_list("organization_id", flat=True).first()
    if organization_id is None:
        raise NotFound
    instance = independence.lock(orchestrator_id, organization_id=organization_id)
    if instance.is_effectively_independent or instance.status == Instance.Status.INACTIVE:
        return instance
    instance.status, instance.deadline_at = Instance.Status.INACTIVE, None
    instance.save(update_fields=["status", "deadline_at", "updated_at"])
    audit.record(
        "orchestrator.deregister",
        acting_user=acting_user,
        organization_id=instance.organization_id,
        target=("orchestrator", orchestrator_id),
    )
    data = {"reason": "deregistered"}
    events.record(
        "orchestrator.disconnected",
        organization_id=instance.organization_id,
        orchestrator_id=orchestrator_id,
        data=data,
    )
    return instance


def _locked(orchestrator_id: str) -> Instance:
    rows = Instance.objects.present().filter(orchestrator_id=orchestrator_id).select_related("organization")
    instance = rows.select_for_update(of=("self",)).first()
    if instance is None:
        raise NotFound
    return instance


def _alive(instance: Instance, *, status: str, now: datetime) -> None:
    if instance.is_effectively_independent:
        instance.status = Instance.Status.INDEPENDENT
        instance.save(update_fields=["status", "updated_at"])
        return
    instance.status = status
    instance.last_seen = instance.last_activity = now
    instance.deadline_at = Instance.deadline_after(now)
    instance.save(update_fields=["status", "health_status", "last_seen", "last_activity", "deadline_at", "updated_at"])
