"""Sealed columns: model fields whose values are ciphertext in Python and in the database alike.

A room writes one with `put`, which seals, and reads it with `read`; readers outside get `masked`. A plain value that
reaches the database by any other way is refused, so that a forgotten `put` is a failure and never a leak. A row with
such columns has an `organization_id`.
"""

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.db import models

from moolai.errors import InvalidInput
from orgs import vault

MAX_LENGTH: Final = 8_000
MAX_DOCUMENT_LENGTH: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 1_000


def _place(row: models.Model, *parts: str) -> dict[str, str]:
    organization_id = getattr(row, "organization_id", None) or ""
    return {"organization_id": str(organization_id), "field": ".".join([row._meta.db_table, *parts])}


class SealedText(models.TextField):  # type: ignore[type-arg]  # not generic at run time
    """A secret text; nothing ("") stays nothing. Doors see `***`."""

    limit = MAX_LENGTH

    def to_sealed(self, row: models.Model, value: Any) -> str:
        """Return the ciphertext of `value` for this column of `row`; raises `invalid_field` for what is no text."""
        if value in (None, ""):
            return ""
        if not isinstance(value, str) or len(value) > self.limit:
            raise InvalidInput(fields={self.name: f"Write a text of up to {self.limit} characters."})
        return vault.seal(value, **_place(row, self.name))

    def to_plain(self, row: models.Model) -> str:
        """Return the secret; raises `vault.Unreadable`."""
        stored = getattr(row, self.attname)
        return vault.open_(stored, **_place(row, self.name)) if stored else ""

    def mask(self, plain: Any) -> Any:
        """Return what readers may see of `plain`."""
        return vault.mask(plain)

    def masked(self, row: models.Model) -> Any:
        """Return what readers may see; a value that cannot be opened is all stars."""
        try:
            return self.mask(self.to_plain(row))
        except vault.Unreadable:
            return vault.STARS

    def fill(self, row: models.Model, value: Any) -> Any:
        """Return `value` with what its sender saw masked, and sent back untouched, replaced by what is stored."""
        if not isinstance(value, str) or vault.STARS not in value or self.mask(value) != value:
            return value
        if getattr(row, self.attname) and value == self.masked(row):
            return self.to_plain(row)
        raise InvalidInput(fields={self.name: f"{vault.STARS} stands for a secret that is not shown; write it out."})

    def sealed_values(self, row: models.Model) -> list[str]:
        """Return the ciphertexts stored in `row`."""
        stored = getattr(row, self.attname)
        return [stored] if stored else []

    def get_prep_value(self, value: Any) -> Any:
        """Refuse to store what is not sealed."""
        if value not in (None, "") and not vault.is_sealed(value) and not hasattr(value, "resolve_expression"):
            raise ValueError(f"{self.model.__name__}.{self.name} is sealed: write it with orgs.sealed.put")
        return super().get_prep_value(value)

    def value_from_object(self, obj: models.Model) -> Any:
        """Show forms and serializers the masked value."""
        return self.masked(obj)


class SealedDocument(SealedText):
    """A secret text of any length that a request or an answer can have."""

    limit = MAX_DOCUMENT_LENGTH


class SealedURL(SealedText):
    """A URL that may hold a password; doors see it with the password starred."""

    def mask(self, plain: Any) -> str:
        """Return the URL without its secrets."""
        return vault.mask_url(plain) if plain else ""


class SealedValues(models.JSONField):
    """Named secret texts: {name: text}. Names are readable, each value is sealed under its name."""

    def to_sealed(self, row: models.Model, value: Any) -> dict[str, str]:
        """Return {name: ciphertext}; numbers and booleans become the text they are in an environment."""
        if value in (None, ""):
            return {}
        if not isinstance(value, dict) or len(value) > MAX_VALUES:
            raise InvalidInput(fields={self.name: f"Write an object of up to {MAX_VALUES} names and texts."})
        return {
            name: vault.seal(self._text(name, item), **_place(row, self.name, name)) for name, item in value.items()
        }

    def _text(self, name: Any, item: Any) -> str:
        if isinstance(item, bool):
            return "true" if item else "false"
        if isinstance(item, int | float):
            return str(item)
        if not isinstance(name, str) or not name or not isinstance(item, str) or len(item) > MAX_LENGTH:
            raise InvalidInput(
                fields={self.name: f"{str(name)[:50]!r} must be a text of up to {MAX_LENGTH} characters."}
            )
        return item

    def to_plain(self, row: models.Model) -> dict[str, str]:
        """Return {name: secret}; raises `vault.Unreadable`."""
        stored = getattr(row, self.attname) or {}
        return {name: vault.open_(item, **_place(row, self.name, name)) for name, item in stored.items()}

    def mask(self, plain: Any) -> dict[str, str]:
        """Return the names, each with stars."""
        return dict.fromkeys(plain or {}, vault.STARS)

    def masked(self, row: models.Model) -> dict[str, str]:
        """Return the names, each with stars; needs no key."""
        return self.mask(getattr(row, self.attname))

    def fill(self, row: models.Model, value: Any) -> Any:
        """Return `value` with each `***` replaced by what is stored under its name."""
        if not isinstance(value, dict) or vault.STARS not in value.values():
            return value
        stored = self.to_plain(row)
        if missing := [name for name, item in value.items() if item == vault.STARS and name not in stored]:
            detail = f"{vault.STARS} stands for a stored secret, and {str(missing[0])[:50]!r} has none; write it out."
            raise InvalidInput(fields={self.name: detail})
        return {name: stored[name] if item == vault.STARS else item for name, item in value.items()}

    def sealed_values(self, row: models.Model) -> list[str]:
        """Return the ciphertexts stored in `row`."""
        return list((getattr(row, self.attname) or {}).values())

    def get_prep_value(self, value: Any) -> Any:
        """Refuse to store what is not sealed."""
        is_plain = not isinstance(value, dict) or not all(map(vault.is_sealed, value.values()))
        if value is not None and is_plain and not hasattr(value, "resolve_expression"):
            raise ValueError(f"{self.model.__name__}.{self.name} is sealed: write it with orgs.sealed.put")
        return super().get_prep_value(value)

    def value_from_object(self, obj: models.Model) -> Any:
        """Show forms and serializers the masked values."""
        return self.masked(obj)


Sealed = SealedText | SealedValues


def columns(model: type[models.Model] | models.Model) -> dict[str, Sealed]:
    """Return the sealed columns of a model by name."""
    fields = model._meta.concrete_fields
    return {field.name: field for field in fields if isinstance(field, SealedText | SealedValues)}


def models_with_secrets() -> Iterator[type[models.Model]]:
    """Return every model that has sealed columns."""
    return (model for model in apps.get_models() if columns(model))


def put(row: models.Model, name: str, value: Any) -> None:
    """Seal `value` into a column of `row` (not saved); raises `invalid_field`."""
    column = columns(row)[name]
    setattr(row, column.attname, column.to_sealed(row, column.fill(row, value)))


def read(row: models.Model, name: str) -> Any:
    """Return the secret in a column: for the product's own use, never for an answer or a log."""
    return columns(row)[name].to_plain(row)


def masked(row: models.Model) -> dict[str, Any]:
    """Return {column: what readers may see} of all sealed columns."""
    return {name: column.masked(row) for name, column in columns(row).items()}


def is_same(row: models.Model, name: str, value: Any) -> bool:
    """Whether writing `value` would leave the column's secret as it is; raises `invalid_field`."""
    column = columns(row)[name]
    wanted = column.fill(row, value)
    try:
        return bool((wanted or column.mask(None)) == column.to_plain(row))
    except vault.Unreadable:
        return False
