"""Embeddings as Google makes them."""

from llm_gateway.dialects.google.requests import path
from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document
from llm_gateway.shapes import Outgoing

# `encoding_format` is about our answer, not about theirs.
_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


def embeddings(body: Document, *, model: str) -> Outgoing:
    """Return the request for one text (`embedContent`) or several (`batchEmbedContents`), or raise Untranslatable."""
    for name in body.keys() - _KNOWN:
        if body[name] is not None:
            raise Untranslatable(name, f"Google has no equivalent of `{name}`.")
    given = body.get("input")
    texts = [given] if type(given) is str else given if type(given) is list else []
    if not texts or not all(type(item) is str for item in texts):
        raise Untranslatable("input", "Google embeds texts: send a string or a list of strings, not tokens.")
    requests = [_request(item, model=model, dimensions=body.get("dimensions")) for item in texts]
    if type(given) is str:
        return Outgoing(path(model, "embedContent"), requests[0])
    return Outgoing(path(model, "batchEmbedContents"), {"requests": requests})


def _request(words: str, *, model: str, dimensions: object) -> Document:
    request: Document = {"model": f"models/{model.removeprefix('models/')}", "content": {"parts": [{"text": words}]}}
    return request | {"outputDimensionality": dimensions} if dimensions is not None else request
