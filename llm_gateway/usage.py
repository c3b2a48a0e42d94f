"""Usage: how many tokens a call took, in one form for every provider. Pure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `input_tokens` holds all of the prompt, `cached_input_tokens` (read from a provider's cache) and
    `cache_write_tokens` (written to it) are parts of it, `cache_write_hour_tokens` (for an hour) a part of the last;
    `reasoning_tokens` are part of `output_tokens`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_hour_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_hour_tokens + other.cache_write_hour_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Return input and output together."""
        return self.input_tokens + self.output_tokens

    def to_openai(self) -> dict[str, Any]:
        """Return the `usage` object of a chat completion."""
        prompt_details = {"cached_tokens": self.cached_input_tokens}
        if self.cache_write_tokens:
            prompt_details["cache_write_tokens"] = self.cache_write_tokens
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": prompt_details,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }

    def to_responses(self) -> dict[str, Any]:
        """Return the `usage` object of OpenAI's Responses API."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {
                "cached_tokens": self.cached_input_tokens,
                "cache_write_tokens": self.cache_write_tokens,
            },
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }

    def to_anthropic(self) -> dict[str, Any]:
        """Return the `usage` object of a message, whose `input_tokens` leave out what the cache took part in."""
        return {
            "input_tokens": max(0, self.input_tokens - self.cached_input_tokens - self.cache_write_tokens),
            "cache_creation_input_tokens": self.cache_write_tokens,
            "cache_read_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
        }


def count(value: object) -> int:
    """Return `value` when it is a token count (a whole number from 0 to 2**53), else 0."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**53 else 0


def of_openai(document: object) -> Usage | None:
    """Return the usage of an OpenAI `usage` object (chat, completions, embeddings or responses), None without one.

    Some compatible providers count reasoning in `total_tokens` only: what the total has beyond the prompt is output.
    """
    if type(document) is not dict:
        return None
    given = count(document.get("prompt_tokens") or document.get("input_tokens"))
    made = count(document.get("completion_tokens") or document.get("output_tokens"))
    total = count(document.get("total_tokens"))
    read = _details(document, "prompt_tokens_details", "input_tokens_details")
    written = _details(document, "completion_tokens_details", "output_tokens_details")
    if not (given or made or total):
        return None
    output = max(made, total - given)
    return Usage(
        input_tokens=given,
        output_tokens=output,
        cached_input_tokens=min(given, count(read.get("cached_tokens"))),
        cache_write_tokens=min(given, count(read.get("cache_write_tokens"))),
        reasoning_tokens=min(output, count(written.get("reasoning_tokens"))),
    )


def of_anthropic(document: object) -> Usage | None:
    """Return the usage of an Anthropic `usage` object, whose `input_tokens` leave out both kinds of cached ones."""
    if type(document) is not dict or ("input_tokens" not in document and "output_tokens" not in document):
        return None
    cached, written = count(document.get("cache_read_input_tokens")), count(document.get("cache_creation_input_tokens"))
    output = count(document.get("output_tokens"))
    for_an_hour = count(_details(document, "cache_creation").get("ephemeral_1h_input_tokens"))
    return Usage(
        input_tokens=count(document.get("input_tokens")) + cached + written,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(output, count(_details(document, "output_tokens_details").get("thinking_tokens"))),
        cache_write_hour_tokens=min(written, for_an_hour),
    )


def of_google(document: object) -> Usage | None:
    """Return the usage of Gemini's `usageMetadata`, where thoughts and tool prompts stand beside the other counts."""
    if type(document) is not dict or "promptTokenCount" not in document:
        return None
    given = count(document.get("promptTokenCount")) + count(document.get("toolUsePromptTokenCount"))
    thoughts = count(document.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=given,
        output_tokens=count(document.get("candidatesTokenCount")) + thoughts,
        cached_input_tokens=min(given, count(document.get("cachedContentTokenCount"))),
        reasoning_tokens=thoughts,
    )


def _details(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the first of the named objects that there is."""
    for name in names:
        found = document.get(name)
        if type(found) is dict:
            return found
    return {}
