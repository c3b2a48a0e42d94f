"""OpenAI's legacy completions: one prompt, one text. See `llm_gateway.shapes.Surface`."""

from typing import Final

from llm_gateway.dialects import openai
from llm_gateway.problems import Problem, Refused
from llm_gateway.reading import Document, document, documents, text
from llm_gateway.shapes import Asked, Outgoing
from llm_gateway.sse import frame
from llm_gateway.surfaces import errors, limits
from llm_gateway.surfaces.errors import openai as error_body
from llm_gateway.surfaces.sniffing import OpenAISniffer

__all__ = ["PATH", "SPEAKS", "answer", "check", "encoder", "error_body", "forward", "read", "sniffer"]

SPEAKS: Final = "openai"
PATH: Final = "/completions"
# What only a model that continues texts can do, and the value that does not ask for it.
_UNTRANSLATABLE: Final = {"best_of": 1, "echo": False, "logprobs": None, "suffix": None}
_FINISH: Final = frozenset({"stop", "length", "content_filter"})


def check(body: object) -> Asked:
    """Return what the request asks for, or raise Refused."""
    found = limits.body(body)
    prompt = limits.required(found, "prompt")
    if type(prompt) is not str and type(prompt) is not list:
        raise Refused("prompt", "`prompt` is a text or a list.", "invalid_type")
    prompts = len(prompt) if type(prompt) is list and prompt and type(prompt[0]) is not int else 1
    if prompts > limits.MAX_MESSAGES:
        raise Refused("prompt", f"Send at most {limits.MAX_MESSAGES} prompts.")
    return Asked(
        model=limits.model(found),
        is_stream=limits.flag(found, "stream"),
        max_output_tokens=limits.output_tokens(found, "max_tokens", "max_completion_tokens"),
        choices=limits.choices(found) * prompts,
        wants_usage=limits.wants_usage(found),
    )


def read(body: Document) -> Document:
    """Return the canonical request: the prompt becomes what the user says."""
    for name, neutral in _UNTRANSLATABLE.items():
        if body.get(name) not in (None, neutral):
            raise Refused(
                name, f"This model is a chat model, for which `{name}` means nothing.", "unsupported_parameter"
            )
    prompt = body.get("prompt")
    if type(prompt) is list and len(prompt) == 1:
        prompt = prompt[0]
    if type(prompt) is not str:
        raise Refused("prompt", "This model is a chat model: send one prompt, as text.", "unsupported_parameter")
    kept = {key: value for key, value in body.items() if key != "prompt" and key not in _UNTRANSLATABLE}
    return kept | {"messages": [{"role": "user", "content": prompt}]}


def forward(body: Document, *, model: str) -> Outgoing:
    """Return the body as it came, but for the model and, on a stream, the usage."""
    sent = body | {"model": model}
    if body.get("stream"):
        sent["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return Outgoing(PATH, sent)


def _finish(reason: object) -> str | None:
    return None if reason is None else reason if isinstance(reason, str) and reason in _FINISH else "stop"


def _choice(words: str, item: Document) -> Document:
    return {
        "text": words,
        "index": item.get("index", 0),
        "logprobs": None,
        "finish_reason": _finish(item.get("finish_reason")),
    }


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    """Return the text completion of a chat completion."""
    choices = [
        _choice(text(document(item.get("message")).get("content")), item) for item in documents(canonical["choices"])
    ]
    head = {"id": f"cmpl-{call_id}", "object": "text_completion", "created": created, "model": canonical["model"]}
    body = head | {"choices": choices}
    return body | {"usage": canonical["usage"]} if canonical.get("usage") else body


class CompletionsEncoder:
    """Writes the text of canonical chunks; the usage only where it was asked for."""

    def __init__(self, *, call_id: str, created: int, model: str, wants_usage: bool) -> None:
        self._head = {"id": f"cmpl-{call_id}", "object": "text_completion", "created": created, "model": model}
        self._wants_usage = wants_usage

    def feed(self, chunk: Document) -> bytes:
        """Return one event, nothing for a chunk without text."""
        choices = [
            _choice(words, item)
            for item in documents(chunk.get("choices"))
            if (words := text(document(item.get("delta")).get("content"))) or item.get("finish_reason")
        ]
        usage = chunk.get("usage") if self._wants_usage else None
        if not choices and not usage:
            return b""
        return frame(self._head | {"choices": choices} | ({"usage": usage} if self._wants_usage else {}))

    def finish(self) -> bytes:
        """Return the end mark."""
        return b"data: [DONE]\n\n"

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        return frame(errors.openai(problem))


def encoder(*, request: Document, call_id: str, created: int, model: str) -> CompletionsEncoder:
    """Return a new encoder for one stream."""
    wants_usage = limits.wants_usage(request)
    return CompletionsEncoder(call_id=call_id, created=created, model=model, wants_usage=wants_usage)


def sniffer(*, wants_usage: bool) -> OpenAISniffer:
    """Return a new sniffer for one passed-through stream."""
    return OpenAISniffer(wants_usage=wants_usage, told=openai.told)
