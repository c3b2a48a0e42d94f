"""What Google answers: candidates of parts, a blocked prompt, or an error."""

from typing import Final

from llm_gateway import usage as tokens
from llm_gateway.canonical import Frame, choice, message, tool_call
from llm_gateway.dialects import faults
from llm_gateway.problems import Problem, bad_answer
from llm_gateway.reading import Document, Unreadable, document, documents, encode, text
from llm_gateway.usage import Usage

_REFUSALS: Final = """SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT
IMAGE_RECITATION""".split()
# Google's `finishReason` → OpenAI's `finish_reason`; what is not here ended well.
FINISH_REASONS: Final = {"MAX_TOKENS": "length"} | dict.fromkeys(_REFUSALS, "content_filter")
FAILURES: Final = frozenset(
    """MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE MALFORMED_RESPONSE
    OTHER""".split()
)
# Google's `status` of an error → our kind.
_KINDS: Final = {
    "INVALID_ARGUMENT": "invalid_request_error",
    "FAILED_PRECONDITION": "invalid_request_error",
    "UNAUTHENTICATED": "authentication_error",
    "PERMISSION_DENIED": "permission_error",
    "NOT_FOUND": "not_found_error",
    "RESOURCE_EXHAUSTED": "rate_limit_error",
    "INTERNAL": "api_error",
    "UNAVAILABLE": "overloaded_error",
    "DEADLINE_EXCEEDED": "timeout_error",
}
_MAX_RETRY_SECONDS: Final = 3_600.0


def answer(payload: object, *, model: str, call_id: str, created: int) -> Document | Problem:
    """Return the canonical answer of a generation; a blocked prompt is a refusal."""
    body = document(payload)
    frame = Frame(call_id=call_id, created=created, model=model)
    candidates = documents(body.get("candidates"))
    if not candidates and not (reason := blocked(body)):
        return bad_answer("The provider's answer has no candidates.")
    if not candidates:
        choices = [choice(message("", refusal=f"The prompt was blocked: {reason}."), finish_reason="content_filter")]
        return frame.completion(choices, usage=usage(body), model=text(body.get("modelVersion")))
    try:
        choices = [_choice(candidate, place, call_id=call_id) for place, candidate in enumerate(candidates)]
    except Unreadable as error:
        return error.problem
    failure = failed(text(candidates[0].get("finishReason"))) if _is_empty(choices[0]) else None
    return failure or frame.completion(choices, usage=usage(body), model=text(body.get("modelVersion")))


def embedded(payload: object, *, model: str) -> Document | Problem:
    """Return the embeddings of `embedContent` or `batchEmbedContents`."""
    body = document(payload)
    found = documents(body.get("embeddings")) or [document(body.get("embedding"))]
    vectors = [item.get("values") for item in found]
    if not all(type(vector) is list and vector and all(type(n) in (int, float) for n in vector) for vector in vectors):
        return bad_answer("The provider's answer holds an embedding that is not one.")
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    spent = (usage(body) or Usage()).input_tokens
    total = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "data": data, "model": model, "usage": total}


def usage(payload: object) -> Usage | None:
    """Return what an answer says of tokens; Google says nothing about most embeddings."""
    return tokens.of_google(document(payload).get("usageMetadata"))


def problem(status: int, body: bytes) -> Problem:
    """Return the problem that an error answer tells of, with the wait that Google may name in its details."""
    return told(faults.payload_of(body).get("error"), status=status)


def told(error: object, *, status: int = 502) -> Problem:
    """Return the problem that an `error` object tells of, in an answer or within a stream."""
    fields = document(error)
    code = text(fields.get("status"))
    named = fields.get("code")
    if status == 502 and type(named) is int and 400 <= named <= 599:
        status = named
    found = faults.problem(status, error, kinds=_KINDS)
    return Problem(
        status=status,
        kind=_KINDS.get(code, found.kind),
        message=found.message,
        code=code.lower() or None,
        retry_after=_wait(fields),
    )


def blocked(body: Document) -> str:
    """Return why Google did not take the prompt, the empty string when it did."""
    return text(document(body.get("promptFeedback")).get("blockReason"))


def failed(reason: str) -> Problem | None:
    """Return the problem when a generation ended without an answer."""
    return (
        Problem(502, "api_error", f"The model ended with {reason}.", code=reason.lower())
        if reason in FAILURES
        else None
    )


def called(part: Document, place: int, *, call_id: str, index: int = 0) -> Document:
    """Return the tool call in a part. Mostly it has no id: one is made, of at most 40 letters (OpenAI's limit)."""
    function = document(part.get("functionCall"))
    identity = text(function.get("id")) or f"call_{call_id[:24]}_{index}_{place}"
    call = tool_call(identity, text(function.get("name")), encode(document(function.get("args"))))
    if signature := text(part.get("thoughtSignature")):
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def parts_of(candidate: Document) -> list[Document]:
    """Return the parts of a candidate."""
    return documents(document(candidate.get("content")).get("parts"))


def finish_of(reason: str, *, has_calls: bool) -> str:
    """Return OpenAI's finish reason of Google's."""
    return FINISH_REASONS.get(reason) or ("tool_calls" if has_calls else "stop")


def _choice(candidate: Document, place: int, *, call_id: str) -> Document:
    parts = parts_of(candidate)
    texts = [text(part.get("text")) for part in parts if not part.get("thought")]
    thoughts = [text(part.get("text")) for part in parts if part.get("thought")]
    asked = [part for part in parts if "functionCall" in part]
    calls = [called(part, number, call_id=call_id, index=place) for number, part in enumerate(asked)]
    said = message("".join(texts), tool_calls=calls, reasoning="".join(thoughts))
    finish = finish_of(text(candidate.get("finishReason")), has_calls=bool(calls))
    return choice(said, finish_reason=finish, index=place)


def _is_empty(chosen: Document) -> bool:
    return not chosen["message"]["content"] and "tool_calls" not in chosen["message"]


def _wait(fields: Document) -> float | None:
    """Return the seconds of a RetryInfo among the details."""
    for detail in documents(fields.get("details")):
        delay = text(detail.get("retryDelay")).removesuffix("s")
        if delay.replace(".", "", 1).isascii() and delay.replace(".", "", 1).isdigit():
            return min(float(delay), _MAX_RETRY_SECONDS)
    return None
