"""Decoding: the loop that every dialect's decoder shares."""

from llm_gateway.canonical import Frame
from llm_gateway.problems import Problem, bad_answer, cut_short, parse
from llm_gateway.reading import Document, Unreadable
from llm_gateway.sse import MAX_EVENT_BYTES, Event, Events
from llm_gateway.usage import Usage


class EventDecoder:
    """Feeds a provider's events to `read`, until the end mark or a problem; what comes after is not looked at."""

    def __init__(self, *, model: str, call_id: str, created: int) -> None:
        self.frame = Frame(call_id=call_id, created=created, model=model)
        self.usage: Usage | None = None
        self.is_done = False
        self.problem: Problem | None = None
        self._events = Events()

    def feed(self, data: bytes) -> list[Document]:
        """Return the canonical chunks that `data` completes."""
        chunks: list[Document] = []
        for event in self._events.feed(data):
            chunks += self._take(event)
        if self._events.is_overflown and not self._is_over:
            self.problem = bad_answer(f"The provider sent an event of more than {MAX_EVENT_BYTES} bytes.")
        return chunks

    def finish(self) -> list[Document]:
        """Return what is left at the end of the stream; sets `problem` when it came too early."""
        left = self._events.finish()
        chunks: list[Document] = []
        if left and not self._is_over:
            chunks = self._take(left)
            if self.problem and self.problem.code == "bad_provider_answer":
                self.problem = cut_short()
        if not self._is_over and self.is_complete():
            self.is_done = True
        if not self._is_over:
            self.problem = cut_short()
        return chunks

    @property
    def _is_over(self) -> bool:
        return self.is_done or self.problem is not None

    def _take(self, event: Event) -> list[Document]:
        if self._is_over or not event.data or self.is_mark(event.data):
            return []
        payload = parse(event.data)
        if isinstance(payload, Problem):
            self.problem = payload
            return []
        try:
            return self.read(payload)
        except Unreadable as error:
            self.problem = error.problem
            return []

    def is_mark(self, data: bytes) -> bool:
        """Say whether `data` is an end mark that is no JSON, and note it."""
        return False

    def is_complete(self) -> bool:
        """Say whether all was there when the provider closed without its end mark."""
        return False

    def read(self, payload: Document) -> list[Document]:
        """Return the chunks of one event."""
        raise NotImplementedError
