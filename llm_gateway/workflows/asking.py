"""Asking: the calls of one step, each written down before it is made, and answers that keep to a schema.

What a model says is repaired where that is cheap, and asked for once more with what is wrong; then the step fails.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from llm_gateway import retrying
from llm_gateway.models import WorkflowCall, WorkflowStep
from llm_gateway.plane import ids, inside
from llm_gateway.plane.inside import Asker, Said
from llm_gateway.workflows import answers, parts
from llm_gateway.workflows.answers import Check, Malformed
from llm_gateway.workflows.noting import Notes

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
MAX_EMBEDDED: Final = 96  # texts in one call
FINAL: Final = frozenset({"content_blocked", "context_length_exceeded", "unknown_price", "insufficient_quota"})
STREAM: Final = {"stream": True, "stream_options": {"include_usage": True}}
NO_STREAM: Final = "bad_provider_answer"  # of one that answers with a whole, among others
AGAIN: Final = "That is not what was asked for: {problem}\nAnswer again, with nothing but the corrected JSON object."
Message = dict[str, str]


class StepFailed(Exception):
    """A step that ends without a result: `code`, and a text without anything of its content."""

    def __init__(self, code: str, text: str = "", *, may_help: bool | None = None) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.is_transient = retrying.may_help(code) if may_help is None else may_help
        """Whether another try may do better."""


class Stopped(Exception):
    """The run was cancelled, or is in other hands."""


@dataclass
class Desk:
    """What a step makes its calls with; `stop` ends them within a second."""

    step: WorkflowStep
    asker: Asker
    model: str
    stop: threading.Event
    report: Callable[[int], None]
    headers: dict[str, str] = field(default_factory=dict)

    def json(self, messages: list[Message], schema: dict[str, Any], *, check: Check | None = None, **more: Any) -> Any:
        """Ask for a document that keeps to a schema; raises StepFailed, `malformed_output` after a repair in vain."""
        said = self._chat(messages, schema, **more)
        try:
            return self._read(said, schema, check)
        except Malformed as fault:
            problem = fault.problem
        told = [{"role": "assistant", "content": said.text[:20_000] or "(nothing)"}]
        told += [{"role": "user", "content": AGAIN.format(problem=problem)}]
        try:
            return self._read(self._chat([*messages, *told], schema, is_repair=True, **more), schema, check)
        except Malformed as fault:
            text = f"the answer was not as asked, and not after a repair either: {fault.place}"
            raise StepFailed("malformed_output", text) from None

    def part(self, number: int, count: int, asked: Any, ask: Callable[[], Any]) -> Any:
        """Return the answer to one of `count` parts of the step; of several each is asked for once in all attempts."""
        if count == 1:
            return ask()
        return parts.answered(self.step, number, asked=[self.model, asked], ask=ask)

    def text(self, messages: list[Message], **more: Any) -> str:
        """Ask for a text."""
        return self._chat(messages, None, is_shown=True, **more).text

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        said = _good(self._make(EMBEDDINGS, {"model": self.model, "input": list(texts), "encoding_format": "float"}))
        try:
            rows = sorted(said.document["data"], key=lambda row: row["index"])
            found = [[float(number) for number in row["embedding"]] for row in rows]
        except (KeyError, OverflowError, TypeError, ValueError):
            found = []
        if len(found) != len(texts) or not all(math.isfinite(number) for row in found for number in row):
            raise StepFailed("malformed_output", "the provider did not answer with a vector for each text")
        return found

    def _read(self, said: Said, schema: dict[str, Any], check: Check | None) -> Any:
        try:
            document, is_repaired = answers.read(said.text, schema, check)
        except Malformed:
            WorkflowCall.objects.filter(pk=said.call_id).update(is_malformed=True)
            raise
        if is_repaired:
            WorkflowCall.objects.filter(pk=said.call_id).update(is_malformed=True)
        return document

    def _chat(
        self,
        messages: list[Message],
        schema: dict[str, Any] | None,
        *,
        is_repair: bool = False,
        is_shown: bool = False,
        max_tokens: int = 2_000,
        temperature: float | None = None,
    ) -> Said:
        """Ask for an answer as a stream; what a model or its provider does not take is left out, the stream last."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": max_tokens}
        if temperature is not None:
            body["temperature"] = temperature
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        for more in ([{"response_format": wanted}] if schema is not None else []) + [{}]:  # the prompt has it, too
            said = self._make(CHAT, {**body, **more, **STREAM}, is_repair=is_repair, is_shown=is_shown)
            if not _is_refused(said):
                break
        if _is_refused(said) or (said.status == 502 and said.error == NO_STREAM):
            said = self._make(CHAT, body, is_repair=is_repair)
        return _good(said)

    def _make(self, path: str, body: dict[str, Any], *, is_repair: bool = False, is_shown: bool = False) -> Said:
        self._check()
        row = WorkflowCall.objects.create(
            call_id=ids.new(), step=self.step, is_repair=is_repair, started_at=timezone.now()
        )  # without a model: what was asked for is content until a provider is found that has it
        connections.close_all()  # the call may take minutes: nobody waits for this thread's connection meanwhile
        notes = Notes(row, is_shown=is_shown) if body.get("stream") else None

        def look() -> None:
            self._check()
            if notes is not None:
                notes.write()

        said = inside.call(
            path, body, asker=self.asker, call_id=row.call_id, headers=self.headers, wait=look,
            hearing=notes.hearing if notes is not None else None,
        )  # fmt: skip
        row.model = f"{said.provider}/{said.model}"[:256] if said.provider else ""
        row.is_cached, row.error = said.is_cached, said.error
        row.characters = notes.hearing.characters if notes is not None else 0
        row.cost_usd_micros, row.latency_ms = said.cost_usd_micros, said.latency_ms if said.call_id else None
        if notes is not None:
            notes.keep_text()
        _write_down(row)
        said.call_id = row.call_id
        return said

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped


def _write_down(row: WorkflowCall) -> None:
    """Store what a call came to, over a new connection where the first breaks: the call is paid for."""
    fields = ["model", "is_cached", "error", "cost_usd_micros", "latency_ms", "characters"]
    try:
        row.save(update_fields=fields)
    except (OperationalError, InterfaceError):
        connections.close_all()
        row.save(update_fields=fields)


def failure(error: Exception) -> StepFailed:
    """Return how a step ends that an error of ours broke off, told without what it may say of the content.

    A database that does not answer may do so another time.
    """
    is_database = isinstance(error, OperationalError | InterfaceError)
    return StepFailed("database_unavailable" if is_database else "internal_error", type(error).__name__)


def _is_refused(said: Said) -> bool:
    """Whether a request was not understood, and another form of it may be."""
    return said.status == 400 and said.error not in FINAL


def _good(said: Said) -> Said:
    if not said.is_good:
        how = "the answer broke off" if said.status == 200 else f"the call was answered {said.status}"
        raise StepFailed(said.error or "provider_error", how, may_help=said.may_help)
    return said
