"""Aliases: make, change, delete an organization's own names for models."""

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from llm_gateway.models import Alias
from llm_gateway.providers import MODEL
from moolai.errors import Conflict, InvalidInput
from orgs import audit
from orgs.models import Organization, User

MAX_TARGETS: Final = 16
MAX_WEIGHT: Final = 1_000_000
A_MODEL: Final = "This is an alias; name a model, as provider/model."


def create(organization: Organization | None, *, alias: str, targets: Any, acting_user: User | None) -> Alias:
    """Make an alias, for one organization or (None) for all; raises `invalid_field` and `conflict`."""
    row = Alias(organization=organization, alias=alias, targets=targets)
    check(row)
    with transaction.atomic():
        _save(row)
        _record("create", row, acting_user=acting_user, after=shown(row))
    return row


@transaction.atomic
def update(alias: Alias, /, *, acting_user: User | None, **wish: Any) -> Alias:
    """Change name or targets; raises as `create` does."""
    row = Alias.objects.select_for_update(of=("self",)).get(pk=alias.pk)
    before = shown(row)
    row.alias, row.targets = wish.get("alias", row.alias), wish.get("targets", row.targets)
    check(row)
    after = shown(row)
    if before == after:
        return row
    _save(row)
    changed = [name for name in after if before[name] != after[name]]
    _record(
        "update",
        row,
        acting_user=acting_user,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    return row


@transaction.atomic
def delete(alias: Alias, *, acting_user: User | None) -> None:
    """Delete an alias: calls that name it are told that there is no such model."""
    _record("delete", alias, acting_user=acting_user, before=shown(alias))
    alias.delete()


def shown(row: Alias) -> dict[str, Any]:
    """Return an alias as readers see it."""
    return {"alias": row.alias, "targets": row.targets}


def check(row: Alias) -> None:
    """Raise what `create` would of a row; nothing is written. Providers that are not there may come later."""
    try:
        row.full_clean(exclude=["organization", "targets"], validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None
    targets = row.targets
    if not isinstance(targets, list) or not 1 <= len(targets) <= MAX_TARGETS:
        raise InvalidInput(fields={"targets": f"Write 1 to {MAX_TARGETS} targets."})
    for number, target in enumerate(targets):
        if problem := _problem(target):
            raise InvalidInput(fields={f"targets.{number}": problem})
    names = [target["model"] for target in targets]
    if row.alias in names:
        raise InvalidInput(fields={"targets": "An alias does not lead to itself."})
    known = Alias.objects.exclude(pk=row.pk).filter(Q(organization=row.organization_id) | Q(organization=None))
    others = set(known.filter(alias__in=names).values_list("alias", flat=True))
    if found := {f"targets.{number}": A_MODEL for number, name in enumerate(names) if name in others}:
        raise InvalidInput(fields=found)
    _check_name(row)


def _check_name(row: Alias) -> None:
    """Refuse a name that another alias of the same place has for a target: it would seem to lead to this one."""
    others = Alias.objects.exclude(pk=row.pk).filter(organization=row.organization_id)
    for name, targets in others.values_list("alias", "targets"):
        if row.alias in {target["model"] for target in targets}:
            raise InvalidInput(fields={"alias": f"The alias {name} leads to a model of this name."})


def _problem(target: Any) -> str:
    if not isinstance(target, dict) or set(target) - {"model", "weight"}:
        return 'A target is {"model": "provider/model", "weight": 1}; the weight may be left out.'
    if not isinstance(target.get("model"), str) or not MODEL.fullmatch(target["model"]):
        return "Name a model."
    weight = target.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MAX_WEIGHT:
        return f"A weight is a number above 0, up to {MAX_WEIGHT}."
    return ""


def _save(row: Alias) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Conflict(detail=f"There is an alias {row.alias} already.") from None


def _record(action: str, row: Alias, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"alias.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id or "",
        target=("alias", row.alias_id),
        **change,
    )
