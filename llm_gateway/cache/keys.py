"""Keys: which questions are the same. Pure.

Two requests have one key when organization, surface, the places they would be sent to, the guardrails that hold and
the body are the same, but for what cannot change an answer. What a request leaves with the provider, or reads there,
makes it one that has no key.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from llm_gateway.reading import Document

MAX_BYTES: Final = 1024 * 1024  # of a request: beyond it, hashing costs more than a question is likely to come again
# What says who asks and how the answer is delivered, not what it says. A stream and a whole answer share an entry.
_DELIVERY: Final = frozenset({"model", "stream", "stream_options"})
_ASIDE: Final = _DELIVERY | {"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
_IGNORED: Final[Mapping[str, frozenset[str]]] = {
    "/chat/completions": _ASIDE | {"store"},
    "/completions": _ASIDE,
    "/embeddings": _ASIDE,
    "/v1/messages": _DELIVERY | {"metadata"},
    "/responses": _DELIVERY,  # a response repeats what it was asked with
}
# State on the provider's side: the answer depends on it, or the request is to leave it there.
_STATEFUL: Final = ("previous_response_id", "conversation", "background", "store", "prompt", "container", "mcp_servers")


def of(
    organization_id: str, surface: str, body: Document, *, model: str, places: Iterable[str], stamp: str = ""
) -> str | None:
    """Return the key of a request (64 hexadecimal digits), None for one that must not be answered from the cache.

    `surface` is its path, `model` the name that was asked for, `places` is where it may go, `stamp` what else changes
    answers: the guardrails.
    """
    if any(body.get(name) for name in _stateful(surface)):
        return None
    ignored = _IGNORED[surface]
    asked = {name: value for name, value in body.items() if name not in ignored}
    try:
        said = orjson.dumps(
            [organization_id, surface, model, sorted(places), stamp, asked], option=orjson.OPT_SORT_KEYS
        )
    except TypeError:  # a text or a number that JSON has no form for
        return None
    return hashlib.sha256(said).hexdigest()


def _stateful(surface: str) -> tuple[str, ...]:
    """Return the fields that bind a request to a provider's state; `prompt` is the text itself in old completions."""
    return tuple(name for name in _STATEFUL if name != "prompt" or surface == "/responses")
