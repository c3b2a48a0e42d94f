"""Bodies: the texts of requests and answers, in whatever form a surface has them; nothing else is touched. Pure.

A text is every string of a body's content but for names, ids, kinds, addresses and binary data; and what its fields
are called, where that is no plain name. JSON that stands in a text (the arguments of a tool) stays JSON.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from llm_gateway.reading import Document, is_deep, may_be_deep

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
_SETS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})  # of a schema: any names
_FIELD: Final = re.compile(r"[A-Za-z_$]{1,32}")  # what a field is called that belongs to a format, and is no text
MAX_ARGUMENTS: Final = 1024 * 1024  # characters of a tool's arguments in a stream


class TooLong(Exception):
    """A text that can be looked at only as a whole, and has no end; or JSON in one that is nested too deep."""


def request(body: Document, clean: Clean) -> Document:
    """Return a request's body whose texts went through `clean`: the same object when none of them changed.

    Raises TooLong, and what `clean` raises.
    """
    found = cleaned(body, clean, names=[name for name in body if name not in SPARED])
    return _renamed(found, {}, clean)


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
    if more and value.get("logprobs"):  # they tell the text once more, token by token
        more["logprobs"] = [] if isinstance(value["logprobs"], list) else None
    return _renamed(value, more, clean)


def _renamed(
    value: Document, more: Document, clean: Clean, *, is_plain: Callable[[str], Any] = _FIELD.fullmatch
) -> Document:
    """Return an object with `more` in it and its names cleaned but for plain ones; the same when nothing changed."""
    names = {name: found for name in value if not is_plain(name) and (found := clean(name)) != name}
    if not names:
        return value | more if more else value
    taken = dict.fromkeys(value.keys() - names.keys(), 1)
    told: Document = {}
    for name, item in value.items():
        told[_free(names[name], taken) if name in names else name] = more.get(name, item)
    return told


def _free(name: str, taken: dict[str, int]) -> str:
    """Return a name that no other field has, and take it: many may have become the same, so each counts on from there.

    `taken` is {name: how far it was counted}.
    """
    found, number = name, taken.get(name, 0)
    while found in taken:
        number += 1
        found = f"{name} {number}"
    taken[name] = max(number, 1)
    taken[found] = max(taken.get(found, 0), 1)
    return found


def _field(name: str, item: Any, clean: Clean) -> Any:
    """Return what a field holds, cleaned; the arguments of a tool in any form: what they are called says nothing."""
    if name in _JSON and isinstance(item, str):
        return json_text(item, clean)
    if name in _SETS and isinstance(item, dict):
        return _renamed(item, _changed(item, lambda part: walked(part, clean)), clean, is_plain=_never)
    return _json(item, clean) if name in _INPUTS and isinstance(item, dict) else walked(item, clean)


def _changed(value: Document, work: Callable[[Any], Any]) -> Document:
    """Return the fields that `work` makes something else of."""
    return {name: found for name, item in value.items() if (found := work(item)) is not item}


def _never(name: str) -> bool:
    return False


def json_text(words: str, clean: Clean) -> str:
    """Return JSON text whose strings, numbers and names went through `clean`; what is no JSON is a text like another.

    Raises TooLong for what is nested too deep to be written again.
    """
    try:
        document = orjson.loads(words)
    except orjson.JSONDecodeError:
        return clean(words)
    if may_be_deep(words) and is_deep(document):
        raise TooLong
    found = _json(document, clean)
    return words if found is document else orjson.dumps(found).decode()


def _json(value: Any, clean: Clean) -> Any:
    """Return the value, all of its strings, numbers and names cleaned, whatever they are called."""
    if isinstance(value, dict):
        return _renamed(value, _changed(value, lambda item: _json(item, clean)), clean, is_plain=_never)
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
