"""The form of silences: what is silenced, from when on, and for how long."""

from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from monitoring.admin.exports import MINUTE, Moment
from monitoring.models import Rule, Severity, Silence
from orchestrators import labels
from orgs.models import Organization

SPANS: Final = [("15", "15 minutes"), ("60", "1 hour"), ("240", "4 hours"), ("1440", "1 day"), ("10080", "1 week")]
KINDS: Final = [("silence", "Silence: it is known"), ("maintenance", "Maintenance: it is planned")]
MATCHERS: Final = ("organization_id", "orchestrator_id", "rule_key", "severity")


class SilenceForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is silenced; `everything` is ticked where nothing is named. Times are in UTC."""

    kind = forms.ChoiceField(choices=KINDS, widget=UnfoldAdminSelectWidget)
    starts_at = forms.DateTimeField(
        required=False, label="Start (UTC)", help_text="Empty: now.", input_formats=[MINUTE], widget=Moment
    )
    minutes = forms.ChoiceField(choices=SPANS, initial="60", label="For", widget=UnfoldAdminSelectWidget)
    organization_id = forms.ChoiceField(widget=UnfoldAdminSelectWidget, required=False, label="Organization")
    named_labels = forms.CharField(
        required=False, label="Labels", help_text="Such as env=prod, region=eu", widget=UnfoldAdminTextInputWidget
    )
    rule_key = forms.ChoiceField(
        required=False, label="Rule", help_text="One rule, or all of a type.", widget=UnfoldAdminSelectWidget
    )
    severity = forms.ChoiceField(
        choices=[("", "All"), *((word, f"{word.capitalize()} and milder") for word in Severity.values)],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    everything = forms.BooleanField(
        required=False, help_text="All alerts of the installation: nothing is named above.", widget=UnfoldBooleanWidget
    )

    class Meta:
        model = Silence
        fields = ["kind", "starts_at", "organization_id", "orchestrator_id", "rule_key", "severity", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the organizations and rules there are."""
        super().__init__(*args, **kwargs)
        homes = Organization.objects.values_list("pk", "name")[:1000]
        offered = {
            "organization_id": [("", "All"), *((pk, f"{name} ({pk})") for pk, name in homes)],
            "rule_key": [("", "All"), *_rules()],
        }
        for name, choices in offered.items():
            if name in self.fields:
                self.fields[name].choices = choices  # type: ignore[attr-defined]

    def clean_named_labels(self) -> dict[str, str]:
        """Read the labels."""
        return labels.parse(self.cleaned_data["named_labels"])

    def clean(self) -> dict[str, Any]:
        """Refuse a time that is over, and a silence of everything that nobody asked for."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            self._check(found)
        return found

    def _check(self, found: dict[str, Any]) -> None:
        is_named = any(found[name] for name in (*MATCHERS, "named_labels"))
        if not is_named and not found["everything"]:
            self.add_error("everything", "Name what is silenced, or tick Everything.")
        if is_named and found["everything"]:
            self.add_error("everything", "The form names what is silenced: leave this out, or name nothing.")
        if span(found)[1] <= timezone.now():
            self.add_error("starts_at", "With this start it would be over already.")


def span(found: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return start and end of what a form was filled with."""
    start: datetime = found["starts_at"] or timezone.now()
    return start, start + timedelta(minutes=int(found["minutes"]))


def _rules() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return types of alerts and keys of rules as groups of choices."""
    rows = list(Rule.objects.order_by().values_list("alert_type", "rule_key").distinct())
    types, keys = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    return [("Types", [(name, name) for name in types]), ("Rules", [(key, key) for key in keys if key not in types])]
