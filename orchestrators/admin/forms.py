"""Forms of the orchestrator's page: its own columns, and a message to send. Secrets have no field here."""

import json
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from moolai.errors import AppError
from orchestrators import labels, protocol
from orchestrators.configuration import documents, override_versions, overrides
from orchestrators.models import Instance
from orgs import parsing

IDENTITY = ["name", "labels", "admin_email", "support_email", "website"]
CONFIGURATION = ["features", "session_config", "privacy_mode", "monitoring_enabled"]
DEPLOYMENT = ["internal_url", "container_id", "image_name", "phoenix_endpoint"]
EDITABLE = [*IDENTITY, *CONFIGURATION, *DEPLOYMENT]


class JSONObject(forms.JSONField):
    """A JSON object, shown indented; a mistake is named with its line and column."""

    def __init__(self, **options: Any) -> None:
        attributes = {"rows": 6, "spellcheck": "false", "class": "mo-code"}
        super().__init__(**{"required": False, "widget": UnfoldAdminTextareaWidget(attrs=attributes), **options})

    def prepare_value(self, value: Any) -> Any:
        """Indent; nothing stays empty."""
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def to_python(self, value: Any) -> dict[str, Any]:  # type: ignore[override]
        """Parse; nothing at all is the empty object."""
        if value in self.empty_values:
            return {}
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise forms.ValidationError(f"This is not JSON: {error.msg} ({place}).") from None
        except (RecursionError, ValueError):
            raise forms.ValidationError("This is nested too deeply, or holds an endless number.") from None
        if not isinstance(found, dict):
            raise forms.ValidationError('Write a JSON object, such as {"name": "value"}.')
        return parsed(value) if isinstance(value, str) else found

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Show a refused text as it was written."""
        return initial if self.disabled else data

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the values, not how they are indented."""
        try:
            return not parsing.is_same(self.to_python(data), initial or {})
        except forms.ValidationError:
            return True


def parsed(text: str) -> dict[str, Any]:
    """Return the object in `text`, held to what the API takes: no NaN, no NUL, no lone surrogate, 32 levels."""
    try:
        return parsing.parse(text.encode(errors="replace"))
    except AppError as problem:
        told = [f"{path}: {words}" for path, words in problem.fields.items()]
        raise forms.ValidationError(told or [problem.detail]) from None


class LabelsField(forms.CharField):
    """Labels as people write them: env=prod, region=eu."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "env=prod, region=eu", "autocomplete": "off"})
        super().__init__(**{"required": False, "widget": widget, **options})

    def prepare_value(self, value: Any) -> Any:
        """Show labels as text."""
        return labels.text(value) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> dict[str, str]:  # type: ignore[override]
        """Parse."""
        return labels.parse(value or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the labels, not how they are written."""
        try:
            return self.to_python(data) != (initial or {})
        except forms.ValidationError:
            return True


class InstanceForm(forms.ModelForm):  # type: ignore[type-arg]
    """An orchestrator's columns that people set."""

    features = JSONObject(help_text="JSON; sent to the orchestrator as “features”.")
    session_config = JSONObject(label="Session", help_text="JSON; sent to the orchestrator as “session”.")

    seen = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)
    labels = LabelsField(help_text="To choose orchestrators by, in lists, bulk actions and rollouts.")

    class Meta:
        model = Instance
        fields = ["orchestrator_id", "organization", *EDITABLE]
        labels = {"internal_url": "Internal URL"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk is not None and "seen" in self.fields:
            self.initial["seen"] = override_versions.current(self.instance).version

    def clean(self) -> dict[str, Any]:
        """Say beside the columns what keeps the orchestrator's own configuration from going with its organization's."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and set(self.changed_data) & set(CONFIGURATION):
            self._check_override(found)
            self._check_version(found.get("seen"))
        return found

    def _check_version(self, seen: int | None) -> None:
        if seen is not None and self.instance.pk is not None and seen != self.initial["seen"]:
            words = f"Somebody changed it meanwhile, to version {self.initial['seen']}: open the page again."
            self.add_error("features", words)

    def _check_override(self, found: dict[str, Any]) -> None:
        organization = found.get("organization") or self.instance.organization
        own = {name: found[column] for name, column in overrides.COLUMNS.items()}
        for row in overrides.Checker(organization).look(own):
            field = overrides.by_column(row["path"]).partition(".")[0]
            self.add_error(field if field in self.fields else None, documents.sentence(row))

    def clean_orchestrator_id(self) -> str:
        """Refuse reserved words and ids in use; a deleted orchestrator's id may be taken again."""
        value = str(self.cleaned_data["orchestrator_id"])
        if value in protocol.RESERVED_IDS:
            raise forms.ValidationError("This word is reserved; choose another id.")
        if self.instance.pk is None and Instance.objects.present().filter(orchestrator_id=value).exists():
            raise forms.ValidationError(f"The orchestrator {value} exists already.")
        return value

    def validate_unique(self) -> None:
        """Leave it to `clean_orchestrator_id`, which knows that deleted rows do not count."""


class MessageForm(forms.Form):
    """A message to queue."""

    message_type = forms.CharField(
        max_length=protocol.MAX_MESSAGE_TYPE_LENGTH,
        label="Type",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "reload_prompts", "autocomplete": "off"}),
    )
    content = JSONObject(
        label="Content (JSON)",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "class": "mo-code", "placeholder": '{"scope": "all"}'}),
    )

    def clean_message_type(self) -> str:
        """Refuse the protocol's own words."""
        value = str(self.cleaned_data["message_type"]).strip()
        if value in protocol.RESERVED_TYPES:
            raise forms.ValidationError(f"“{value}” belongs to the protocol; choose another name.")
        return value
