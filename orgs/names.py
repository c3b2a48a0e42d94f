"""Names that people give and read, of organizations, orchestrators, keys and people: one rule, stored in NFC.

A name is one line that shows what it holds: no control characters, nothing that turns the direction of writing round.
"""

import unicodedata
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models
from rest_framework import serializers

from moolai.errors import InvalidInput

_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, line and paragraph separators


def normalize(text: str) -> str:
    """Return `text` as it is stored: in NFC (Unicode Annex 15)."""
    return unicodedata.normalize("NFC", text)


def check(text: str) -> None:
    """Raise ValidationError for a text that is no name, saying which character is at fault."""
    for place, letter in enumerate(text, start=1):
        if letter in _TURNING or unicodedata.category(letter) in _REFUSED:
            detail = f"Character {place} (U+{ord(letter):04X}) is not taken: write one line without control characters."
            raise ValidationError(detail, code="invalid")
    if not any(unicodedata.category(letter)[0] not in "ZCM" for letter in text):
        raise ValidationError("Write at least one visible character.", code="blank")


def require(text: str, *, field: str = "name") -> str:
    """Return `text` as it is stored, or raise `invalid_field` for `field`."""
    try:
        check(text)
    except ValidationError as error:
        raise InvalidInput(fields={field: " ".join(error.messages)}) from None
    return normalize(text)


class NameField(models.CharField):  # type: ignore[type-arg]  # not generic at run time
    """A column that holds a name; in the database it is any other text column."""

    default_validators = [check]

    def to_python(self, value: Any) -> Any:
        """Normalize, also whatever is written past the validators."""
        value = super().to_python(value)
        return normalize(value) if isinstance(value, str) else value

    def deconstruct(self) -> Any:
        """Return what migrations see: a CharField."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.CharField", arguments, options


class NameText(serializers.CharField):
    """A name in the body of a request; spaces around it are taken off."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 200, "trim_whitespace": False, **options})
        self.validators.append(check)

    def to_internal_value(self, data: Any) -> str:
        """Normalize."""
        return normalize(super().to_internal_value(data)).strip(" ")
