"""Hosts of providers: where each dialect is spoken by its owner, and whether two addresses lead to the same place."""

from typing import Final
from urllib.parse import urlsplit

from llm_gateway.dialects import anthropic, google, openai

OWNERS: Final = {
    "openai": openai.BASE_URL,
    "anthropic": anthropic.BASE_URL,
    "google": google.BASE_URL,
    "echo": "",
}


def of(dialect: str, base_url: str) -> str:
    """Return the address that paths are appended to: the owner's where none is given."""
    return base_url.rstrip("/") or OWNERS[dialect]


def place(dialect: str, base_url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port: what a key is bound to."""
    parts = urlsplit(of(dialect, base_url))
    return parts.scheme, parts.hostname or "", parts.port
