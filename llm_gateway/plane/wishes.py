"""Wishes: what a caller's headers ask of one call. They choose among what is set up here, never a host or a key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from llm_gateway.problems import Refused

PROVIDER: Final = "x-moolai-provider"
FALLBACKS: Final = "x-moolai-fallbacks"
NO_FALLBACK: Final = "x-moolai-no-fallback"
TIMEOUT: Final = "x-moolai-timeout"
RETRIES: Final = "x-moolai-retries"
STREAM_COST: Final = "x-moolai-stream-cost"
NAMES: Final = frozenset(map(str.encode, (PROVIDER, FALLBACKS, NO_FALLBACK, TIMEOUT, RETRIES, STREAM_COST)))
MAX_FALLBACKS: Final = 8
MAX_LENGTH: Final = 2_000
# Headers of the SDKs that a provider of the same dialect is sent on.
PASSED: Final[Mapping[str, tuple[bytes, ...]]] = {
    "anthropic": (b"anthropic-version", b"anthropic-beta"),
    "openai": (b"openai-beta",),
}
_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._,:;=/+-]{0,499}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,49}")
_SWITCH: Final = {"": False} | dict.fromkeys(("false", "off", "0"), False) | dict.fromkeys(("true", "on", "1"), True)
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one call is to keep to; None is what the installation does.

    `provider` is the only one to ask, `fallbacks` the models to ask in place of an alias's own when the first fails.
    """

    provider: str = ""
    fallbacks: tuple[str, ...] | None = None
    seconds: float | None = None
    retries: int | None = None
    tells_cost: bool = False


NONE: Final = Wishes()


def read(headers: Mapping[bytes, bytes]) -> Wishes:
    """Return the wishes in a request's headers (names in lower case); raises Refused."""
    if NAMES.isdisjoint(headers):
        return NONE
    return Wishes(
        _provider(_text(headers, PROVIDER)),
        _fallbacks(_text(headers, FALLBACKS), is_none=_switch(headers, NO_FALLBACK)),
        _seconds(_text(headers, TIMEOUT)),
        _retries(_text(headers, RETRIES)),
        _switch(headers, STREAM_COST),
    )


def passed(headers: Mapping[bytes, bytes], *, dialect: str) -> dict[str, str] | None:
    """Return the headers that a provider of `dialect` is sent on, None without any; raises Refused."""
    found = {}
    for raw in PASSED.get(dialect, ()):
        if raw not in headers or not (text := _text(headers, name := raw.decode())):
            continue
        found[name] = text
        if not _VALUE.fullmatch(text):
            raise Refused(name, f"`{name}` holds letters, digits and ` ._,:;=/+-`, 500 at most.")
    return found or None


def _text(headers: Mapping[bytes, bytes], name: str) -> str:
    text = headers.get(name.encode(), b"").decode("latin-1").strip()
    if len(text) > MAX_LENGTH:
        raise Refused(name, f"`{name}` has at most {MAX_LENGTH} characters.")
    return text


def _switch(headers: Mapping[bytes, bytes], name: str) -> bool:
    found = _SWITCH.get(_text(headers, name).lower())
    if found is None:
        raise Refused(name, f"`{name}` is true or false.")
    return found


def _provider(text: str) -> str:
    if text and not _NAME.fullmatch(text):
        raise Refused(PROVIDER, f"`{PROVIDER}` is the name of a provider.")
    return text


def _fallbacks(text: str, *, is_none: bool) -> tuple[str, ...] | None:
    names = tuple(filter(None, map(str.strip, text.split(","))))
    if is_none and names:
        raise Refused(NO_FALLBACK, f"Send `{FALLBACKS}` or `{NO_FALLBACK}`, not both.")
    if (
        bool(text) != bool(names)
        or len(names) > MAX_FALLBACKS
        or any(len(name) > 256 or not name.isprintable() for name in names)
    ):
        raise Refused(FALLBACKS, f"`{FALLBACKS}` names up to {MAX_FALLBACKS} models, with commas between them.")
    return names if names or is_none else None


def _seconds(text: str) -> float | None:
    if not text:
        return None
    most = settings.LLM_TOTAL_SECONDS
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= most:
        raise Refused(TIMEOUT, f"`{TIMEOUT}` is a number of seconds above 0, {most:g} at most.")
    return float(text)


def _retries(text: str) -> int | None:
    if not text:
        return None
    most = settings.LLM_RETRIES
    if not (text.isascii() and text.isdigit() and len(text) < 6) or int(text) > most:
        raise Refused(RETRIES, f"`{RETRIES}` is a whole number from 0 to {most}.")
    return int(text)
