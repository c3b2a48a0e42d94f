"""Clients of the plane that no socket brought: whoever in this process asks a model, as bare ASGI has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.plane.exchange import GONE, JSON, Exchange, Message

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account


class Client:
    """The client of one call: gives its request, hears the answer (`send`), and can leave before its end."""

    def __init__(self, path: str, body: bytes, *, headers: Mapping[str, str]) -> None:
        sent = [(name.lower().encode(), text.encode("latin-1", "replace")) for name, text in headers.items()]
        self.body = body
        self.scope: Message = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [JSON, *sent],
            "query_string": b"",
            "extensions": {GONE: self.on_gone},
        }
        self._gone: Callable[[], None] | None = None
        self._has_left = False

    def exchange(self, *, request_id: str, call_id: str) -> Exchange:
        """Return the exchange of its call; `call_id` is what the ledger is to know it by, "" for any."""
        found = Exchange(self.scope, self.receive, self.send, request_id=request_id)
        found.call_id = call_id
        return found

    def leave(self) -> None:
        """Leave, on the loop: the call is cut off and settled."""
        self._has_left = True
        if self._gone is not None:
            self._gone()

    def on_gone(self, call: Callable[[], None] | None) -> None:
        """Have `call` called when the client leaves (see `exchange.GONE`)."""
        self._gone = call
        if call is not None and self._has_left:
            call()

    async def receive(self) -> Message:
        """Give the whole request (ASGI)."""
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Hear a part of the answer (ASGI)."""
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a call took, as its account has it; of a failed one, who was asked."""

    provider: str = ""
    model: str = ""
    cost_usd_micros: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    is_cached: bool = False

    def count(self, account: "Account") -> None:
        """Take over what a closed account says. Nothing is computed here a second time."""
        target, usage = account.party, account.usage
        self.provider, self.model = (target.source.name, target.model) if target else ("", "")
        self.input_tokens, self.output_tokens = usage.input_tokens, usage.output_tokens
        self.cost_usd_micros = account.cost_usd_micros
        self.is_cached = account.saved_usd_micros is not None
