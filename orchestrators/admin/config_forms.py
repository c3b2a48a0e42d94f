"""The form that edits an organization's configuration; what is wrong with the document stands beside it, by place."""

import json
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from moolai.errors import AppError
from orchestrators import configuration, labels
from orchestrators.admin.json_lines import line_of, lines
from orchestrators.configuration import pace
from orgs.models import Organization

HOW: Final = [("now", "Publish now, to everybody at once"), ("stages", "Roll out in stages")]
LIMITS: Final = ("max_failed_percent", "soak_seconds", "stage_timeout_seconds")


class StagesField(forms.CharField):
    """Stages as people write them: percentages with commas between them, and lines of labels."""

    def to_python(self, value: Any) -> list[dict[str, Any]]:  # type: ignore[override]
        """Parse; the room checks what the numbers are."""
        found: list[dict[str, Any]] = []
        problems: list[str] = []
        for line in filter(None, (line.strip() for line in (value or "").splitlines())):
            for part in [line] if "=" in line else filter(None, (part.strip() for part in line.split(","))):
                try:
                    found.append(_stage(part))
                except ValidationError as error:
                    problems += error.messages
        if problems:
            raise ValidationError(problems)
        return found


def _stage(text: str) -> dict[str, Any]:
    return {"labels": labels.parse(text)} if "=" in text else {"percent": _percent(text)}


def _percent(text: str) -> float:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        raise ValidationError(f"{text.strip()[:70]!r} is no stage: write 10, 50 or env=canary.") from None
    return int(number) if number.is_integer() else number


def _number(label: str, initial: int, *, low: int, high: int, words: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, initial=initial, min_value=low, max_value=high, required=False, help_text=words,
        widget=UnfoldAdminIntegerFieldWidget(),
    )  # fmt: skip


class ConfigForm(forms.Form):
    """A document, why, and how it is to reach the fleet. `seen` is the version that the writer has read."""

    seen = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    document = forms.CharField(
        label="Document",
        strip=False,
        required=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={
                "rows": 22, "spellcheck": "false", "class": "mo-code", "data-editor": "", "wrap": "off",
                "autocomplete": "off", "aria-describedby": "document-help problems",
            }
        ),
    )  # fmt: skip
    comment = forms.CharField(
        label="Comment", max_length=500, required=False, help_text="What this is for; it stays in the history.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )  # fmt: skip
    how = forms.ChoiceField(label="How", choices=HOW, initial="now", widget=forms.RadioSelect)
    stages = StagesField(
        label="Stages", initial="10, 50", required=False,
        help_text="Percentages of the fleet, or a line of labels (env=canary) per stage; everybody comes last.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "spellcheck": "false"}),
    )  # fmt: skip
    soak_seconds = _number(
        "Watch each stage for", 0, low=0, high=pace.MAX_SECONDS, words="Seconds after it has answered."
    )
    max_failed_percent = _number("Halt above", 10, low=0, high=100, words="Percent of failures; the members go back.")
    stage_timeout_seconds = _number(
        "A stage waits at most", 300, low=1, high=pace.MAX_SECONDS, words="Seconds, for those that do not answer."
    )

    def __init__(self, organization: Organization, **options: Any) -> None:
        super().__init__(**options)
        self.organization = organization
        self.problems: list[dict[str, Any]] = []

    def clean_document(self) -> Any:
        """Parse and check it; every problem is kept with its path and its line."""
        text = self.cleaned_data["document"]
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            self._refuse(
                "", f"This is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).", error.lineno
            )
        except (RecursionError, ValueError):
            self._refuse("", "This cannot be read: it nests too deep, or a number is too long.", 1)
        else:
            problems = configuration.validate(found, self.organization)
            places = lines(text) if problems else {}
            for row in problems:
                self._refuse(row["path"], row["problem"], line_of(row["path"], places))
        if self.problems:
            raise ValidationError("Nothing was published: mend what is named here.")
        return found

    def clean(self) -> dict[str, Any]:
        """Ask for stages where they are wanted."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("how") == "stages" and found.get("stages") == []:
            self.add_error("stages", "Name the first stage, such as 10.")
        return found

    def limits(self) -> dict[str, int | None]:
        """Return the limits that were given."""
        return {name: self.cleaned_data[name] for name in LIMITS if self.cleaned_data.get(name) is not None}

    def take(self, problem: AppError) -> None:
        """Say what a room refused beside the fields that it names."""
        places = lines(self.data["document"])
        for path, words in problem.fields.items():
            name = path.split("[")[0]
            if path.split(".")[0] == "config":
                inner = path.removeprefix("config").removeprefix(".")
                self._refuse(inner, words, line_of(inner, places))
            elif name in self.fields:
                self.add_error(name, f"{path}: {words}" if path != name else words)
            else:
                self.add_error(None, f"{path}: {words}")
        if not problem.fields:
            self.add_error(None, problem.detail)
        elif self.problems and "document" not in self.errors:
            self.add_error("document", "Nothing was published: mend what is named here.")

    def _refuse(self, path: str, problem: str, line: int) -> None:
        self.problems.append({"path": path, "problem": problem, "line": line})
