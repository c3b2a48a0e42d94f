"""The dialect of Google's Gemini API: see `llm_gateway.shapes.Dialect`. The key goes in a header, never in the URL."""

from typing import Final

from llm_gateway.dialects.google.answers import answer, embedded, problem, usage
from llm_gateway.dialects.google.embedding import embeddings
from llm_gateway.dialects.google.requests import chat
from llm_gateway.dialects.google.stream import GoogleDecoder

__all__ = ["BASE_URL", "answer", "chat", "decoder", "embedded", "embeddings", "headers", "problem", "usage"]

BASE_URL: Final = "https://generativelanguage.googleapis.com"


def headers(api_key: str) -> dict[str, str]:
    """Return the headers of a request."""
    return {"x-goog-api-key": api_key} if api_key else {}


def decoder(*, model: str, call_id: str, created: int) -> GoogleDecoder:
    """Return a new decoder for one stream."""
    return GoogleDecoder(model=model, call_id=call_id, created=created)
