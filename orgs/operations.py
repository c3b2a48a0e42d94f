"""Operations: what a view's method takes and answers, said once, beside it.

The views keep to it (parameters are read by it, writes are answered again by it), and the OpenAPI document comes out of
it (`moolai/openapi.py`).
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import partial, wraps
from typing import Any, Final

from django.utils.dateparse import parse_datetime
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from moolai.errors import AppError
from orgs import access, idempotency, parsing
from orgs.authentication import Caller

Handler = Callable[..., Any]
MAX_TEXT: Final = 200
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Shape(StrEnum):
    """How a success looks: `data` in the envelope, a page of rows in it, the object itself, or no body."""

    DATA = "data"
    PAGE = "page"
    FLAT = "flat"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter: `kind` is string, integer, boolean or date-time; absent it is `default`.

    A string has up to `most_characters`; more is refused, or left out where it `is_cut`.
    """

    description: str = ""
    kind: str = "string"
    choices: tuple[str, ...] = ()
    default: Any = None
    maximum: int | None = None
    most_characters: int = MAX_TEXT
    is_cut: bool = False

    def read(self, name: str, text: str) -> Any:
        """Return the value written as `text`; raises `invalid_parameter`, naming what is taken."""
        if self.choices and text and text not in self.choices:
            raise AppError("invalid_parameter", f"{name} is one of {', '.join(self.choices)}.")
        return _READERS[self.kind](self, name, text)


def _text(parameter: Parameter, name: str, text: str) -> str | None:
    most = parameter.most_characters
    if len(text) > most and not parameter.is_cut:
        raise AppError("invalid_parameter", f"{name} has at most {most} characters.")
    return text[:most] or parameter.default


def _whole(parameter: Parameter, name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise AppError("invalid_parameter", f"{name} must be a whole number from 1.")
    number = int(text) if len(text) <= parsing.MAX_DIGITS else parsing.MAX_INTEGER
    return min(number, parameter.maximum or number)


def _flag(parameter: Parameter, name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise AppError("invalid_parameter", f"{name} is true or false.")
    return text == "true"


def is_day(text: str) -> bool:
    """Whether `text` is written as a day, 2026-11-21; the other forms of a day in ISO 8601 are not taken."""
    return _DAY.fullmatch(text) is not None


def _moment(parameter: Parameter, name: str, text: str) -> datetime:
    moment = None
    with suppress(ValueError):
        if is_day(text):
            moment = datetime.combine(date.fromisoformat(text), time.min)
        elif ":" in text or "T" in text:
            moment = parse_datetime(text.replace(" ", "+"))
    if moment is None or not 1970 <= moment.year <= 9000:
        raise AppError("invalid_parameter", f"{name} is a time in ISO 8601, such as 2026-11-21T12:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_READERS: Final[Mapping[str, Callable[[Parameter, str, str], Any]]] = {
    "string": _text,
    "integer": _whole,
    "boolean": _flag,
    "date-time": _moment,
}
PAGING: Final = {
    "page": Parameter("Which page, from 1; past the end it is empty.", "integer", default=1),
    "page_size": Parameter("Rows on a page; more than 1000 are 1000.", "integer", default=100, maximum=1000),
}


def one_of(choices: list[str], description: str = "") -> Parameter:
    """Return a parameter that takes one of `choices`."""
    return Parameter(description, choices=tuple(choices))


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of a view takes and answers."""

    data: type[BaseSerializer[Any]] | None
    body: type[BaseSerializer[Any]] | None
    status: int
    shape: Shape
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    body_may_be_empty: bool = False
    content_types: tuple[str, ...] = ()

    def read(self, request: Request) -> dict[str, Any]:
        """Return every parameter's value or default; raises `invalid_parameter` for unknown, repeated and bad ones."""
        values = {name: parameter.default for name, parameter in self.parameters.items()}
        for name, texts in request.query_params.lists():
            if name not in self.parameters:
                raise AppError("invalid_parameter", f"There is no parameter {name[:50]!r} here.")
            if len(texts) > 1 or "\x00" in texts[0]:
                raise AppError("invalid_parameter", f"Send {name} once, without NUL.")
            values[name] = self.parameters[name].read(name, texts[0])
        return values


def operation(
    data: type[BaseSerializer[Any]] | None = None,
    *,
    body: type[BaseSerializer[Any]] | None = None,
    status: int = 200,
    shape: Shape = Shape.DATA,
    parameters: Mapping[str, Parameter] | None = None,
    errors: tuple[str, ...] = (),
    body_may_be_empty: bool = False,
    content_types: tuple[str, ...] = (),
) -> Callable[[Handler], Handler]:
    """Describe a view's method: `data` is what a success holds, `body` what it takes, `errors` its own codes.

    Codes that any call may meet (bad parameters, no credential, too many calls …) need not be named.
    `content_types` are those of an answer that is a file.
    """
    paging = PAGING if shape is Shape.PAGE else {}
    described = Operation(
        data, body, status, shape, {**paging, **(parameters or {})}, errors, body_may_be_empty, content_types
    )

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def run(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
            key = request.headers.get("Idempotency-Key")
            who = request.user  # nobody's writes are signing in and out
            if key is None or request.method in ("GET", "HEAD") or not isinstance(who, Caller):
                return handler(view, request, *args, **kwargs)
            write = partial(handler, view, request, *args, **kwargs)
            return idempotency.once(request._request, who, key, write, chosen=access.chosen(request))

        run.operation = described  # type: ignore[attr-defined]
        return run

    return decorate


def of(view: Any, method: str) -> Operation | None:
    """Return the operation of a view's method, None where it has none."""
    described: Operation | None = getattr(getattr(view, method.lower(), None), "operation", None)
    return described
