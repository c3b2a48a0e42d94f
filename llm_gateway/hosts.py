"""Hosts of providers: where each dialect is spoken by its owner, and whether two addresses lead to the same place."""

from typing import Final
from urllib.parse import urlsplit

OWNERS: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta",
    "echo": "",
}
# Written as the SDKs write them: Anthropic's and Google's append the version themselves, OpenAI's does not.
VERSIONS: Final = {"anthropic": "/v1", "google": "/v1beta"}


def of(dialect: str, base_url: str) -> str:
    """Return the address that paths are appended to: the owner's where none is given, the version where it lacks."""
    if not base_url:
        return OWNERS[dialect]
    plain = base_url.rstrip("/")
    version = VERSIONS.get(dialect, "")
    return plain + version if version and urlsplit(plain).path.strip("/") == "" else plain


def place(dialect: str, base_url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port: what a key is bound to."""
    parts = urlsplit(of(dialect, base_url))
    return parts.scheme, parts.hostname or "", parts.port


def is_same(dialect: str, one: str, other: str) -> bool:
    """Whether a key that was entered for one address may be sent to the other."""
    return place(dialect, one) == place(dialect, other)
