"""The dialect of OpenAI, and of everything compatible with it: see `llm_gateway.shapes.Dialect`."""

from typing import Final

from llm_gateway.dialects.openai.answers import answer, embedded, usage
from llm_gateway.dialects.openai.errors import problem, told
from llm_gateway.dialects.openai.requests import chat, embeddings
from llm_gateway.dialects.openai.stream import OpenAIDecoder

__all__ = ["BASE_URL", "answer", "chat", "decoder", "embedded", "embeddings", "headers", "problem", "told", "usage"]

BASE_URL: Final = "https://api.openai.com/v1"


def headers(api_key: str) -> dict[str, str]:
    """Return the headers of a request; a local provider may have no key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def decoder(*, model: str, call_id: str, created: int) -> OpenAIDecoder:
    """Return a new decoder for one stream."""
    return OpenAIDecoder(model=model, call_id=call_id, created=created)
