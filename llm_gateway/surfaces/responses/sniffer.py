"""OpenAI's stream of typed events, read along."""

from llm_gateway import usage as tokens
from llm_gateway.dialects.openai import told
from llm_gateway.problems import Problem
from llm_gateway.reading import Document, document, text
from llm_gateway.sse import frame
from llm_gateway.surfaces import errors
from llm_gateway.surfaces.sniffing import EventSniffer


class ResponsesSniffer(EventSniffer):
    """Reads a response along; its last event holds the usage."""

    def __init__(self) -> None:
        super().__init__()
        self._sequence = 0

    def look(self, payload: Document) -> bool:
        """Read one event along."""
        kind = text(payload.get("type"))
        number = payload.get("sequence_number")
        if kind == "error" or payload.get("error"):
            self.problem = told(payload.get("error") or payload)
            return False
        if kind.endswith(".delta"):
            self.output_characters += len(text(payload.get("delta")))
        elif kind in ("response.completed", "response.incomplete", "response.cancelled", "response.failed"):
            return self._end(kind, document(payload.get("response")))
        self._sequence = number + 1 if type(number) is int else self._sequence
        return True

    def error(self, problem: Problem) -> bytes:
        """Return the error event that ends a stream that broke."""
        error = errors.openai(problem)["error"]
        event = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return frame(event | {"sequence_number": self._sequence}, name="error")

    def _end(self, kind: str, response: Document) -> bool:
        self.usage = tokens.of_openai(response.get("usage")) or self.usage
        if kind == "response.failed":
            self.problem = told(response.get("error"))
            return False
        self.is_done = True
        return True
