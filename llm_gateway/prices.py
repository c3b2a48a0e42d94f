"""Prices of one's own: made, changed and removed, for an organization or for everybody."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from llm_gateway.models import Price
from llm_gateway.money import prices
from llm_gateway.money.prices import UnitPrice
from moolai.errors import Conflict, InvalidInput
from orgs import audit, events
from orgs.models import Organization, User

FIELDS: Final = (
    "model", "input_usd_per_million", "output_usd_per_million", "cached_input_usd_per_million",
    "cache_write_usd_per_million",
)  # fmt: skip


def overrides(organization_id: str) -> Mapping[str, UnitPrice]:
    """Return the prices that hold for an organization by model: its own, else those for everybody. One query."""
    rows = Price.objects.filter(Q(organization=organization_id) | Q(organization=None))
    found: dict[str, UnitPrice] = {}
    for row in sorted(rows, key=lambda row: row.organization_id is not None):
        found[row.model] = prices.of(
            row.input_usd_per_million,
            row.output_usd_per_million,
            cached_input_usd=row.cached_input_usd_per_million,
            cache_write_usd=row.cache_write_usd_per_million,
            source="organization" if row.organization_id else "installation",
        )
    return found


def require(price: UnitPrice | None) -> UnitPrice:
    """Return a price, or what LLM_UNKNOWN_PRICE has it assumed to be; raises `prices.UnknownPrice` under `refuse`."""
    estimate = prices.of(settings.LLM_ESTIMATED_INPUT_USD, settings.LLM_ESTIMATED_OUTPUT_USD, source="estimate")
    return prices.known(price, policy=settings.LLM_UNKNOWN_PRICE, estimate=estimate)


@transaction.atomic
def create(organization: Organization | None, *, acting_user: User | None, **columns: Any) -> Price:
    """Set what a model costs an organization, or everybody; raises `invalid_field`, and `conflict` when it is set."""
    row = Price(organization=organization, **columns)
    _save(row, is_new=True)
    _record("create", row, acting_user=acting_user, after=_told(row))
    return row


@transaction.atomic
def update(row: Price, *, acting_user: User | None, **columns: Any) -> Price:
    """Change a price; calls that are over keep the one they were made at."""
    row = Price.objects.select_for_update().get(pk=row.pk)
    before = _told(row)
    for name, value in columns.items():
        setattr(row, name, value)
    _save(row, is_new=False)
    _record("update", row, acting_user=acting_user, before=before, after=_told(row))
    return row


@transaction.atomic
def delete(row: Price, *, acting_user: User | None) -> None:
    """Forget a price: the published one counts again, where there is one."""
    _record("delete", row, acting_user=acting_user, before=_told(row))
    row.delete()


def _save(row: Price, *, is_new: bool) -> None:
    try:
        row.clean_fields()
        with transaction.atomic():
            row.save(force_insert=is_new)
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None
    except IntegrityError:
        raise Conflict(detail=f"{row.model} has a price already; change that one.") from None


def _told(row: Price) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in FIELDS}
    return {name: value if value is None else str(value) for name, value in values.items()}


def _record(action: str, row: Price, *, acting_user: User | None, **change: Any) -> None:
    organization_id = row.organization_id or ""
    audit.record(
        f"price.{action}",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("price", row.price_id),
        **change,
    )
    events.record("prices.changed", organization_id=organization_id)
