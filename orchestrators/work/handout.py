"""Handing tasks out to connected orchestrators, and taking them back: database work, in batches, in a thread.

What goes down names the lease: its `message_id` is `<task_id>.<lease>`. Which sessions are there and have room is
`orchestrators/dispatch.py`'s to know, what they say of their tasks is in `reports`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators import protocol
from orchestrators.models import Task
from orchestrators.work import handlers, holding, lines
from orgs.models import Organization

ANY: Final = "tasks"
"""The capability of whoever takes every type that no worker of ours does."""
AT_ONCE: Final = 200  # orders of one take
BYTES_AT_ONCE: Final = 4 * 1024 * 1024  # of their frames, about
SLICE: Final = 16  # rows that are read at a time, with their payloads
Status = Task.Status


@dataclass(frozen=True, slots=True)
class Asker:
    """An open session with room for tasks: of the types it named, and of every other with `takes_any`."""

    orchestrator_id: str
    session_id: str
    room: int
    types: frozenset[str]
    takes_any: bool = False
    refused: frozenset[str] = frozenset()

    def suits(self, task_type: str) -> bool:
        """Whether it can do tasks of a type."""
        if task_type in self.refused or task_type in handlers.workers_only():
            return False
        return task_type in self.types or (self.takes_any and handlers.find(task_type) is None)


@dataclass(frozen=True, slots=True)
class Ask:
    """The sessions of one organization that have room."""

    organization_id: str
    askers: tuple[Asker, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """A task that a session was given, and the frame that says so."""

    pk: int
    task_id: str
    task_type: str
    lease: int
    session_id: str
    text: str = ""

    @property
    def message_id(self) -> str:
        """What the frame is acknowledged under."""
        return f"{self.task_id}.{self.lease}"

    @property
    def task(self) -> Task:
        """The task as it is held, without its columns."""
        return Task(pk=self.pk, lease=self.lease, task_id=self.task_id)


@dataclass(frozen=True, slots=True)
class Given:
    """What an ask was given; `is_cut` when the take had to stop before everybody had what there is."""

    orders: tuple[Order, ...]
    is_cut: bool


class _Budget:
    """What one take may still hand out, over all its asks: it is held in memory, in one transaction."""

    def __init__(self) -> None:
        self._orders, self._bytes, self.is_cut = AT_ONCE, BYTES_AT_ONCE, False

    def spend(self, size: int) -> None:
        self._orders, self._bytes = self._orders - 1, self._bytes - size

    def slice(self, room: int) -> int:
        """Return how many rows to read next of those there is `room` for; 0 ends the take, early or not."""
        is_spent = self._orders <= 0 or self._bytes <= 0
        self.is_cut = self.is_cut or (is_spent and room > 0)
        return 0 if is_spent else min(room, self._orders, SLICE)


@transaction.atomic
def take(asks: Sequence[Ask]) -> list[Given]:
    """Give waiting tasks to sessions with room, highest priority first; return what each ask was given.

    One take ends after AT_ONCE orders or BYTES_AT_ONCE; what it did not come to is `is_cut`.
    """
    now, budget, found = timezone.now(), _Budget(), []
    for ask in asks:
        budget.is_cut = False
        orders = tuple(_orders(ask, budget, now=now))
        found.append(Given(orders, budget.is_cut))
    return found


def _orders(ask: Ask, budget: _Budget, *, now: datetime) -> Iterator[Order]:
    """Go by what sessions can do: as many tasks are reserved as those who can do the same have room for."""
    peers: dict[tuple[Any, ...], list[Asker]] = defaultdict(list)
    for asker in ask.askers:
        peers[asker.types, asker.takes_any, asker.refused].append(asker)
    types = lines.types(ask.organization_id)
    rows = holding.waiting(now=now).filter(organization_id=ask.organization_id)
    for group in peers.values():
        places, suited = _places(group), list(filter(group[0].suits, types))
        while suited and (count := budget.slice(len(places))):
            keys = lines.first(rows, suited, count + SLICE)  # others may be at some of them
            found = holding.reserve(rows.filter(pk__in=keys).defer("metadata", "result"), count)
            for row, asker in zip(found, places, strict=False):
                if order := _order(row, asker, ask, now=now):
                    budget.spend(len(order.text))
                    yield order
            places = places[count:] if len(found) == count else []


def _order(row: Task, asker: Asker, ask: Ask, *, now: datetime) -> Order | None:
    """Hold a reserved task for a session; None when another was faster, or no frame can hold its payload."""
    holder = holding.Holder(
        asker.orchestrator_id, organization_id=ask.organization_id, orchestrator_id=asker.orchestrator_id
    )
    held = holding.hold(row, holder, now=now)
    if held is None:
        return None
    text = _frame(held)
    if len(text.encode()) > protocol.MAX_FRAME_BYTES:
        holding.fail(held, error="The payload does not fit a frame of 256 KiB.", is_final=True)
        return None
    return Order(held.pk, held.task_id, held.task_type, held.lease, asker.session_id, text)


def _places(group: Sequence[Asker]) -> list[Asker]:
    """Return each asker as often as it has room, whoever has the most left first."""
    places = [(asker.room - turn, asker) for asker in group for turn in range(asker.room)]
    places.sort(key=lambda place: -place[0])
    return [asker for _, asker in places[: AT_ONCE + 1]]  # one more than a take gives: then it is cut


def _frame(task: Task) -> str:
    return protocol.dump(
        {
            "type": "task",
            "message_id": f"{task.task_id}.{task.lease}",
            "task_id": task.task_id,
            "task_type": task.task_type,
            "payload": task.payload,
            "lease_seconds": settings.TASK_LEASE_SEC,
            "attempt": task.attempts,
        }
    )


def cancel_frame(order: Order) -> str:
    """Return the frame that stops a task."""
    return protocol.dump({"type": "task_cancel", "task_id": order.task_id})


def waited_for(organization_ids: Collection[str], *, now: datetime) -> list[str]:
    """Return which of the organizations have tasks to take: what a lost wake-up, or a pause, left behind."""
    rows = holding.waiting(now=now).filter(organization=OuterRef("pk")).order_by()
    found = Organization.objects.filter(Exists(rows), pk__in=list(organization_ids)).order_by("pk")
    return list(found.values_list("pk", flat=True))


# --- giving back ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Return:
    """A task that a session gives back; `is_begun`: whether the attempt counts."""

    order: Order
    reason: str
    is_begun: bool = False


def give_back(returns: Sequence[Return]) -> list[None]:
    """Let others have what sessions give back; what is over, or in other hands, stays so."""
    for item in sorted(returns, key=lambda item: item.order.pk):
        try:
            holding.give_back(item.order.task, reason=item.reason, counts=item.is_begun)
        except Conflict:
            continue
    return [None] * len(returns)


@dataclass(frozen=True, slots=True)
class Comeback:
    """A session that was opened; `running` are the tasks its orchestrator works on, None when it does not say."""

    orchestrator_id: str
    session_id: str
    running: frozenset[str] | None
    organization_id: str


def resume(comebacks: Sequence[Comeback]) -> list[tuple[Order, ...]]:
    """Return what each orchestrator still holds from an earlier session; what it says it does not run is given back.

    Of one that does not say what it runs, the leases go on until they run out.
    """
    by_id = {item.orchestrator_id: item for item in comebacks}
    rows = Task.objects.filter(status=Status.IN_PROGRESS, lease_until__isnull=False, orchestrator_id__in=by_id)
    kept: dict[str, list[Order]] = defaultdict(list)
    for row in rows.only("task_id", "task_type", "lease", "orchestrator_id", "organization_id").order_by("pk"):
        item = by_id[row.orchestrator_id]
        order = Order(row.pk, row.task_id, row.task_type, row.lease, item.session_id)
        if row.organization_id == item.organization_id and _goes_on(order, item):
            kept[row.orchestrator_id].append(order)
    return [tuple(kept[item.orchestrator_id]) for item in comebacks]


def _goes_on(order: Order, item: Comeback) -> bool:
    try:
        if item.running is None:
            return True
        if order.task_id in item.running:
            holding.progress(order.task)
            return True
        holding.give_back(order.task, reason="the orchestrator came back without it")
    except Conflict:
        return False
    return False
