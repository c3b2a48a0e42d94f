"""Priorities: 1 to 10, given as a number or as a word (API §6)."""

from typing import Any, Final

from moolai.errors import InvalidInput
from orchestrators.models.task import GIVEN, LEVELS, WAITING_WORDS

LOWEST: Final = 1
HIGHEST: Final = 10
NORMAL: Final = GIVEN["normal"]


def parse(value: Any) -> tuple[int, str]:
    """Return the number and the word it was given in ("" for a number); raises `invalid_field`."""
    if isinstance(value, str) and value in GIVEN:
        return GIVEN[value], value
    if type(value) is int and LOWEST <= value <= HIGHEST:
        return value, ""
    words = ", ".join(GIVEN)
    raise InvalidInput(fields={"priority": f"Give a number from {LOWEST} to {HIGHEST}, or one of {words}."})


def span(level: str) -> str:
    """Return which numbers a level is: “8–9” for P1."""
    lowest, highest = LEVELS[level]
    return str(highest) if lowest == highest else f"{lowest}–{highest}"


def waits(given: str) -> bool:
    """Whether a task whose priority was given so waits for a person."""
    return given in WAITING_WORDS
