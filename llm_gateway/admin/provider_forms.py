"""The form of a provider. Its key is written here and never shown; an empty one stays what it is."""

from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from llm_gateway import providers
from llm_gateway.admin import words
from llm_gateway.models import Provider
from moolai.errors import AppError

FIELDS: Final = ("name", "dialect", "base_url", "auth", "is_enabled", "is_local", "priority")
BESIDE: Final = {"models": "known_models"}
ADDRESS: Final = (
    "Empty: the provider's own. An organization's address must lead outside, over https on its usual port; it is "
    "looked up now and again at every call, and redirects are not followed. Addresses inside need an "
    "“allowed network”. Another host clears the key."
)


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    """A provider's settings."""

    api_key = forms.CharField(
        label="Key", required=False, max_length=4000, strip=False,
        help_text="Sealed, sent in headers only, and shown as its last four characters.",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip
    forget_key = forms.BooleanField(
        label="Forget the key", required=False, widget=UnfoldBooleanSwitchWidget, help_text="Calls go without one."
    )
    known_models = forms.CharField(
        label="Models", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        help_text="One name a line, as the provider calls it. Empty: any; then only provider/model leads here, "
        "and bare names (gpt-…, claude-…, gemini-…) to OpenAI, Anthropic and Google themselves.",
    )  # fmt: skip

    class Meta:
        model = Provider
        fields = ["organization", *FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["base_url"].help_text = ADDRESS
        self.fields["priority"].required = self.fields["auth"].required = False
        row: Any = self.instance
        self.initial["known_models"] = "\n".join(row.known_models or [])
        if row.pk is None:
            del self.fields["forget_key"]
        else:
            shown = providers.shown(row)["api_key"].replace("***", "····")
            self.fields["api_key"].widget.attrs["placeholder"] = f"{shown}; empty leaves it" if shown else "none"

    def clean_auth(self) -> str:
        """Take the usual header where none is chosen, or can be."""
        is_open = self.cleaned_data.get("dialect") == Provider.Dialect.OPENAI
        return str((is_open and self.cleaned_data["auth"]) or Provider.Auth.BEARER)

    def clean_priority(self) -> int:
        """Read none as 0."""
        return int(self.cleaned_data["priority"] or 0)

    def clean_known_models(self) -> list[str]:
        """Read one name a line; commas and spaces part names, too."""
        return words.names(str(self.cleaned_data["known_models"]))

    def clean(self) -> dict[str, Any]:
        """Say what its room would refuse beside the field it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        row: Provider = self.instance
        try:
            checked = row if row.pk else Provider(organization=cleaned["organization"])
            providers.check(checked, is_superadmin=True, **self.wish())
        except AppError as problem:
            for name, text in (problem.fields or {"base_url": problem.detail}).items():
                place = BESIDE.get(name, name)
                self.add_error(place if place in self.fields else None, text)
        return cleaned

    def wish(self) -> dict[str, Any]:
        """Return what the room is asked for: a key only where one was written, or is to be forgotten."""
        cleaned = self.cleaned_data
        key = {"api_key": cleaned["api_key"]} if cleaned.get("api_key") else {}
        forgotten = {"api_key": ""} if cleaned.get("forget_key") and not key else {}
        plain = {name: cleaned[name] for name in (*FIELDS, "known_models") if name in cleaned}
        return plain | key | forgotten
