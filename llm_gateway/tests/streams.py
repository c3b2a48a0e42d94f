"""Run streams through decoders and encoders, cut wherever a test likes."""

from itertools import pairwise
from typing import Any

import orjson

from llm_gateway.problems import Problem
from llm_gateway.shapes import Decoder, Encoder, Sniffer

CALL: dict[str, Any] = {"model": "asked-for", "call_id": "c1", "created": 1_700_000_000}


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces, cut at each of the places."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def decode(decoder: Decoder, *pieces: bytes) -> list[dict[str, Any]]:
    """Return all chunks of a stream that ends after the pieces."""
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    return chunks + decoder.finish()


def sniff(sniffer: Sniffer, *pieces: bytes) -> bytes:
    """Return all that a sniffer passes on."""
    return b"".join(sniffer.feed(piece) for piece in pieces) + sniffer.finish()


def encode(encoder: Encoder, chunks: list[dict[str, Any]]) -> bytes:
    """Return the whole stream of a surface."""
    return b"".join(encoder.feed(chunk) for chunk in chunks) + encoder.finish()


def events(data: bytes) -> list[dict[str, Any]]:
    """Return the payloads of a stream, less the end mark; the event's name has to be its type."""
    found = []
    for raw in data.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in raw.split("\n"))
        if lines["data"] == "[DONE]":
            continue
        payload = orjson.loads(lines["data"])
        assert lines.get("event") in (None, payload.get("type"))
        found.append(payload)
    return found


def said(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the chunks of the first choice come to: texts, calls and the finish reason."""
    found: dict[str, Any] = {"content": "", "reasoning_content": "", "refusal": "", "calls": {}, "finish_reason": None}
    for choice in (choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == 0):
        for name in ("content", "reasoning_content", "refusal"):
            found[name] += choice["delta"].get(name) or ""
        for call in choice["delta"].get("tool_calls", ()):
            known = found["calls"].setdefault(call["index"], ["", "", ""])
            known[0] += call.get("id", "")
            known[1] += call["function"].get("name", "")
            known[2] += call["function"].get("arguments", "")
        found["finish_reason"] = choice["finish_reason"] or found["finish_reason"]
    return found


def whole(answer: dict[str, Any] | Problem) -> dict[str, Any]:
    """Return an answer that is one."""
    assert not isinstance(answer, Problem), answer
    return answer
