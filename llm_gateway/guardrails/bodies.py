"""Bodies: the texts of requests and answers, in whatever form a surface has them; nothing else is touched. Pure.

A text is every string of a body's content but for names, ids, kinds, addresses and binary data. JSON that stands in a
text (the arguments of a tool) stays JSON.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from llm_gateway.reading import Document

Clean = Callable[[str], str]
# What of a request, and of an answer, holds texts that somebody wrote.
REQUEST: Final = ("messages", "system", "input", "instructions", "prompt", "suffix", "prediction", "tools", "functions")
ANSWER: Final = ("choices", "content", "output")
_NAMES: Final = frozenset(
    """role type id tool_call_id tool_use_id call_id item_id name status url data file_data file_id image_url audio
    input_audio detail format media_type signature encrypted_content cache_control finish_reason stop_reason object
    filename model namespace phase""".split()
)
_JSON: Final = frozenset({"arguments"})


def cleaned(body: Document, clean: Clean, *, names: tuple[str, ...]) -> Document:
    """Return a body whose texts went through `clean`: the same object when none of them changed."""
    more = {name: found for name in names if name in body and (found := walked(body[name], clean)) is not body[name]}
    return body | more if more else body


def walked(value: Any, clean: Clean) -> Any:
    """Return a value whose texts went through `clean`; the same object when none of them changed."""
    if isinstance(value, str):
        found = clean(value)
        return value if found == value else found
    if isinstance(value, list):
        items = [walked(item, clean) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        return _object(value, clean)
    return value


def _object(value: Document, clean: Clean) -> Document:
    is_text = value.get("type") == "text"
    more: Document = {}
    for name, item in value.items():
        if name in _NAMES and not (is_text and name == "data"):
            continue
        found = json_text(item, clean) if name in _JSON and isinstance(item, str) else walked(item, clean)
        if found is not item:
            more[name] = found
    if not more:
        return value
    if value.get("logprobs"):  # they tell the text once more, token by token
        more["logprobs"] = [] if isinstance(value["logprobs"], list) else None
    return value | more


def json_text(words: str, clean: Clean) -> str:
    """Return JSON text whose strings and numbers went through `clean`; what is no JSON is a text like another."""
    try:
        document = orjson.loads(words)
    except orjson.JSONDecodeError:
        return clean(words)
    found = _json(document, clean)
    return words if found is document else orjson.dumps(found).decode()


def _json(value: Any, clean: Clean) -> Any:
    """Return the value, all of its strings and numbers cleaned, whatever they are called."""
    if isinstance(value, dict):
        items = {name: _json(item, clean) for name, item in value.items()}
        return value if all(items[name] is value[name] for name in value) else items
    if isinstance(value, list):
        listed = [_json(item, clean) for item in value]
        return value if all(new is old for new, old in zip(listed, value, strict=True)) else listed
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        found = clean(str(value))
        return value if found == str(value) else found
    return value


class HeldArguments:
    """The arguments of a tool that come in parts: JSON can be cleaned, and stay JSON, only as a whole."""

    def __init__(self, clean: Clean) -> None:
        self._clean, self._parts = clean, list[str]()

    def feed(self, part: str) -> str:
        """Take a part; nothing may be sent on yet."""
        self._parts.append(part)
        return ""

    def finish(self) -> str:
        """Return all of it; raises what `clean` raises."""
        return json_text("".join(self._parts), self._clean) if any(self._parts) else ""
