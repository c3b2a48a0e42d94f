"""Guardrails: what a kilobyte of text costs, and requests and streams with them beside the same without, in one run."""

import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from benchmarks.report import Report
from benchmarks.stage import Stage
from llm_gateway.guardrails import bodies
from llm_gateway.guardrails.checking import Guarded
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.guardrails.guard import Guard
from llm_gateway.guardrails.words import Words
from llm_gateway.surfaces import chat

PROSE: Final = "The quarterly report is due on Friday; please ask Berlin whether the numbers of 2025 are in. " * 40
DENSE: Final = "Write to ann.lee@mail.example, call +49 30 90182012, pay DE89 3704 0044 0532 0130 00. " * 40
LISTED: Final = [f"project {number:03d}" for number in range(200)]
REDACT: Final = Guard(redacts=frozenset(DETECTORS))
DENY: Final = Guard(denies=[("listed", Words(LISTED))], reach=20)
BOTH: Final = Guard(redacts=frozenset(DETECTORS), denies=DENY.denies, reach=20)
MOST_PER_KB: Final = 100.0


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Measure in this process; nothing is called."""
    report, seconds = Report("Guardrails"), 0.1 if is_quick else 1.0
    for name, guard, text, most in (
        ("redact, prose", REDACT, PROSE, MOST_PER_KB),
        ("redact, personal data in every sentence", REDACT, DENSE, None),
        ("deny 200 phrases, prose", DENY, PROSE, MOST_PER_KB),
    ):
        each = _each(lambda guard=guard, text=text: guard.clean(text), seconds)  # type: ignore[misc]
        report.add(name, each * 1e6 / (len(text) / 1024), "µs/KB", most=most)
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": PROSE}] * 4})
    off, on = _each(lambda: _request(body, None), seconds), _each(lambda: _request(body, BOTH), seconds)
    report.add("a request of 15 KB, read and written, without", off * 1e6, "µs")
    report.add("… with both", on * 1e6, "µs")
    report.add("on / off", on / off, "times")
    parts = [_chunk(word) for word in PROSE.split(" ")]
    off, on = _each(lambda: _stream(parts, None), seconds), _each(lambda: _stream(parts, BOTH), seconds)
    report.add("a chunk of a stream, read along, without", off * 1e6 / len(parts), "µs")
    report.add("… with both", on * 1e6 / len(parts), "µs")
    report.add("on / off of streams", on / off, "times")
    report.notes.append("In one process, without any network: the share of a call that guardrails take.")
    return report


def _each(work: Callable[[], Any], seconds: float) -> float:
    """Return the processor seconds of one run, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        count, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            work()
            count += 1
        best = min(best, (time.process_time() - began) / count)
    return best


def _request(body: bytes, guard: Guard | None) -> bytes:
    found = orjson.loads(body)
    chat.check(found)
    if guard is not None:
        found = bodies.request(found, guard.clean)
    return orjson.dumps(chat.forward(found, model="m").body)


def _chunk(word: str) -> bytes:
    choice = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _stream(parts: list[bytes], guard: Guard | None) -> None:
    inner = chat.sniffer(wants_usage=True)
    relay = inner if guard is None else Guarded(guard, inner)
    for part in parts:
        relay.feed(part)
