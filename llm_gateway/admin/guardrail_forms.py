"""The form of guardrails: each rule is a card of fields, and what is wrong is said by the card's number."""

from typing import Any, Final

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from llm_gateway import guarding
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.guardrails.rules import MAX_RULES, SIDES
from llm_gateway.models import Guardrails
from moolai.errors import InvalidInput

FIRST: Final = [{"name": "privacy", "kind": "redact", "on": list(SIDES), "detect": list(DETECTORS), "action": "redact"}]
EMPTY: Final = {"kind": "redact", "on": list(SIDES), "detect": list(DETECTORS), "action": "redact", "is_new": True}
SPARE: Final = 2  # closed cards below the rules, for new ones
LABELS: Final = {
    "private_key": "private keys", "jwt": "JSON web tokens", "api_key": "API keys", "iban": "IBANs",
    "credit_card": "card numbers", "ssn": "US social security numbers", "email": "e-mail addresses",
    "phone": "telephone numbers",
}  # fmt: skip
FIELDS: Final = {
    "name": "name", "kind": "kind", "on": "sides", "detect": "what is found", "action": "action", "words": "words",
}  # fmt: skip


class RulesWidget(forms.Widget):
    """Cards `{name}_{number}_{field}`; without scripts there are always empty ones left."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Draw a card for each rule, and some for new ones."""
        rules = [rule for rule in value or [] if isinstance(rule, dict)]
        rules += [EMPTY] * max(0, min(SPARE, MAX_RULES - len(rules)))
        cards = [_card(name, number, rule) for number, rule in enumerate(rules)]
        return SafeString(
            render_to_string(
                "admin/llm_gateway/guardrails/rules.html", {"name": name, "cards": cards, "many": len(cards)}
            )
        )

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, Any]]:
        """Read the cards that are filled and not to be removed, in their order."""
        many = data.get(f"{name}_many", "0")
        numbers = range(min(int(many), MAX_RULES + SPARE)) if many.isascii() and many.isdigit() else range(0)
        return [rule for number in numbers if (rule := _rule(data, f"{name}_{number}")) is not None]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        """Whether the form was sent without them."""
        return f"{name}_many" not in data


def _card(name: str, number: int, rule: dict[str, Any]) -> dict[str, Any]:
    found, on = rule.get("detect") or [], rule.get("on") or []
    return {
        "id": f"{name}_{number}",
        "number": number + 1,
        "rule": rule,
        "sides": [(side, side in on) for side in SIDES],
        "finds": [(kind, LABELS[kind], kind in found or rule.get("kind") == "deny") for kind in DETECTORS],
        "words": "\n".join(map(str, rule.get("words") or [])),
        "count": len(rule.get("words") or []),
    }


def _rule(data: Any, place: str) -> dict[str, Any] | None:
    """Return what a card says, None for one that is to be removed, or that nobody filled."""
    named = data.get(f"{place}_name", "").strip()
    words = [line.strip() for line in data.get(f"{place}_words", "").splitlines() if line.strip()]
    if data.get(f"{place}_remove") or (data.get(f"{place}_new") and not named and not words):
        return None
    rule = {"name": named, "kind": data.get(f"{place}_kind", ""), "on": data.getlist(f"{place}_on")}
    if rule["kind"] == "deny":
        return rule | {"words": list(dict.fromkeys(words))}
    return rule | {"detect": data.getlist(f"{place}_detect"), "action": data.get(f"{place}_action", "")}


class RulesField(forms.Field):
    """Rules as the room has them."""

    widget = RulesWidget

    def clean(self, value: Any) -> list[dict[str, Any]]:
        """Return the rules, or say what is wrong with each."""
        try:
            return guarding.checked(value or [])
        except InvalidInput as problem:
            raise forms.ValidationError([_sentence(place, text) for place, text in problem.fields.items()]) from None


def _sentence(place: str, text: str) -> str:
    """Return what is wrong with a place such as `rules.0.words.3` as people read it."""
    _, number, field, line = [*place.split("."), "", "", ""][:4]
    where = [f"Rule {int(number) + 1}"] if number else []
    where += [FIELDS.get(field, field)] if field else []
    where += [f"entry {int(line) + 1}"] if line else []
    return f"{', '.join(where)}: {text}" if where else text


class GuardrailsForm(forms.ModelForm):  # type: ignore[type-arg]
    """The rules of one organization."""

    rules = RulesField(
        required=False,
        help_text="All lists of words are asked first, on the text as it came; then comes what is found. "
        "They hold within two seconds. Without rules everything passes as it came.",
    )

    class Meta:
        model = Guardrails
        fields = ["organization", "rules"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            self.initial["rules"] = FIRST
