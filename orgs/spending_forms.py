"""How limits are written and shown over HTTP (API §6): dollars, whole numbers, null for what is not limited."""

from typing import Any, Final

from rest_framework import serializers

from orgs import spending
from orgs.models import SpendingLimit

MAX_USD: Final = 1_000_000_000
MAX_RATE: Final = 2_147_483_647
MAX_MODELS: Final = 500


class Usd(serializers.FloatField):
    """Micro-dollars shown as dollars, exact to the micro-dollar."""

    def to_representation(self, value: Any) -> Any:
        """Return dollars."""
        return spending.usd(value)


def rate(help_text: str) -> serializers.IntegerField:
    """Return a field for a whole number from 1, or null."""
    return serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_RATE, help_text=help_text
    )


class LimitFields(serializers.Serializer[Any]):
    """The five limits in a body; what is left out or null is not limited."""

    budget_usd = serializers.DecimalField(
        required=False, allow_null=True, min_value=0, max_value=MAX_USD, max_digits=16, decimal_places=6,
        coerce_to_string=False, help_text="Dollars, to the micro-dollar.",
    )  # fmt: skip
    budget_window = serializers.ChoiceField(
        SpendingLimit.Window.choices, required=False, help_text="How long the budget is for; a month unless said."
    )
    requests_per_minute = rate("Calls of a minute, by the clock.")
    tokens_per_minute = rate("Tokens of a minute, by the clock: reserved before a call, corrected after it.")
    max_parallel = rate("Calls at once.")


class ModelName(serializers.CharField):
    """A model's name, or provider/model."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=200, **options)

    def to_internal_value(self, data: Any) -> str:
        """Refuse what is no text: a number names no model."""
        if not isinstance(data, str):
            raise serializers.ValidationError("Write the name of a model.")
        return str(super().to_internal_value(data))


class ModelLimit(LimitFields):
    """The limits of one model for all calls of the organization."""

    model = ModelName()


class Limits(LimitFields):
    """The limits of an organization, and of models in it."""

    by_model = ModelLimit(many=True, required=False)

    def validate_by_model(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse a model that is named twice."""
        if len(rows) > MAX_MODELS:
            raise serializers.ValidationError(f"Name at most {MAX_MODELS} models.")
        if len({row["model"] for row in rows}) < len(rows):
            raise serializers.ValidationError("Name each model once.")
        return rows


class ShownLimits(serializers.Serializer[Any]):
    """The limits of a key as its row shows them."""

    models = serializers.ListField(
        child=serializers.CharField(), source="spending_limit.allowed_models", read_only=True, allow_null=True,
        help_text="The only models it may call; null or empty: all.",
    )  # fmt: skip
    budget_usd = Usd(source="spending_limit.budget_usd_micros", read_only=True, allow_null=True)
    budget_window = serializers.CharField(source="spending_limit.budget_window", read_only=True, allow_null=True)
    requests_per_minute = serializers.IntegerField(
        source="spending_limit.requests_per_minute", read_only=True, allow_null=True
    )
    tokens_per_minute = serializers.IntegerField(
        source="spending_limit.tokens_per_minute", read_only=True, allow_null=True
    )
    max_parallel = serializers.IntegerField(source="spending_limit.max_parallel", read_only=True, allow_null=True)
