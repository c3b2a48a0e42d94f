"""Spending limits of organizations, their keys and models: set, read. What keeps to them is the LLM gateway."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from orgs import audit, events
from orgs.models import ApiKey, Organization, SpendingLimit, User

FIELDS: Final = ("budget_usd", "budget_window", "requests_per_minute", "tokens_per_minute", "max_parallel")
MICROS: Final = 1_000_000
Reader = Callable[..., Mapping[int, tuple[int, datetime | None]]]
_readers: list[Reader] = []


def install(readers: Sequence[Reader]) -> None:
    """Say who knows what keys have spent; moolai/wiring.py does."""
    _readers[:] = readers


def standing(rows: Sequence[SpendingLimit]) -> dict[int, tuple[int, datetime | None]]:
    """Return {id of a key's limit: (micro-dollars spent in its window, when that ends)} of those with a budget."""
    now = timezone.now()
    return {pk: found for reader in _readers for pk, found in reader(rows, now=now).items()}


def read(row: SpendingLimit | None) -> dict[str, Any]:
    """Return the five limits of a row as the API says them, None for what is not limited."""
    if row is None:
        return {**dict.fromkeys(FIELDS), "budget_window": SpendingLimit.Window.MONTH.value}
    return {
        "budget_usd": usd(row.budget_usd_micros),
        "budget_window": row.budget_window,
        "requests_per_minute": row.requests_per_minute,
        "tokens_per_minute": row.tokens_per_minute,
        "max_parallel": row.max_parallel,
    }


def usd(micros: int | None) -> float | None:
    """Return micro-dollars as dollars, exact to the micro-dollar; None for None."""
    return None if micros is None else round(micros / MICROS, 6)


def of(organization: Organization) -> tuple[SpendingLimit | None, list[SpendingLimit]]:
    """Return the limits of an organization, None without any, and those of its models."""
    rows = list(SpendingLimit.objects.filter(organization=organization, key=None).order_by("model"))
    return next((row for row in rows if not row.model), None), [row for row in rows if row.model]


@transaction.atomic
def put(
    organization: Organization,
    *,
    acting_user: User | None,
    by_model: Sequence[Mapping[str, Any]] = (),
    **wanted: Any,
) -> None:
    """Replace the limits of an organization and of its models ({"model", …limits}); what is left out is not limited.

    Holds within five seconds everywhere.
    """
    Organization.objects.select_for_update().get(pk=organization.pk)
    before = _told(*of(organization))
    SpendingLimit.objects.filter(organization=organization, key=None).delete()
    rows = [SpendingLimit(organization=organization, **columns(wanted))]
    rows += [SpendingLimit(organization=organization, model=row["model"], **columns(row)) for row in by_model]
    SpendingLimit.objects.bulk_create(rows)
    audit.record(
        "budget.set",
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("organization", organization.pk),
        before=before,
        after=_told(*of(organization)),
    )
    told(organization.pk)


@transaction.atomic
def set_one(
    organization: Organization,
    *,
    acting_user: User | None,
    key: ApiKey | None = None,
    model: str = "",
    allowed_models: Sequence[str] = (),
    **wanted: Any,
) -> SpendingLimit:
    """Set the limits of an organization, of one of its keys, or of one model; the others stay as they are.

    What is left out is not limited. Holds within five seconds everywhere.
    """
    Organization.objects.select_for_update().get(pk=organization.pk)
    row = SpendingLimit.objects.filter(organization=organization, key=key, model=model).first()
    before = _of_one(row) if row else None
    row = row or SpendingLimit(organization=organization, key=key, model=model)
    for name, value in columns(wanted).items():
        setattr(row, name, value)
    row.allowed_models = list(allowed_models) if key else []
    row.save()
    _record_one(row, acting_user=acting_user, before=before, after=_of_one(row))
    return row


@transaction.atomic
def lift(row: SpendingLimit, *, acting_user: User | None) -> None:
    """Lift the limits of one row: its subject is not limited any more."""
    _record_one(row, acting_user=acting_user, before=_of_one(row), after=None)
    row.delete()


def _of_one(row: SpendingLimit) -> dict[str, Any]:
    more = {"models": row.allowed_models} if row.key_id else {}
    return read(row) | more | ({"model": row.model} if row.model else {})


def _record_one(row: SpendingLimit, *, acting_user: User | None, before: Any, after: Any) -> None:
    target = ("api_key", row.key.key_id) if row.key else ("organization", row.organization_id)
    audit.record(
        "budget.set",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=target,
        before=before,
        after=after,
    )
    told(row.organization_id)


def set_for_key(row: ApiKey, *, models: Sequence[str] = (), **wanted: Any) -> dict[str, Any]:
    """Give a key that is just being made its limits; return what its audit row says of them, nothing without any."""
    found = {name: value for name, value in wanted.items() if value is not None}
    if not models and not found.keys() - {"budget_window"}:
        return {}
    limit = SpendingLimit.objects.create(
        organization=row.organization, key=row, allowed_models=list(models), **columns(found)
    )
    return {"models": list(models)} | read(limit)


def copy_to(successor: ApiKey, *, key: ApiKey) -> None:
    """Give the successor of a key the same limits, of which the old one has spent its part."""
    row = SpendingLimit.objects.filter(key=key).first()
    if row is not None:
        row.pk, row.key, row.counted_as = None, successor, row.counted_as or key.key_id
        row.save(force_insert=True)


def columns(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the limits in a body."""
    budget = wanted.get("budget_usd")
    return {
        "budget_usd_micros": None if budget is None else int(Decimal(budget) * MICROS),
        "budget_window": wanted.get("budget_window") or SpendingLimit.Window.MONTH,
        "requests_per_minute": wanted.get("requests_per_minute"),
        "tokens_per_minute": wanted.get("tokens_per_minute"),
        "max_parallel": wanted.get("max_parallel"),
    }


def told(organization_id: str) -> None:
    """Tell whoever keeps limits in memory that they changed."""
    events.record("budget.changed", organization_id=organization_id)


def _told(own: SpendingLimit | None, by_model: Sequence[SpendingLimit]) -> dict[str, Any]:
    return read(own) | ({"by_model": {row.model: read(row) for row in by_model}} if by_model else {})
