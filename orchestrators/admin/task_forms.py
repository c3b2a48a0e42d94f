"""The form that creates a task."""

from typing import Any, Final

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from moolai.errors import AppError
from orchestrators.admin.forms import JSONObject
from orchestrators.models import Task
from orchestrators.work import handlers, targets
from orchestrators.work.api import LONGEST_SECONDS

PRIORITIES: Final = [
    ("P0", "P0 · critical: waits for approval, then goes first"),
    ("P1", "P1 · urgent: waits for approval"),
    ("P2", "P2 · normal"),
    ("P3", "P3 · when there is time"),
]


class TaskForm(forms.ModelForm):  # type: ignore[type-arg]
    """A task to create; what the room would refuse is said beside its field."""

    urgency = forms.ChoiceField(label="Priority", choices=PRIORITIES, initial="P2", widget=UnfoldAdminRadioSelectWidget)
    payload = JSONObject(
        help_text="A JSON object: what whoever takes the task is given.",
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 10, "spellcheck": "false", "class": "mo-code", "placeholder": '{"title": "Fix the login"}'}
        ),
    )
    target = forms.CharField(
        required=False,
        label="To be over within",
        help_text="A span such as 30m, 4h or 2d, or a time in ISO 8601; empty: whenever. Being late is told once.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "4h"}),
    )
    timeout_seconds = forms.IntegerField(
        required=False,
        label="Time limit of an attempt",
        help_text="Seconds, at most a week; empty: none.",
        min_value=1,
        max_value=LONGEST_SECONDS,
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    class Meta:
        model = Task
        fields = ["organization", "task_type"]
        labels = {"task_type": "Type"}
        help_texts = {"task_type": "Any name, such as bugfix; the routes say which agent it goes to."}
        widgets = {"task_type": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "list": "task-types"})}

    def clean_target(self) -> Any:
        """Return the moment meant."""
        text = str(self.cleaned_data["target"]).strip()
        try:
            return targets.parse(text or None, now=timezone.now())
        except AppError as problem:
            raise forms.ValidationError(" ".join(problem.fields.values())) from None

    def clean(self) -> Any:
        """Refuse what must not be made of this type."""
        wish = super().clean() or self.cleaned_data
        if {"organization", "task_type", "payload"} <= wish.keys():
            try:
                handlers.check(wish["organization"], wish["task_type"], wish["payload"])
            except AppError as problem:
                raise forms.ValidationError(problem.detail) from None
        return wish
