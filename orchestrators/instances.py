"""Instances: make, change and delete the registry's rows of orchestrators.

URLs and environment variables are secrets: callers write them plain, this room seals them, and the audit trail gets
what readers get (`orgs/sealed.py`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput
from orchestrators import configuration, independence, mirror, protocol
from orchestrators.configuration import documents, override_versions, overrides
from orchestrators.models import Instance, OverrideVersion
from orgs import audit, events, keys, organizations, parsing, sealed
from orgs.models import ApiKey, Organization, User

WRITE_AT_ONCE: Final = 200  # rows per statement: documents may be large
TAKEN_OVER: Final = "A superadmin gave its id to another organization."


@transaction.atomic
def create(
    orchestrator_id: str,
    *,
    organization: Organization,
    acting_user: User | None,
    name: str = "",
    may_take_over: bool = False,
    **fields: Any,
) -> Instance:
    """Make an orchestrator that has not registered yet (or make a deleted one anew); returns its row.

    Raises `conflict` when the id is taken. An id that another organization deleted is taken too, unless the caller
    `may_take_over`, as a superadmin may: that organization's trail says so.
    """
    _make_way(orchestrator_id, organization, acting_user=acting_user, may_take_over=may_take_over)
    instance = _make(orchestrator_id, organization=organization, name=name, **fields)
    override_versions.begin(instance, acting_user=acting_user)
    _note("create", instance, acting_user=acting_user, after=_first(instance, fields))
    return instance


@transaction.atomic
def enrol(
    orchestrator_id: str,
    *,
    organization: Organization,
    acting_user: User | None,
    name: str = "",
    may_take_over: bool = False,
    **fields: Any,
) -> tuple[Instance, ApiKey, str]:
    """Make an orchestrator together with the key it registers with, as `create` does: one audit row names the key.

    Returns both rows and, this one time, the key's secret.
    """
    _make_way(orchestrator_id, organization, acting_user=acting_user, may_take_over=may_take_over)
    instance = _make(orchestrator_id, organization=organization, name=name, **fields)
    override_versions.begin(instance, acting_user=acting_user)
    key, secret = keys.issue(instance.organization, orchestrator_id=orchestrator_id, acting_user=acting_user)
    after = _first(instance, fields) | {"key_id": key.key_id}
    _note("create", instance, acting_user=acting_user, after=after)
    return instance, key, secret


def _make_way(
    orchestrator_id: str, organization: Organization, *, acting_user: User | None, may_take_over: bool
) -> None:
    """Free an id that another organization deleted, or raise `conflict`, as for any id that is taken."""
    blocked = Instance.objects.exclude(deleted_at=None).exclude(organization=organization)
    before = blocked.filter(orchestrator_id=orchestrator_id).first()
    if before is None:
        return
    if not may_take_over:
        raise Conflict(detail=f"The orchestrator {orchestrator_id} exists already.")
    organizations.lock(organization.pk)  # organizations before instances: the order all writers keep
    _note("delete", before, acting_user=acting_user, before={"name": before.name}, reason=TAKEN_OVER)
    before.delete()


def _make(orchestrator_id: str, *, organization: Organization, name: str, **fields: Any) -> Instance:
    if orchestrator_id in protocol.RESERVED_IDS:
        raise InvalidInput(fields={"orchestrator_id": "This word is reserved."})
    organization = organizations.lock(organization.pk)
    before = Instance.objects.filter(orchestrator_id=orchestrator_id).first()
    if before is not None and (before.deleted_at is None or before.organization_id != organization.pk):
        raise Conflict(detail=f"The orchestrator {orchestrator_id} exists already.")
    fields.setdefault("is_independent", mirror.is_wished(orchestrator_id))
    instance = _build(orchestrator_id, organization=organization, name=name, **fields)
    if before is not None:  # the row comes back, with its messages
        instance.pk, instance.epoch, instance.created_at = before.pk, before.epoch, before.created_at
        instance._state.adding = False
        instance.config_version, instance.config_hash = before.config_version, before.config_hash  # it only grows
    overrides.require(instance)
    configuration.refresh(instance)
    try:
        with transaction.atomic():
            instance.save()
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"The orchestrator {orchestrator_id} exists already.") from None
    events.record("orchestrator.created", organization_id=organization.pk, orchestrator_id=orchestrator_id)
    if instance.is_independent:
        transaction.on_commit(mirror.write, robust=True)
    return instance


def _build(orchestrator_id: str, *, organization: Organization, name: str, **fields: Any) -> Instance:
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
    for column, value in secrets.items():
        sealed.put(instance, column, value)
    validate(instance)
    return instance


def _first(instance: Instance, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit row of a new orchestrator holds: its name and the secrets it was given, masked."""
    given = [name for name in sealed.columns(Instance) if fields.get(name)]
    flag = {"is_independent": True} if instance.is_independent else {}
    return {"name": instance.name} | flag | _shown(instance, given)


def validate(instance: Instance, names: Collection[str] = ()) -> None:
    """Raise `invalid_field` for values the columns do not take; with `names`, only these columns are looked at."""
    others = {field.name for field in Instance._meta.fields if names and field.name not in names}
    try:
        instance.full_clean(exclude=others, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None


@transaction.atomic
def update(
    instance: Instance,
    *,
    acting_user: User | None,
    comment: str = "",
    source: str = OverrideVersion.Source.EDIT,
    expected: int | None = None,
    **fields: Any,
) -> Instance:
    """Change registry columns; what changes the desired configuration is pushed to the session.

    `is_independent` is one of them: the orchestrator follows, in one audit row with the rest. What it has of its own
    gets a version, of `source` and with `comment`; `expected` is the one that the writer has seen. A secret that comes
    back as readers see it (`***`) is left as it is. Raises `invalid_field`, `precondition_failed` when the override
    has another version by now, and `not_found` when it has just been deleted.
    """
    instance = independence.lock(instance.orchestrator_id, organization_id=instance.organization_id)
    before, override = _shown(instance, fields), overrides.of(instance)
    if not (changed := _apply(instance, fields)):
        return instance
    if set(changed) & set(overrides.COLUMNS.values()):
        override_versions.require(instance, expected)
        overrides.require(instance)
    instance.save(update_fields=[*changed, "updated_at"])
    override_versions.record([(instance, override)], acting_user=acting_user, comment=comment, source=source)
    configuration.republish([instance])
    if "is_independent" in changed:
        independence.follow(instance, acting_user=acting_user)
    before = {name: before[name] for name in changed}
    after = _shown(instance, changed)
    _note("update", instance, acting_user=acting_user, before=before, after=after, reason=comment)
    data = {"fields": changed}
    events.record(
        "orchestrator.updated",
        organization_id=instance.organization_id,
        orchestrator_id=instance.orchestrator_id,
        data=data,
    )
    return instance


def _apply(instance: Instance, fields: Mapping[str, Any]) -> list[str]:
    """Put `fields` into the unsaved row and return which of them changed; raises `invalid_field`."""
    secrets = [name for name in sealed.columns(Instance) if name in fields]
    changed = {name for name in secrets if not sealed.is_same(instance, name, fields[name])}
    plain = {name: getattr(instance, name) for name in fields if name not in secrets}
    for name in plain:
        setattr(instance, name, fields[name])
    for name in changed:
        sealed.put(instance, name, fields[name])
    validate(instance, {*plain, *changed})
    changed |= {name for name, value in plain.items() if not parsing.is_same(getattr(instance, name), value)}
    return [name for name in fields if name in changed]


@transaction.atomic
def roll_back(instance: Instance, version: int, *, acting_user: User | None, comment: str = "") -> Instance:
    """Give an orchestrator of its own what it had in an older version, as a new one.

    Raises `not_found`, and `invalid_field` where that does not fit its organization's configuration any more.
    """
    document = override_versions.get(instance, version).content
    wanted = overrides.columns(overrides.BLANK | document)
    why, source = comment or f"Back to version {version}.", OverrideVersion.Source.ROLLBACK
    return update(instance, acting_user=acting_user, comment=why, source=source, **wanted)


def override_many(
    instance_pks: Sequence[int], *, patch: Mapping[str, Any] | None, acting_user: User | None, comment: str = ""
) -> list[tuple[str, str]]:
    """Merge `patch` into what many orchestrators have of their own, or clear it (None); no audit row (bulk has one).

    Runs in the caller's transaction. Returns (orchestrator id, problem) of those that it does not fit: they stay as
    they are. Those deleted meanwhile are passed over.
    """
    rows = Instance.objects.present().filter(pk__in=instance_pks)
    homes = organizations.lock_many(rows.values_list("organization_id", flat=True))
    locked = rows.select_for_update(of=("self",), no_key=True).order_by("pk")
    changed, problems = _merged([row for row in locked if row.organization_id in homes], homes, patch)
    instances = [row for row, _ in changed]
    Instance.objects.bulk_update(instances, list(overrides.COLUMNS.values()), batch_size=WRITE_AT_ONCE)
    configuration.republish(instances)
    override_versions.record(changed, acting_user=acting_user, comment=comment, source=OverrideVersion.Source.BULK)
    return problems


def _merged(
    rows: Iterable[Instance], homes: Mapping[str, Organization], patch: Mapping[str, Any] | None
) -> tuple[list[tuple[Instance, overrides.Document]], list[tuple[str, str]]]:
    """Put a patch into unsaved rows; return those that changed with what they had, and those it does not fit."""
    checkers = {key: overrides.Checker(home) for key, home in homes.items()}
    changed: list[tuple[Instance, overrides.Document]] = []
    problems: list[tuple[str, str]] = []
    for row in rows:
        before = overrides.of(row)
        after = overrides.BLANK if patch is None else overrides.merge(before, patch)
        if parsing.is_same(after, before):
            continue
        if found := checkers[row.organization_id].problems(after):
            problems.append((row.orchestrator_id, documents.sentence(found[0])))
            continue
        for column, value in overrides.columns(after).items():
            setattr(row, column, value)
        changed.append((row, before))
    return changed, problems


@transaction.atomic
def delete(instance: Instance, *, acting_user: User | None) -> None:
    """Delete an orchestrator: its session is closed, its keys die, and its id stays blocked until it is made anew."""
    organizations.lock(instance.organization_id)
    now = timezone.now()
    changed = {"deleted_at": now, "is_connected": False, "status": Instance.Status.INACTIVE, "deadline_at": None}
    if not Instance.objects.present().filter(pk=instance.pk).update(**changed, updated_at=now):
        return
    key_ids = keys.revoke_bound(instance.orchestrator_id, organization_id=instance.organization_id)
    _note("delete", instance, acting_user=acting_user, before={"name": instance.name, "api_keys": key_ids})
    events.record(
        "orchestrator.deleted", organization_id=instance.organization_id, orchestrator_id=instance.orchestrator_id
    )
    transaction.on_commit(mirror.write, robust=True)


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
