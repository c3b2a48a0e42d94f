"""Saying: how many characters an answer says, for one whose provider did not count its tokens. Pure."""

from typing import Final

import orjson

from llm_gateway.reading import Document, document

# Where the answers of the surfaces hold what was said, and what its texts are called there.
_PLACES: Final = ("choices", "output", "content")
_TEXTS: Final = frozenset(("content", "text", "refusal", "reasoning_content", "thinking", "arguments"))


def of_chunk(chunk: Document) -> int:
    """Return how many characters a canonical chunk says."""
    total = 0
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta", {})
        total += len(delta.get("content") or "") + len(delta.get("reasoning_content") or "")
        for call in delta.get("tool_calls") or ():
            total += len((call.get("function") or {}).get("arguments") or "")
    return total


def of_answer(payload: object) -> int:
    """Return how many characters a whole answer of any surface says: texts, thoughts, and the arguments of tools."""
    answer = document(payload)
    total, waiting = 0, [answer.get(name) for name in _PLACES]
    while waiting:
        item = waiting.pop()
        if type(item) is list:
            waiting += item
        elif type(item) is dict:
            if item.get("type") == "tool_use":
                total += len(orjson.dumps(item.get("input")))
                continue
            total += sum(len(part) for name, part in item.items() if name in _TEXTS and type(part) is str)
            waiting += [part for part in item.values() if type(part) is dict or type(part) is list]
    return total
