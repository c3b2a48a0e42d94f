"""OpenAI's stream of typed events, written from canonical chunks."""

from llm_gateway import usage as tokens
from llm_gateway.problems import Problem
from llm_gateway.reading import Document
from llm_gateway.sse import frame
from llm_gateway.surfaces import errors
from llm_gateway.surfaces.blocks import Blocks, Step
from llm_gateway.surfaces.responses import answers
from llm_gateway.surfaces.responses.items_stream import ItemEvents
from llm_gateway.usage import Usage


class ResponsesEncoder:
    """Writes response.created, one item after the other, then response.completed or response.incomplete."""

    def __init__(self, *, request: Document, call_id: str, created: int, model: str) -> None:
        self._response = answers.response(request, call_id=call_id, created=created, model=model)
        self._blocks = Blocks(call_id=call_id)
        self._items = ItemEvents(call_id=call_id)
        self._sequence = 0
        self._usage: Usage | None = None

    def feed(self, chunk: Document) -> bytes:
        """Return the events that a chunk leads to."""
        self._usage = tokens.of_openai(chunk.get("usage")) or self._usage
        return self._start() + self._told(self._blocks.feed(chunk))

    def finish(self) -> bytes:
        """Return the end of the last item and of the response, with its usage."""
        told = self._start() + self._told(self._blocks.finish())
        reason = self._blocks.finish_reason
        ended = answers.ended(self._response, output=self._items.done, usage=self._usage, finish_reason=reason)
        return told + self._event({"type": f"response.{ended['status']}", "response": ended})

    def error(self, problem: Problem) -> bytes:
        """Return the error event, then the response as failed."""
        started, error = self._start(), errors.openai(problem)["error"]
        event = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        code = "rate_limit_exceeded" if problem.status == 429 else "server_error"
        fields = {"status": "failed", "error": {"code": code, "message": problem.message}, "output": self._items.done}
        failed = {"type": "response.failed", "response": self._response | fields}
        return started + self._event(event) + self._event(failed)

    def _start(self) -> bytes:
        if self._sequence:
            return b""
        created = self._event({"type": "response.created", "response": self._response})
        return created + self._event({"type": "response.in_progress", "response": self._response})

    def _told(self, steps: list[Step]) -> bytes:
        return b"".join([self._event(event) for step in steps for event in self._items.events(step)])

    def _event(self, payload: Document) -> bytes:
        sent = frame(payload | {"sequence_number": self._sequence}, name=payload["type"])
        self._sequence += 1
        return sent
