"""Google's stream (`alt=sse`): each event is a partial answer; the finish reason is the end mark."""

from llm_gateway import usage as tokens
from llm_gateway.dialects.decoding import EventDecoder
from llm_gateway.dialects.google import answers
from llm_gateway.reading import Document, documents, text


class GoogleDecoder(EventDecoder):
    """Turns parts into deltas. A function call comes whole, in one event."""

    def __init__(self, *, model: str, call_id: str, created: int) -> None:
        super().__init__(model=model, call_id=call_id, created=created)
        self._calls: dict[int, int] = {}  # candidate → how many tool calls so far
        self._spoke: set[int] = set()
        self._said: set[int] = set()
        self._open: set[int] = set()

    def is_complete(self) -> bool:
        """Say whether every candidate that began had its finish reason."""
        return bool(self._spoke) and not self._open

    def finish(self) -> list[Document]:
        """Return what is left, then the usage."""
        chunks = super().finish()
        return [*chunks, self.frame.usage_chunk(self.usage)] if self.is_done and self.usage else chunks

    def read(self, payload: Document) -> list[Document]:
        """Return the chunks of one event."""
        if payload.get("error"):
            self.problem = answers.told(payload["error"])
            return []
        self.usage = tokens.of_google(payload.get("usageMetadata")) or self.usage
        candidates = documents(payload.get("candidates"))
        if not candidates and (reason := answers.blocked(payload)):
            self._spoke.add(0)
            refusal = {"role": "assistant", "content": None, "refusal": f"The prompt was blocked: {reason}."}
            return [self.frame.chunk(refusal), self.frame.chunk({}, finish_reason="content_filter")]
        return [chunk for candidate in candidates for chunk in self._candidate(candidate)]

    def _candidate(self, candidate: Document) -> list[Document]:
        number = candidate.get("index")
        index = number if type(number) is int and 0 <= number < 1024 else 0
        chunks = [] if index in self._spoke else [self.frame.chunk({"role": "assistant", "content": ""}, index=index)]
        if index not in self._spoke:
            self._spoke.add(index)
            self._open.add(index)
        found = [delta for part in answers.parts_of(candidate) if (delta := self._delta(part, index))]
        chunks += [self.frame.chunk(delta, index=index) for delta in found]
        if found:
            self._said.add(index)
        return chunks + self._ended(text(candidate.get("finishReason")), index)

    def _delta(self, part: Document, index: int) -> Document:
        if "functionCall" in part:
            place = self._calls.get(index, 0)
            self._calls[index] = place + 1
            call = answers.called(part, place, call_id=self.frame.call_id, index=index)
            return {"tool_calls": [{"index": place} | call]}
        words = text(part.get("text"))
        return {"reasoning_content" if part.get("thought") else "content": words} if words else {}

    def _ended(self, reason: str, index: int) -> list[Document]:
        if not reason:
            return []
        self._open.discard(index)
        self.problem = answers.failed(reason) if index not in self._said else None
        if self.problem:
            return []
        finish = answers.finish_of(reason, has_calls=bool(self._calls.get(index)))
        return [self.frame.chunk({}, index=index, finish_reason=finish)]
