"""The form of an alias: its targets are rows of a model and a weight."""

from typing import Any, Final

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from llm_gateway import aliases
from llm_gateway.models import Alias
from moolai.errors import AppError

SPARE: Final = 2  # empty rows below the targets


class TargetsWidget(forms.Widget):
    """Rows of two inputs, `targets_model` and `targets_weight`; without scripts there are always empty ones left."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Draw a row for each target, and some more."""
        rows = list(value or [])
        rows += [{}] * max(0, min(SPARE, aliases.MAX_TARGETS - len(rows)))
        context = {"name": name, "rows": rows, "most": aliases.MAX_TARGETS, "id": (attrs or {}).get("id", name)}
        return render_to_string("admin/llm_gateway/alias/targets.html", context)

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, Any]]:
        """Read the rows that name a model, in their order."""
        models, weights = (data.getlist(f"{name}_{part}") for part in ("model", "weight"))
        weights += [""] * (len(models) - len(weights))
        rows = ((model.strip(), weight.strip()) for model, weight in zip(models, weights, strict=False))
        return [{"model": model, **({"weight": weight} if weight else {})} for model, weight in rows if model]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        """Whether the form was sent without them."""
        return f"{name}_model" not in data


class TargetsField(forms.Field):
    """Targets as the room has them."""

    widget = TargetsWidget

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """Make numbers of the weights: whole ones where they are."""
        return [{**row, **_weight(row)} for row in value or []]


def _weight(row: dict[str, Any]) -> dict[str, Any]:
    if "weight" not in row:
        return {}
    try:
        number = float(str(row["weight"]).replace(",", "."))
    except ValueError:
        raise forms.ValidationError(f"The weight of {row['model']} is no number.") from None
    return {"weight": int(number) if number.is_integer() else number}


class AliasForm(forms.ModelForm):  # type: ignore[type-arg]
    """A name, and what it leads to."""

    targets = TargetsField(
        help_text="provider/model, or a bare name. Targets with a weight share the calls by it; those without are "
        "asked in their order when the others fail. A target is no alias."
    )

    class Meta:
        model = Alias
        fields = ["organization", "alias", "targets"]

    def clean(self) -> dict[str, Any]:
        """Say what its room would refuse beside the field it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            aliases.check(self._row(cleaned))
        except AppError as problem:
            for name, text in problem.fields.items():
                place, _, number = name.partition(".")
                words = f"Target {int(number) + 1}: {text}" if number else text
                self.add_error(place if place in self.fields else None, words)
        return cleaned

    def _row(self, cleaned: dict[str, Any]) -> Alias:
        """Return the alias as it would be; one that is there stays in its organization."""
        row: Alias = self.instance
        organization = row.organization if row.pk else cleaned.get("organization")
        return Alias(pk=row.pk, organization=organization, alias=cleaned["alias"], targets=cleaned["targets"])
