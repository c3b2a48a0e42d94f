"""Instances: make, change and delete the registry's rows of orchestrators.

URLs and environment variables are secrets: callers write them plain, this room seals them, and the audit trail gets
what readers get (`orgs/sealed.py`).
"""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput
from orchestrators import configuration, mirror, protocol
from orchestrators.models import Instance
from orgs import audit, events, sealed
from orgs.models import Organization, User


@transaction.atomic
def create(
    orchestrator_id: str, *, organization: Organization, acting_user: User | None, name: str = "", **fields: Any
) -> Instance:
    """Make an orchestrator that has not registered yet (or make a deleted one anew); returns its row."""
    if orchestrator_id in protocol.RESERVED_IDS:
        raise InvalidInput(fields={"orchestrator_id": "This word is reserved."})
    before = Instance.objects.filter(orchestrator_id=orchestrator_id).first()
    if before is not None and before.deleted_at is None:
        raise Conflict(detail=f"The orchestrator {orchestrator_id} exists already.")
    fields.setdefault("is_independent", mirror.is_wished(orchestrator_id))
    is_independent = organization.is_independent or fields["is_independent"]
    secrets = {name: fields.pop(name) for name in sealed.columns(Instance) if name in fields}
    instance = Instance(
        orchestrator_id=orchestrator_id,
        organization=organization,
        organization_name=organization.name,
        name=name or orchestrator_id,
        status=Instance.Status.INDEPENDENT if is_independent else Instance.Status.INACTIVE,
        **fields,
    )
    if before is not None and before.organization_id == organization.pk:  # the row comes back, with its messages
        instance.pk, instance.epoch, instance.created_at = before.pk, before.epoch, before.created_at
        instance._state.adding = False
    elif before is not None:
        before.delete()
    for column, value in secrets.items():
        sealed.put(instance, column, value)
    validate(instance)
    configuration.refresh(instance)
    try:
        with transaction.atomic():
            instance.save()
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"The orchestrator {orchestrator_id} exists already.") from None
    after = {"name": instance.name} | _shown(instance, [name for name, value in secrets.items() if value])
    _note("create", instance, acting_user=acting_user, after=after)
    events.record("orchestrator.created", organization_id=organization.pk, orchestrator_id=orchestrator_id)
    return instance


def validate(instance: Instance) -> None:
    """Raise `invalid_field` for values the columns do not take."""
    try:
        instance.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None


@transaction.atomic
def update(instance: Instance, *, acting_user: User | None, **fields: Any) -> Instance:
    """Change registry columns; what changes the desired configuration is pushed to the session.

    A secret that comes back as readers see it (`***`) is left as it is. Raises `invalid_field`.
    """
    instance = Instance.objects.select_for_update(of=("self",)).select_related("organization").get(pk=instance.pk)
    secrets = sealed.columns(Instance)
    changed = [
        name
        for name, value in fields.items()
        if (not sealed.is_same(instance, name, value) if name in secrets else getattr(instance, name) != value)
    ]
    if not changed:
        return instance
    before = _shown(instance, changed)
    for name in changed:
        if name in secrets:
            sealed.put(instance, name, fields[name])
        else:
            setattr(instance, name, fields[name])
    validate(instance)
    instance.save(update_fields=[*changed, "updated_at"])
    configuration.republish([instance])
    after = _shown(instance, changed)
    _note("update", instance, acting_user=acting_user, before=before, after=after)
    data = {"fields": changed}
    events.record(
        "orchestrator.updated",
        organization_id=instance.organization_id,
        orchestrator_id=instance.orchestrator_id,
        data=data,
    )
    return instance


@transaction.atomic
def delete(instance: Instance, *, acting_user: User | None) -> None:
    """Delete an orchestrator: its session is closed, and its id stays blocked until it is created anew."""
    now = timezone.now()
    changed = {"deleted_at": now, "is_connected": False, "status": Instance.Status.INACTIVE, "deadline_at": None}
    if not Instance.objects.present().filter(pk=instance.pk).update(**changed, updated_at=now):
        return
    _note("delete", instance, acting_user=acting_user, before={"name": instance.name})
    events.record(
        "orchestrator.deleted", organization_id=instance.organization_id, orchestrator_id=instance.orchestrator_id
    )
    transaction.on_commit(mirror.write)


def _shown(instance: Instance, names: Iterable[str]) -> dict[str, Any]:
    """Return columns by name as the audit trail may hold them: secrets masked."""
    secrets = sealed.columns(Instance)
    return {name: secrets[name].masked(instance) if name in secrets else getattr(instance, name) for name in names}


def _note(action: str, instance: Instance, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"orchestrator.{action}",
        acting_user=acting_user,
        organization_id=instance.organization_id,
        target=("orchestrator", instance.orchestrator_id),
        **change,
    )
