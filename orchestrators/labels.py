"""Labels: names with texts that operators put on orchestrators, to choose them by; clients do not set them.

Written `env=prod, region=eu` where people type them, `{"env": "prod", "region": "eu"}` everywhere else.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError

MAX_LABELS: Final = 32
MAX_VALUE: Final = 63
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def validate(value: Any) -> None:
    """Raise ValidationError unless `value` is {name: text} with at most MAX_LABELS names."""
    if not isinstance(value, dict):
        raise ValidationError('Send an object, such as {"env": "prod"}.')
    if len(value) > MAX_LABELS:
        raise ValidationError(f"An orchestrator has at most {MAX_LABELS} labels.")
    for name, text in value.items():
        validate_name(name)
        if not isinstance(text, str) or not text or len(text) > MAX_VALUE or not text.isprintable():
            raise ValidationError(f"The label {name} takes 1 to {MAX_VALUE} printable characters.")
        if "," in text or text != text.strip():
            raise ValidationError(f"The label {name} takes no comma, and no blank at either end.")


def validate_name(name: Any) -> None:
    """Raise ValidationError unless `name` can name a label."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        shown = str(name)[:70]
        raise ValidationError(
            f"{shown!r} is no label name: up to 63 of a-z, 0-9, dot, dash and underscore, beginning with a-z or 0-9."
        )


def parse(text: str) -> dict[str, str]:
    """Return the labels written as `env=prod,region=eu`; raises ValidationError."""
    found: dict[str, str] = {}
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = part.partition("=")
        if not separator:
            problems.append(f"{part[:70]!r} is no label: write name=value, with commas between them.")
        elif name.strip() in found:
            problems.append(f"The label {name.strip()} stands there twice.")
        else:
            found[name.strip()] = value.strip()
    if problems:
        raise ValidationError(problems)
    validate(found)
    return found


def text(labels: Mapping[str, str]) -> str:
    """Return labels as `parse` takes them, by name."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
