"""The form of limits: of an organization, of one of its keys, or of a model in it."""

import re
from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from llm_gateway.admin import words
from llm_gateway.models.price import MODEL_PATTERN
from orgs import spending
from orgs.models import SpendingLimit
from orgs.spending_forms import MAX_RATE, MAX_USD

RATES: Final = ("requests_per_minute", "tokens_per_minute", "max_parallel")


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """What may be spent, and how fast may be called; what is empty is not limited."""

    budget_usd = forms.DecimalField(
        label="Budget (USD)", required=False, min_value=0, max_value=MAX_USD, decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget, help_text="Empty: no budget. 0: nothing that costs anything.",
    )  # fmt: skip
    model = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Instead of a key: provider/model, or a bare name, for all calls of the organization.",
    )  # fmt: skip
    allowed_models = forms.CharField(
        label="Models it may call", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Of a key, one a line: models or aliases. Empty: all.",
    )  # fmt: skip

    class Meta:
        model = SpendingLimit
        fields = ["organization", "key", "model", "budget_window", *RATES]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Any = self.instance
        self.initial["budget_usd"] = spending.usd(row.budget_usd_micros)
        self.initial["allowed_models"] = "\n".join(row.allowed_models or [])
        for name in RATES:
            self.fields[name].min_value = 1  # type: ignore[attr-defined]
        if "key" in self.fields:
            self.fields["key"].help_text = "Empty, and no model: the limits of the whole organization."

    def clean_model(self) -> str:
        """Refuse what is no model's name."""
        name = str(self.cleaned_data["model"]).strip()
        if name and not re.fullmatch(MODEL_PATTERN, name):
            raise forms.ValidationError("Use up to 200 letters, digits and _.:/@+-.")
        return name

    def clean_allowed_models(self) -> list[str]:
        """Read one name a line."""
        return words.names(str(self.cleaned_data["allowed_models"]))

    def clean(self) -> dict[str, Any]:
        """Limit one thing at a time, and an organization's own key."""
        cleaned = super().clean() or {}
        for name in RATES:
            if (number := cleaned.get(name)) is not None and not 1 <= number <= MAX_RATE:
                self.add_error(name, f"Write a whole number from 1 to {MAX_RATE}, or nothing.")
        if self.instance.pk or self.errors:
            return cleaned
        key, model, organization = cleaned.get("key"), cleaned.get("model", ""), cleaned["organization"]
        if key and model:
            self.add_error("model", "Limit a key or a model, not both at once.")
        elif key and key.organization_id != organization.pk:
            self.add_error("key", f"This key belongs to {key.organization_id}.")
        elif SpendingLimit.objects.filter(organization=organization, key=key, model=model).exists():
            self.add_error(None, "There are limits already: change those.")
        return cleaned

    def wish(self) -> dict[str, Any]:
        """Return what the room is asked for."""
        names = ("budget_usd", "budget_window", *RATES, "allowed_models")
        return {name: self.cleaned_data.get(name) for name in names if name in self.cleaned_data}
