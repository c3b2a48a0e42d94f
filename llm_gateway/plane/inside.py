"""Inside: calls to models that the product makes itself for somebody, over the same plane as the calls of clients.

Budgets, limits, guardrails, the cache, privacy and the ledger hold as for a call over HTTP. To be called from threads,
never from an event loop: in a web process calls run on the server's loop, elsewhere on one that begins with the first.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import wait as waited
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from llm_gateway import retrying
from llm_gateway.plane import app, desk, ids, people, planes
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.clients import Client, Figures
from llm_gateway.plane.exchange import Exchange, Message
from llm_gateway.plane.hearing import Hearing

T = TypeVar("T")
SETTLE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf a call is made: `caller_id` as `orgs.authentication.Caller` has it, `name` for the ledger."""

    organization_id: str
    caller_id: str
    name: str = ""
    orchestrator_id: str = ""


@dataclass(slots=True)
class Said(Figures):
    """What a call was answered, and what the ledger says of it; `call_id` is "" for one that never began."""

    status: int
    content: bytes = field(repr=False)
    call_id: str = ""
    latency_ms: float = 0.0
    error: str = ""
    heard: Hearing | None = field(default=None, repr=False)
    is_final: bool = False  # who answered says that trying again does not help

    @property
    def is_good(self) -> bool:
        """Whether the call was answered well."""
        return self.status == 200 and not self.error

    @property
    def may_help(self) -> bool:
        """Whether another attempt may end better."""
        return not self.is_final and retrying.may_help(self.error, status=self.status)

    @property
    def document(self) -> Any:
        """Return the answer's JSON, None where it is none."""
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return None

    @property
    def text(self) -> str:
        """Return what a model said, "" for nothing."""
        if self.heard is not None:
            return self.heard.text
        try:
            return self.document["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            return ""


class Line(Client):
    """One call's client, which keeps the answer; a stream is read along by `hearing`."""

    def __init__(self, path: str, body: Any, headers: Mapping[str, str], hearing: Hearing | None) -> None:
        super().__init__(path, orjson.dumps(body), headers=headers)
        self.hearing = hearing
        self.parts: list[bytes] = []
        self._status, self.is_final = 0, False

    async def send(self, message: Message) -> None:
        """Take a part of the answer (ASGI)."""
        if message["type"] == "http.response.start":
            self._status, self.is_final = message["status"], app.RETRY in message["headers"]
        elif self.hearing is not None and self._status == 200:
            self.hearing.feed(message.get("body", b""))
        else:
            self.parts.append(message.get("body", b""))


def call(
    path: str,
    body: Any,
    *,
    asker: Asker,
    headers: Mapping[str, str] | None = None,
    call_id: str = "",
    wait: Callable[[], None] | None = None,
    hearing: Hearing | None = None,
) -> Said:
    """Make a call of `path` (such as `/v1/chat/completions`) and return what it was answered, errors included.

    `call_id` is what the ledger is to know it by; `wait` is called once a second meanwhile: when it raises, the call is
    given up and settled, and its exception raised. `hearing` is for a body that asks for a stream: it hears the answer
    on the event loop, and may be looked at meanwhile.
    """
    line = Line(path, body, headers or {}, hearing)
    return wait_for(_call(line, asker, call_id), leave=line.leave, look=wait)


def wait_for(
    work: Coroutine[Any, Any, T],
    *,
    leave: Callable[[], None],
    look: Callable[[], None] | None,
    every_seconds: float = LOOK_SECONDS,
) -> T:
    """Do work of the plane on its loop and return what comes of it; to be called from a thread.

    `look` is called now and again meanwhile, in this thread: when it raises, `leave` is called on the loop, the work is
    given SETTLE_SECONDS to settle, and the exception raised.
    """
    loop = home()
    future = asyncio.run_coroutine_threadsafe(work, loop)
    while look is not None and not waited([future], timeout=every_seconds).done:
        try:
            look()
        except BaseException:
            loop.call_soon_threadsafe(leave)
            waited([future], timeout=SETTLE_SECONDS)
            raise
    return future.result()


async def _call(line: Line, asker: Asker, call_id: str) -> Said:
    exchange = line.exchange(request_id=ids.new(), call_id=call_id)
    await app.serve(exchange, lambda: _standing(asker))
    said = _said(exchange, b"".join(line.parts))
    said.heard, said.is_final = line.hearing if said.status == 200 else None, line.is_final
    return said


async def _standing(asker: Asker) -> Standing:
    """Look the asker up as it is now; raises an AppError where it may not call any more."""
    return await desk.run(
        lambda: people.standing(
            asker.caller_id,
            organization_id=asker.organization_id,
            name=asker.name,
            orchestrator_id=asker.orchestrator_id,
        )
    )


def _said(exchange: Exchange, content: bytes) -> Said:
    said = Said(exchange.status, content, error=_error(exchange.status, content))
    if (account := exchange.account) is not None:
        said.count(account)
        said.call_id, said.latency_ms = account.order.call_id, account.elapsed_ms
        said.error = account.error or said.error
    return said


def _error(status: int, content: bytes) -> str:
    """Return the code of an error object, "" for an answer that is none."""
    if status == 200:
        return ""
    try:
        found = orjson.loads(content)["error"]
        return str(found if isinstance(found, str) else found.get("code") or found.get("type"))[:100]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "provider_error"


# --- the loop --------------------------------------------------------------------------------------------------------


class Own:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="gateway-inside", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the last of its work and end."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        waited([future], timeout=SETTLE_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SETTLE_SECONDS)
        self.loop.close()


_server: asyncio.AbstractEventLoop | None = None
_own: Own | None = None
_lock = threading.Lock()


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Name the server's loop; called by a web process when it starts."""
    global _server
    _server = loop


def home() -> asyncio.AbstractEventLoop:
    """Return the loop that calls run on."""
    global _own
    if _server is not None and _server.is_running():
        return _server
    with _lock:
        if _own is None or not _own.thread.is_alive():
            _own = Own()
        return _own.loop


def shut_down() -> None:
    """Give back what no call holds and end the loop, where there is one; for the end of a worker."""
    global _own
    with _lock:
        ended, _own = _own, None
    if ended is not None and ended.thread.is_alive():
        ended.run(planes.shut_down())
