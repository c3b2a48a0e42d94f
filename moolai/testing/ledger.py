"""A ledger of messages: what a fleet of real clients was promised, to be compared with what is stored.

Each client sends entries up and is sent entries down, both numbered. Promised is what was acknowledged to it (up), and
what the API answered with 202 (down). The clients run in one event loop in a thread of their own, so that the caller
may kill processes meanwhile.
"""

import asyncio
import json
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from orchestrators.client import ClientStoppedError, OrchestratorClient

ORGANIZATION: Final = "ledger"
AHEAD: Final = 8  # entries of one client that may wait for their acknowledgement
CALLS: Final = 6  # calls of the API at a time
STORED: Final = """
import json
from orchestrators.models import Message
rows = Message.objects.filter(message_type="entry").order_by("id")
columns = ("orchestrator_id", "direction", "message_id", "message_content", "status", "attempts")
print("ROWS", json.dumps(list(rows.values_list(*columns))))
"""


@dataclass
class Book:
    """What one client was promised, and what it saw, in order."""

    client: OrchestratorClient
    sent: list[int] = field(default_factory=list)  # numbers of entries up that the client was given
    acknowledged: list[int] = field(default_factory=list)  # numbers of entries up
    accepted: list[int] = field(default_factory=list)  # numbers of entries down that the API took
    handled: list[int] = field(default_factory=list)  # numbers of entries down that the client handled


@dataclass(frozen=True)
class Verdict:
    """The comparison of one direction."""

    promised: int
    stored: int
    lost: int
    duplicates: int
    out_of_order: int
    sent_again: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, nothing came twice, and the order was kept."""
        return not (self.lost or self.duplicates or self.out_of_order)


class Ledger:
    """`count` clients that each send `entries` up and are sent as many down; runs while the `with` block is open."""

    def __init__(
        self,
        place: Installation,
        *,
        urls: list[str],
        api: str,
        api_token: str,
        count: int,
        entries: int,
        seconds: float,
    ) -> None:
        """Spread the traffic over about `seconds`; `urls` are the addresses of `/ws`, `api` is that of the API."""
        self.place, self.api, self._token, self._entries = place, api, api_token, entries
        self._pause_seconds = seconds / entries
        key = _organization_key(place)
        self.books = [self._book(urls[number % len(urls)], f"ledger-{number:03}", key) for number in range(count)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.refusals: list[str] = []  # what the API answered besides 202 and 503
        self._running: list[Any] = []
        self._traffic: list[Any] = []

    @staticmethod
    def _book(url: str, name: str, key: str) -> Book:
        handled: list[int] = []

        async def handle(kind: str, content: Any) -> None:
            handled.append(content["n"])

        client = OrchestratorClient(url, name, api_key=key, on_message=handle, capabilities=("config", "messages"))
        return Book(client, handled=handled)

    def __enter__(self) -> Self:
        """Connect every client."""
        self._thread.start()
        self._running = [self._start(book.client.run()) for book in self.books]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the traffic and every client."""
        for task in self._traffic:
            task.cancel()
        self._start(self._stop()).result(timeout=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _start(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _stop(self) -> None:
        await asyncio.gather(*(book.client.stop() for book in self.books), return_exceptions=True)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=10)

    # --- while it runs ----------------------------------------------------------------------------------------------

    def open_traffic(self) -> None:
        """Begin to send both ways."""
        self._traffic = [self._start(self._send(book)) for book in self.books]
        self._traffic.append(self._start(self._queue_all()))

    def wait_connected(self, *, timeout_seconds: float) -> bool:
        """Wait until all hold a session; False when some do not in time."""
        return wait_until(lambda: all(book.client.is_connected for book in self.books), timeout_seconds=timeout_seconds)

    def wait_settled(self, *, timeout_seconds: float) -> bool:
        """Wait until every entry was acknowledged or handled; False when some were not in time."""
        return wait_until(self._is_settled, timeout_seconds=timeout_seconds)

    def wait_drained(self, *, timeout_seconds: float) -> bool:
        """Wait until what waits now, in clients and in the queue, has arrived; what is added meanwhile may wait."""
        waiting = [(book, set(book.sent), set(book.accepted)) for book in self.books]
        return wait_until(
            lambda: all(up <= set(book.acknowledged) and down <= set(book.handled) for book, up, down in waiting),
            timeout_seconds=timeout_seconds,
        )

    def _is_settled(self) -> bool:
        for task in self._traffic:
            if task.done():
                task.result()  # raises what ended it
        books = [min(len(book.acknowledged), len(book.accepted), len(set(book.handled))) for book in self.books]
        return min(books) >= self._entries

    @property
    def connections(self) -> int:
        """Return how many sessions all clients had, together."""
        return sum(book.client.connections for book in self.books)

    async def _send(self, book: Book) -> None:
        room = asyncio.Semaphore(AHEAD)
        sending = set()
        for number in range(self._entries):
            await room.acquire()
            book.sent.append(number)
            task = asyncio.create_task(self._send_one(book, number, room))
            sending.add(task)
            await asyncio.sleep(random.uniform(0, 2 * self._pause_seconds))
        await asyncio.gather(*sending)

    @staticmethod
    async def _send_one(book: Book, number: int, room: asyncio.Semaphore) -> None:
        name = book.client.orchestrator_id
        try:
            await book.client.send("entry", {"n": number}, message_id=f"{name}-{number:05}")
            book.acknowledged.append(number)
        except ClientStoppedError:
            return
        finally:
            room.release()

    async def _queue_all(self) -> None:
        room = asyncio.Semaphore(CALLS)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(10)) as http:
            await asyncio.gather(*(self._queue(http, book, room) for book in self.books))

    async def _queue(self, http: aiohttp.ClientSession, book: Book, room: asyncio.Semaphore) -> None:
        """Queue entries down, one after the other; a call without an answer is made again with the same key."""
        await book.client.wait_connected()  # an orchestrator exists once it has registered
        for number in range(self._entries):
            is_accepted = False
            while not is_accepted:
                is_accepted = await self._post(http, book, number, room)
            book.accepted.append(number)
            await asyncio.sleep(random.uniform(0, 2 * self._pause_seconds))

    async def _post(self, http: aiohttp.ClientSession, book: Book, number: int, room: asyncio.Semaphore) -> bool:
        name = book.client.orchestrator_id
        url = f"{self.api}api/v1/internal/orchestrators/{name}/messages"
        body = {"message_type": "entry", "message_content": {"n": number}}
        try:
            async with room, http.post(url, json=body, headers={"Idempotency-Key": f"{name}-{number}"}) as answer:
                if answer.status not in (202, 503):
                    self.refusals.append(f"{answer.status} {await answer.text()}")
                if answer.status == 202:
                    return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # the process was killed: whether the entry is stored is unknown
        await asyncio.sleep(random.uniform(0.2, 0.6))
        return False

    # --- the comparison ---------------------------------------------------------------------------------------------

    def compare(self) -> tuple[Verdict, Verdict]:
        """Return what became of the entries up and of those down."""
        output = self.place.manage("shell", "--no-imports", "-c", STORED).stdout
        rows = json.loads(output.rpartition("ROWS")[2])
        up: dict[str, list[int]] = {}
        down: dict[str, list[int]] = {}
        attempts, undelivered = 0, 0
        for name, direction, _, content, status, tries in rows:
            (up if direction == "inbound" else down).setdefault(name, []).append(content["n"])
            if direction == "outbound":
                attempts += max(0, tries - 1)
                undelivered += status != "delivered"
        return self._up(up), self._down(down, sent_again=attempts, undelivered=undelivered)

    def _up(self, stored: dict[str, list[int]]) -> Verdict:
        lost = duplicates = 0
        for book in self.books:
            found = stored.get(book.client.orchestrator_id, [])
            lost += len(set(book.acknowledged) - set(found))
            duplicates += len(found) - len(set(found))
        promised = sum(len(book.acknowledged) for book in self.books)
        total = sum(map(len, stored.values()))
        return Verdict(promised, total, lost, duplicates, _disorder(stored.values()), 0)

    def _down(self, stored: dict[str, list[int]], *, sent_again: int, undelivered: int) -> Verdict:
        lost, duplicates = undelivered, 0
        for book in self.books:
            found = stored.get(book.client.orchestrator_id, [])
            lost += len(set(book.accepted) - set(book.handled))
            duplicates += len(book.handled) - len(set(book.handled)) + len(found) - len(set(found))
        promised = sum(len(book.accepted) for book in self.books)
        total = sum(map(len, stored.values()))
        disorder = _disorder(book.handled for book in self.books) + _disorder(stored.values())
        return Verdict(promised, total, lost, duplicates, disorder, sent_again)


def _disorder(rows: Iterable[list[int]]) -> int:
    """Count the entries that come after a later one."""
    return sum(before > after for numbers in rows for before, after in pairwise(numbers))


def _organization_key(place: Installation) -> str:
    place.manage("create_organization", ORGANIZATION)
    made = place.manage("create_api_key", "--organization", ORGANIZATION, "--scope", "orchestrator")
    return made.stdout.strip().splitlines()[-1]
