"""What OpenAI answers: the canonical form is its own, so it is looked at more than changed."""

import base64
import binascii
import struct

from llm_gateway import usage as tokens
from llm_gateway.canonical import Frame, choice
from llm_gateway.problems import Problem, bad_answer
from llm_gateway.reading import Document, document, documents, text
from llm_gateway.usage import Usage


def answer(payload: object, *, model: str, call_id: str, created: int) -> Document | Problem:
    """Return the canonical answer; a compatible server may have left out some of it."""
    body = document(payload)
    found = documents(body.get("choices"))
    if not found:
        return bad_answer("The provider's answer has no choices.")
    frame = Frame(call_id=call_id, created=created, model=model)
    choices = [_choice(item, place) for place, item in enumerate(found)]
    head = frame.completion(choices, usage=usage(body), model=text(body.get("model")))
    return {key: value for key, value in body.items() if key in ("system_fingerprint", "service_tier")} | head


def embedded(payload: object, *, model: str) -> Document | Problem:
    """Return the embeddings as floats, whether they came as numbers or in base64."""
    body = document(payload)
    data = []
    for place, item in enumerate(documents(body.get("data"))):
        vector = _floats(item.get("embedding"))
        if vector is None:
            return bad_answer("The provider's answer holds an embedding that is not one.")
        data.append({"object": "embedding", "index": place, "embedding": vector})
    if not data:
        return bad_answer("The provider's answer has no embeddings.")
    spent = (usage(body) or Usage()).input_tokens
    found = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "data": data, "model": text(body.get("model")) or model, "usage": found}


def usage(payload: object) -> Usage | None:
    """Return what the answer says of tokens."""
    return tokens.of_openai(document(payload).get("usage"))


def _choice(item: Document, place: int) -> Document:
    message = dict(document(item.get("message")))
    message |= {"role": "assistant", "content": text(message.get("content")) or message.get("content")}
    if not isinstance(message["content"], str):
        message["content"] = None
    message.setdefault("refusal", None)
    if "tool_calls" in message and not (calls := documents(message["tool_calls"])):
        del message["tool_calls"]
    elif "tool_calls" in message:
        message["tool_calls"] = calls
    built = choice(message, finish_reason=text(item.get("finish_reason")) or "stop", index=place)
    return built | {"logprobs": document(item.get("logprobs")) or None}


def _floats(value: object) -> list[float] | None:
    if type(value) is list and value and all(type(number) in (int, float) for number in value):
        return value
    if type(value) is not str or not value:
        return None
    try:
        packed = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (binascii.Error, struct.error, ValueError):
        return None
