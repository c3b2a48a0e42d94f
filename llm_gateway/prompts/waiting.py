"""Waiting: what private organizations asked and nobody streams yet. In this process's memory alone, within bounds."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from llm_gateway.prompts.asking import Document

SECONDS: Final = 300.0
MAX_WAITING: Final = 1_000
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_BYTES_OF_ONE: Final = 8 * 1024 * 1024  # of one organization; a single prompt has 1 MiB at most
_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Held:
    """What one prompt asks, until when it is held (monotonic), and how much it counts."""

    organization_id: str
    until: float
    size: int
    asked: Document = field(repr=False)


_waiting: dict[str, Held] = {}


def put(prompt_id: str, asked: Document, *, organization_id: str) -> None:
    """Hold what a prompt asks; the oldest go first where too much waits, its organization's own past its limit."""
    size = len(json.dumps(asked))
    with _lock:
        now = _drop_late()
        _make_room(size, MAX_BYTES_OF_ONE, lambda held: held.organization_id == organization_id)
        _make_room(size, MAX_BYTES, lambda held: True)
        while len(_waiting) >= MAX_WAITING:
            del _waiting[next(iter(_waiting))]
        _waiting[prompt_id] = Held(organization_id, now + SECONDS, size, asked)


def take(prompt_id: str) -> Document | None:
    """Return what a prompt asks and let go of it; None where this process does not hold it."""
    with _lock:
        _drop_late()
        held = _waiting.pop(prompt_id, None)
    return held.asked if held is not None else None


def _drop_late() -> float:
    """Let go of what waited too long, which is the oldest; return the time."""
    now = time.monotonic()
    for known, held in list(_waiting.items()):
        if held.until > now:
            break
        del _waiting[known]
    return now


def _make_room(size: int, most: int, counts: Callable[[Held], bool]) -> None:
    """Let go of the oldest that count until `size` more bytes are within the limit."""
    counted = {known: held.size for known, held in _waiting.items() if counts(held)}
    total = sum(counted.values()) + size
    for known, one in counted.items():
        if total <= most:
            return
        del _waiting[known]
        total -= one
