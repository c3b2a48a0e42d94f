"""Traces without a server: nothing is loaded unless somebody is to be told; reasons are never content."""

import json
import subprocess
import sys

import pytest

from llm_gateway.tests import claude, provider
from llm_gateway.watching import tracer
from llm_gateway.watching.spans import TAIL_BYTES, Tail
from moolai.testing.product import PROJECT

pytestmark = pytest.mark.once


def tail(*parts: bytes) -> Tail:
    found = Tail()
    for part in parts:
        found.take(part)
    return found


def test_nothing_that_traces_is_loaded_without_an_endpoint() -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'moolai.settings'; import django; django.setup();"
        "import moolai.asgi; from llm_gateway.watching.observer import Observer; watching = Observer();"
        "print(watching.tracer, sorted(name for name in sys.modules if name.startswith('opentelemetry.')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split() == ["None", "[]"]
    assert tracer.begun() is None


def test_reasons_are_found_at_the_end_of_whole_answers_and_streams() -> None:
    whole = json.dumps(provider.completion({"model": "m", "messages": []})).encode()
    assert tail(whole).reasons() == ["stop"]
    events = [f"data: {json.dumps(event)}\n\n".encode() for event in claude.message_events({"model": "m"})]
    assert tail(*events).reasons() == ["end_turn"]


def test_reasons_that_somebody_made_up_or_that_are_content_are_none() -> None:
    said = json.dumps({"finish_reason": "stop"})
    assert tail(json.dumps({"content": said, "finish_reason": "the-prompt-again"}).encode()).reasons() == []


def test_the_end_of_a_long_answer_is_bounded() -> None:
    found = tail(*[b"x" * 1000] * 1000, b'{"finish_reason":"length"}')
    assert sum(map(len, found.parts)) <= TAIL_BYTES + 1000
    assert found.reasons() == ["length"]
    whole = tail(b"x" * 1_000_000 + b'{"finish_reason":"length"}')
    assert (sum(map(len, whole.parts)), whole.reasons()) == (TAIL_BYTES, ["length"])
