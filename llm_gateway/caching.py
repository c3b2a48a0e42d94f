"""Caching: what organizations set of their caches, how they empty them, and what that saved them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Sum

from llm_gateway.cache import shared
from llm_gateway.cache.policy import ALL
from llm_gateway.models import CacheRule, Spending
from llm_gateway.models.caching import MAX_MODELS
from llm_gateway.providers import MODEL
from moolai.errors import InvalidInput
from orgs import audit
from orgs.models import Organization, User

PERIOD: Final = timedelta(days=30)


def of(organization: Organization) -> CacheRule:
    """Return an organization's rule; one that is not stored, where it set none."""
    return CacheRule.objects.filter(pk=organization.pk).first() or CacheRule(organization=organization)


@transaction.atomic
def put(organization: Organization, *, acting_user: User | None, **wish: Any) -> CacheRule:
    """Replace the rule (`is_enabled`, `models`, `ttl_seconds`); what is left out is as without one.

    Every web process keeps to it within two seconds. Raises `invalid_field`.
    """
    Organization.objects.select_for_update().get(pk=organization.pk)
    row = of(organization)
    before = told(row)
    blank = CacheRule(organization=organization)
    row.is_enabled = wish.get("is_enabled", blank.is_enabled)
    row.model_names = names(wish.get("models", blank.model_names))
    row.ttl_seconds = wish.get("ttl_seconds", blank.ttl_seconds)
    _check(row)
    row.save()
    if not row.is_enabled:
        transaction.on_commit(lambda: shared.forget(organization.pk))
    _record("cache.set", organization, acting_user=acting_user, before=before, after=told(row))
    return row


@transaction.atomic
def empty(organization: Organization, *, acting_user: User | None) -> None:
    """Have every web process forget the organization's answers within two seconds; nobody finds them after."""
    Organization.objects.select_for_update().get(pk=organization.pk)
    row = of(organization)
    row.epoch += 1
    row.save()
    transaction.on_commit(lambda: shared.forget(organization.pk))
    _record("cache.empty", organization, acting_user=acting_user, after={"epoch": row.epoch})


def told(row: CacheRule) -> dict[str, Any]:
    """Return a rule as readers see it."""
    return {"is_enabled": row.is_enabled, "models": row.model_names, "ttl_seconds": row.ttl_seconds}


def saved(organization: Organization, *, now: datetime) -> dict[str, int]:
    """Return what the cache answered in the last thirty days: {"hits", "saved_usd_micros"}."""
    rows = Spending.objects.filter(organization_id=organization.pk, hour_at__gte=now - PERIOD)
    return rows.aggregate(hits=Sum("cached", default=0), saved_usd_micros=Sum("saved_usd_micros", default=0))


def names(wanted: Any) -> list[str]:
    """Return the names once each, in their order; raises `invalid_field`."""
    if not isinstance(wanted, Sequence) or isinstance(wanted, str) or len(wanted) > MAX_MODELS:
        raise InvalidInput(fields={"models": f"Write up to {MAX_MODELS} names of models or aliases."})
    for place, name in enumerate(wanted):
        if name != ALL and (not isinstance(name, str) or not MODEL.fullmatch(name)):
            raise InvalidInput(fields={f"models.{place}": "Name a model or an alias, or * for all of them."})
    return list(dict.fromkeys(wanted))


def _check(row: CacheRule) -> None:
    try:
        row.full_clean(exclude=["organization"], validate_unique=False)
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None


def _record(action: str, organization: Organization, *, acting_user: User | None, **values: Any) -> None:
    audit.record(
        action,
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("organization", organization.pk),
        **values,
    )
