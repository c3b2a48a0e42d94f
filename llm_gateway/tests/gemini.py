"""What the test's provider says in Google's words: generations, streams of them, embeddings."""

import json
from typing import Any

CITIES = ["Paris", "Oslo"]
WORDS = ["Hello", " from", " the", " provider", "."]
USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def error(status: int, message: str) -> dict[str, Any]:
    """Return an error as Google writes it."""
    return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}}


def generation(body: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer, one candidate for each that was asked for."""
    config = body.get("generationConfig", {})
    parts = [{"text": "".join(WORDS)}]
    if config.get("responseJsonSchema"):
        parts = [{"text": '{"city": "Paris", "population": 2}'}]
    if body.get("tools"):
        parts = _calls()
    candidates = [
        {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": index}
        for index in range(config.get("candidateCount", 1))
    ]
    return {"candidates": candidates, "usageMetadata": USAGE, "modelVersion": "gemini-test", "responseId": "r1"}


def events(body: dict[str, Any]) -> list[str]:
    """Return the events of a stream; two calls of a function in one of them, where there are tools."""
    said = [[part] for part in _calls()] if body.get("tools") else [[{"text": word}] for word in WORDS]
    told: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "modelVersion": "gemini-test"}
        for parts in said
    ]
    told[-1]["candidates"][0]["finishReason"] = "STOP"
    told[-1]["usageMetadata"] = USAGE
    return [f"data: {json.dumps(event)}\r\n\r\n" for event in told]


def embedded(body: dict[str, Any]) -> dict[str, Any]:
    """Return one embedding, or several for a batch."""
    vector = {"values": [0.5, -0.25]}
    return {"embeddings": [vector for _ in body["requests"]]} if "requests" in body else {"embedding": vector}


def _calls() -> list[dict[str, Any]]:
    return [{"functionCall": {"name": "weather", "args": {"city": city}}} for city in CITIES]
