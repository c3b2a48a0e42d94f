"""Forms of the API keys' pages: what a new key is for, and how long a rotated one still works."""

from datetime import datetime
from typing import Any, Final

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget

from orgs import keys
from orgs.models import ApiKey, Role
from orgs.models.organization import validate_identifier

KINDS: Final = {
    "orchestrator": "Orchestrator — opens sessions on /ws, and calls models",
    Role.ADMIN: "Admin — reads and writes the organization through the API, and calls models",
    Role.OPERATOR: "Operator — reads, runs the fleet through the API, and calls models",
    Role.VIEWER: "Viewer — reads the organization through the API",
}
HOUR_SECONDS: Final = 3_600
GRACES: Final = {
    0: "Now: its sessions are closed within 5 seconds",
    HOUR_SECONDS: "In 1 hour",
    24 * HOUR_SECONDS: "In 1 day",
    7 * 24 * HOUR_SECONDS: "In 7 days",
}


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new key is for; `new_id` is the id it will have, so that one form makes one key."""

    new_id = forms.RegexField(r"\Akey_[0-9a-f]{16}\Z", required=False, initial=keys.new_id, widget=forms.HiddenInput)

    kind = forms.ChoiceField(
        choices=list(KINDS.items()), initial="orchestrator", widget=UnfoldAdminRadioSelectWidget, label="What it may do"
    )

    class Meta:
        model = ApiKey
        fields = ["organization", "name", "orchestrator_id", "expires_at"]

    def clean_orchestrator_id(self) -> str:
        """Refuse what cannot be an orchestrator's id."""
        value = str(self.cleaned_data["orchestrator_id"] or "").strip()
        if value:
            validate_identifier(value)
        return value

    def clean_expires_at(self) -> datetime | None:
        """Refuse a key that would be dead on arrival."""
        value: datetime | None = self.cleaned_data["expires_at"]
        if value is not None and value <= timezone.now():
            raise forms.ValidationError("This time has passed already.")
        return value

    def clean(self) -> dict[str, Any]:
        """Bind only keys that open sessions."""
        cleaned = super().clean() or {}
        if cleaned.get("orchestrator_id") and cleaned.get("kind") != "orchestrator":
            self.add_error("orchestrator_id", "Only an orchestrator's key can be bound to one orchestrator.")
        return cleaned


class RotateForm(forms.Form):
    """How long the old key still works; `seen` is the end the page showed, so that one click rotates once."""

    grace_seconds = forms.TypedChoiceField(
        coerce=int,
        choices=list(GRACES.items()),
        initial=24 * HOUR_SECONDS,
        label="The old key ends",
        widget=UnfoldAdminSelectWidget,
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
