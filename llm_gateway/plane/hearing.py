"""Hearing: a chat completion read along by a client in this process, in pieces or as a whole. Pure."""

import json
from typing import Any

import orjson

from llm_gateway import sse
from llm_gateway.problems import Problem, bad_answer
from llm_gateway.shapes import Document


class Hearing:
    """What the first choice of an answer said so far; `characters` counts thoughts, too."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.characters = 0
        self.finish_reason = ""
        self.problem: Problem | None = None
        self._events = sse.Events()

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(self.pieces)

    def feed(self, data: bytes) -> list[str]:
        """Take a part of a stream; return the pieces of text in it."""
        heard = [self._hear(event.data) for event in self._events.feed(data)]
        found = [piece for piece in heard if piece]
        self.pieces += found
        return found

    def read_whole(self, content: bytes) -> None:
        """Take an answer that came as a whole."""
        choice = _first(orjson.loads(content))
        if choice is None:
            self.problem = bad_answer("The provider's answer has no choice in it.")
            return
        self.pieces = [_said(choice.get("message"))]
        self.characters = len(self.text)
        self.finish_reason = str(choice.get("finish_reason") or "")

    def _hear(self, data: bytes) -> str:
        if not data or data == b"[DONE]":
            return ""
        chunk = _read(data)
        if not isinstance(chunk, dict):
            return ""
        if isinstance(told := chunk.get("error"), dict):
            self.problem = Problem(502, "api_error", str(told.get("message") or ""), code=told.get("code"))
            return ""
        choice = _first(chunk) or {}
        self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)
        delta = choice.get("delta")
        piece = _said(delta)
        self.characters += len(piece) or len(_thought(delta))
        return piece


def _read(data: bytes) -> Any:
    """Return an event's document, None where it is none; half a character, which orjson does not read, becomes "?"."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _first(document: Any) -> Document | None:
    """Return the first choice of an answer or a chunk, None where there is none."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def _said(message: Any) -> str:
    """Return the text of a message or of a piece of one."""
    text = (message.get("content") or message.get("refusal")) if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""


def _thought(delta: Any) -> str:
    text = delta.get("reasoning_content") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""
