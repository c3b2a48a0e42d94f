"""Bodies: the texts of requests and answers, in whatever form a surface has them; nothing else is touched. Pure.

A text is every string of a body's content but for names, ids, kinds, addresses and binary data. JSON that stands in a
text (the arguments of a tool) stays JSON.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from llm_gateway.reading import Document

Clean = Callable[[str], str]
# What of a request holds no text that somebody wrote: who asks, of whom, and how the answer is to come.
SPARED: Final = frozenset(
    """model user metadata safety_identifier prompt_cache_key prompt_cache_retention stream stream_options store
    service_tier tool_choice function_call reasoning reasoning_effort thinking verbosity modalities audio include
    truncation encoding_format previous_response_id conversation background container betas inference_geo""".split()
)
# What of an answer holds such texts.
ANSWER: Final = ("choices", "content", "output")
_NAMES: Final = frozenset(
    """role type id tool_call_id tool_use_id call_id item_id name status url data file_data file_id image_url audio
    input_audio detail format media_type signature encrypted_content cache_control finish_reason stop_reason object
    filename model namespace phase""".split()
)
_SCHEMAS: Final = frozenset({"format"})  # a name, or an object with the schema of an answer
_JSON: Final = frozenset({"arguments"})
_INPUTS: Final = frozenset({"arguments", "input"})
MAX_ARGUMENTS: Final = 1024 * 1024  # characters of a tool's arguments in a stream


class TooLong(Exception):
    """A text that can be looked at only as a whole, and has no end."""


def request(body: Document, clean: Clean) -> Document:
    """Return a request's body whose texts went through `clean`: the same object when none of them changed."""
    return cleaned(body, clean, names=[name for name in body if name not in SPARED])


def cleaned(body: Document, clean: Clean, *, names: Iterable[str]) -> Document:
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
        if name in _NAMES and not (is_text and name == "data") and not (name in _SCHEMAS and isinstance(item, dict)):
            continue
        found = _field(name, item, clean)
        if found is not item:
            more[name] = found
    if not more:
        return value
    if value.get("logprobs"):  # they tell the text once more, token by token
        more["logprobs"] = [] if isinstance(value["logprobs"], list) else None
    return value | more


def _field(name: str, item: Any, clean: Clean) -> Any:
    """Return what a field holds, cleaned; the arguments of a tool in any form: what they are called says nothing."""
    if name in _JSON and isinstance(item, str):
        return json_text(item, clean)
    return _json(item, clean) if name in _INPUTS and isinstance(item, dict) else walked(item, clean)


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
        self._clean, self._parts, self._size = clean, list[str](), 0

    def feed(self, part: str) -> str:
        """Take a part; nothing may be sent on yet. Raises TooLong beyond MAX_ARGUMENTS."""
        self._size += len(part)
        if self._size > MAX_ARGUMENTS:
            raise TooLong
        self._parts.append(part)
        return ""

    def finish(self) -> str:
        """Return all of it; raises what `clean` raises."""
        return json_text("".join(self._parts), self._clean) if any(self._parts) else ""
