"""The form that composes a message: to whom, of which type, with what, until when."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from moolai.errors import AppError
from orchestrators.admin.forms import JSONObject
from orchestrators.messages import outbox
from orchestrators.models import Instance, Message

MAX_EXPIRY_SECONDS = 30 * 24 * 3600


class ComposeForm(forms.ModelForm):  # type: ignore[type-arg]
    """A message to queue; what the room would refuse is said beside its field."""

    message_content = JSONObject(
        label="Content",
        help_text="A JSON object; it reaches the orchestrator as “content”.",
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 12, "spellcheck": "false", "class": "mo-code", "placeholder": '{"scope": "all"}'}
        ),
    )
    expires_in_seconds = forms.IntegerField(
        label="Expires after",
        help_text="Seconds, at most 30 days; empty: never. What was not delivered by then is given up.",
        required=False,
        min_value=1,
        max_value=MAX_EXPIRY_SECONDS,
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    class Meta:
        model = Message
        fields = ["orchestrator", "message_type", "message_content"]
        labels = {"message_type": "Type"}
        help_texts = {"message_type": "Any name your orchestrators know, such as reload_prompts."}
        widgets = {"message_type": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})}

    def clean_orchestrator(self) -> Instance:
        """Refuse an orchestrator that was deleted meanwhile."""
        instance: Instance = self.cleaned_data["orchestrator"]
        if instance.deleted_at is not None:
            raise forms.ValidationError("This orchestrator was deleted.")
        return instance

    def clean(self) -> dict[str, Any]:
        """Ask the room; its words go to the fields they are about."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if "message_type" in found:
            try:
                outbox.check(found["message_type"].strip(), found.get("message_content", {}))
            except AppError as problem:
                for name, words in (problem.fields or {"message_type": problem.detail}).items():
                    self.add_error(name, words)
        return found
