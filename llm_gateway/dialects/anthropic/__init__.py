"""The dialect of Anthropic's Messages API: see `llm_gateway.shapes.Dialect`."""

from typing import Final

from llm_gateway.dialects.anthropic.answers import answer, embedded, problem, told, usage
from llm_gateway.dialects.anthropic.requests import DEFAULT_MAX_TOKENS, chat, embeddings
from llm_gateway.dialects.anthropic.stream import AnthropicDecoder

__all__ = [
    "BASE_URL",
    "DEFAULT_MAX_TOKENS",
    "answer",
    "chat",
    "decoder",
    "embedded",
    "embeddings",
    "headers",
    "problem",
    "told",
    "usage",
]

BASE_URL: Final = "https://api.anthropic.com"
VERSION: Final = "2023-06-01"


def headers(api_key: str) -> dict[str, str]:
    """Return the headers of a request."""
    return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})


def decoder(*, model: str, call_id: str, created: int) -> AnthropicDecoder:
    """Return a new decoder for one stream."""
    return AnthropicDecoder(model=model, call_id=call_id, created=created)
