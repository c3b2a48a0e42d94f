"""OpenAI's embeddings. They never stream. See `llm_gateway.shapes.Surface`."""

import base64
import struct
from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, documents
from llm_gateway.shapes import Asked, Outgoing
from llm_gateway.surfaces import limits
from llm_gateway.surfaces.errors import openai as error_body

__all__ = ["PATH", "SPEAKS", "answer", "check", "error_body", "forward", "read"]

SPEAKS: Final = "openai"
PATH: Final = "/embeddings"
MAX_INPUTS: Final = 2_048
MAX_TOKENS: Final = 8_192 * 4
MAX_DIMENSIONS: Final = 65_536


def check(body: object) -> Asked:
    """Return what the request asks for, or raise Refused."""
    if type(body) is dict:
        _check_input(limits.required(body, "input"))
    found = limits.body(body)
    if found.get("encoding_format") not in (None, "float", "base64"):
        raise Refused("encoding_format", "`encoding_format` is `float` or `base64`.")
    limits.integer(found, "dimensions", most=MAX_DIMENSIONS)
    return Asked(model=limits.model(found), max_output_tokens=0)


def _check_input(given: object) -> None:
    """Raise Refused unless `given` is a text, tokens, or a list of either."""
    if type(given) is str:
        return
    if type(given) is not list or not given:
        raise Refused("input", "`input` is a text, a list of texts, or tokens.", "invalid_type")
    if all(type(item) is int for item in given):
        if len(given) > MAX_TOKENS:
            raise Refused("input", f"Send at most {MAX_TOKENS} tokens at once.")
        return
    if len(given) > MAX_INPUTS:
        raise Refused("input", f"Send at most {MAX_INPUTS} inputs at once.")
    for place, item in enumerate(given):
        if type(item) is not str and not _is_tokens(item):
            raise Refused(f"input[{place}]", "Each input is a text or a list of tokens.", "invalid_type")


def _is_tokens(item: object) -> bool:
    return type(item) is list and 0 < len(item) <= MAX_TOKENS and all(type(token) is int for token in item)


def read(body: Document) -> Document:
    """Return the body: OpenAI's form is the canonical one."""
    return body


def forward(body: Document, *, model: str) -> Outgoing:
    """Return the body as it came, but for the model."""
    return Outgoing(PATH, body | {"model": model})


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    """Return the embeddings as they were asked for: numbers, or little-endian 32-bit floats in base64."""
    if request.get("encoding_format") != "base64":
        return canonical
    data = [item | {"embedding": _packed(item["embedding"])} for item in documents(canonical["data"])]
    return canonical | {"data": data}


def _packed(vector: list[float]) -> str:
    clipped = [max(-3.4e38, min(3.4e38, number)) for number in vector]
    return base64.b64encode(struct.pack(f"<{len(clipped)}f", *clipped)).decode()
