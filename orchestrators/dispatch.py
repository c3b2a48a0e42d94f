"""Dispatch: which of this process's sessions can do tasks and have room, and what each was given. No database here.

A session is given tasks when its `capabilities` name their types, or `tasks` for every type that no worker does. It has
TASK_WINDOW of them at a time. Everything durable is `orchestrators/work/handout.py`'s, in the hub's thread.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from orchestrators.batcher import Batcher
from orchestrators.protocol import FrameError
from orchestrators.work import handout
from orchestrators.work.handout import ANY, Ask, Asker, Comeback, Given, Order, Return

if TYPE_CHECKING:
    from orchestrators.hub import Hub
    from orchestrators.session import Session

logger = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 2.0
FEATURES: Final = frozenset({ANY, "config", "messages"})  # capabilities that name no type of task


class Workload:
    """What one session can do, and the tasks it was given that are not settled."""

    __slots__ = ("_acked", "_due", "_refused", "_resting", "_settling", "_silences", "is_ready", "orders",
                 "rests_until", "running", "sent", "takes_any", "types")  # fmt: skip

    def __init__(self, capabilities: Collection[str], *, running: frozenset[str] | None = None) -> None:
        self.types, self.running = frozenset(capabilities) - FEATURES, running
        self.takes_any = ANY in capabilities
        self.orders: dict[str, Order] = {}
        self.sent: set[str] = set()  # ids of tasks whose frame went out
        self._refused: frozenset[str] = frozenset()
        self._resting: dict[str, tuple[float, int]] = {}  # type → until when, and how often it was silent about it
        self.is_ready, self.rests_until = False, 0.0
        self._due: dict[str, float] = {}  # until when an acknowledgement may take
        self._settling: set[str] = set()
        self._acked, self._silences = False, 0

    def room(self, now: float) -> int:
        """Return how many more tasks it may have at monotonic `now`; one at a time until it acknowledged one."""
        if not self.is_ready or now < self.rests_until:
            return 0
        most: int = settings.TASK_WINDOW if self._acked else min(1, settings.TASK_WINDOW)
        return max(0, most - len(self.orders))

    def give(self, order: Order, now: float) -> None:
        """Note a task that it is about to be sent."""
        self.orders[order.task_id] = order
        self._due[order.task_id] = now + settings.MESSAGE_ACK_TIMEOUT_SEC

    def keep(self, orders: Sequence[Order]) -> None:
        """Note what it holds from an earlier session."""
        self.orders.update((order.task_id, order) for order in orders)
        self.sent.update(order.task_id for order in orders)
        self.is_ready, self._acked = True, self._acked or bool(orders)

    def drop(self, task_id: str, lease: int | None = None) -> Order | None:
        """Forget a task, or that lease of it; return its order if there was one."""
        order = self.orders.get(task_id)
        if order is None or (lease is not None and order.lease != lease):
            return None
        self._due.pop(task_id, None)
        self.sent.discard(task_id)
        self._settling.discard(task_id)
        return self.orders.pop(task_id)

    def lease_of(self, task_id: str) -> int | None:
        """Return the lease under which it was given a task, None when it was not."""
        order = self.orders.get(task_id)
        return order.lease if order else None

    def heard_of(self, task_id: str) -> None:
        """Note that it knows of a task: an acknowledgement, or anything that is as good."""
        if self._due.pop(task_id, None) is not None:
            self._resting.pop(self.orders[task_id].task_type, None)
            self._acked, self._silences = True, 0

    def settling(self, task_id: str, lease: int | None) -> None:
        """Note that the result of a task arrived, which is not stored yet."""
        self.heard_of(task_id)
        if lease is not None and self.lease_of(task_id) == lease:
            self._settling.add(task_id)

    def unsettled(self, task_id: str) -> None:
        """Note that the result of a task could not be taken: it has to come again."""
        self._settling.discard(task_id)

    def is_settling(self, task_id: str) -> bool:
        """Whether the result of a task arrived, which is not stored yet."""
        return task_id in self._settling

    def owes(self, frame: dict[str, Any]) -> bool:
        """Whether a `task_result`, or the `ack` of a task, answers something outstanding."""
        reference, is_ack = frame.get("message_id"), frame.get("type") == "ack"
        named = reference.partition(".")[0] if is_ack and type(reference) is str else frame.get("task_id")
        order = self.orders.get(named) if type(named) is str else None
        if order is None:
            return False
        if is_ack:
            return order.task_id in self._due and reference == order.message_id
        return order.task_id not in self._settling and reference in (None, order.message_id)

    def refuse(self, task_type: str) -> None:
        """Ask it for tasks of a type no more, as long as this session lasts."""
        self._refused |= {task_type}

    def unwanted(self, now: float) -> frozenset[str]:
        """Return the types it is not asked for at monotonic `now`: those it refused, and those that rest."""
        return self._refused | {task_type for task_type, (until, _) in self._resting.items() if now < until}

    def silent(self, now: float) -> list[Order]:
        """Return what it was sent and never acknowledged in time; it rests for a while then, and so do those types."""
        overdue = [self.orders[task_id] for task_id, due in self._due.items() if due <= now and task_id in self.sent]
        if overdue:
            self.rests_until = now + _pause(self._silences)
            self._silences, self._acked = self._silences + 1, False
        for task_type in {order.task_type for order in overdue}:
            count = self._resting.get(task_type, (0.0, 0))[1]
            self._resting[task_type] = now + _pause(count), count + 1
        return overdue


def _pause(silences: int) -> float:
    return min(FIRST_PAUSE_SECONDS * float(2 ** min(silences, 10)), LONGEST_PAUSE_SECONDS)


class Dispatch:
    """Gives tasks to the sessions of one hub."""

    def __init__(self, hub: "Hub") -> None:
        self._hub, self._loop = hub, asyncio.get_running_loop()
        self._able: dict[str, dict[str, Session]] = defaultdict(dict)  # organization → session id → session
        self._looking: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asks = Batcher[Ask, Given](hub.at_desk, handout.take, on_orphan=self._disown)
        self._returns = Batcher[Return, None](hub.at_desk, handout.give_back, is_patient=True, capacity=100_000)
        self._comebacks = Batcher[Comeback, tuple[Order, ...]](
            hub.at_desk, handout.resume, is_patient=True, capacity=100_000
        )

    def organizations(self) -> list[str]:
        """Return those that have a session here with room; callable from any thread."""
        now = time.monotonic()
        found = list(self._able.items())
        return [name for name, sessions in found if any(one.work.room(now) for one in list(sessions.values()))]

    def add(self, session: "Session") -> None:
        """Give tasks to a session that was opened, once it is known what its orchestrator still holds.

        One without a credential is given none: it might be anybody's.
        """
        is_known = session.is_acknowledging and bool(session.credential_id)
        if is_known and (session.work.types or session.work.takes_any):
            self._able[session.organization_id][session.session_id] = session
            session.spawn(self._begin(session))

    def remove(self, session: "Session", *, is_goodbye: bool) -> None:
        """Forget a session; what it never was sent is given back, and all it holds when it said goodbye."""
        sessions = self._able.get(session.organization_id, {})
        if sessions.pop(session.session_id, None) is None:
            return
        if not sessions:
            self._able.pop(session.organization_id, None)
        if self._hub.is_stopping:
            return
        for order in list(session.work.orders.values()):
            if order.task_id not in session.work.sent:
                self._returns.submit(Return(order, "the session ended before the task was sent"))
            elif is_goodbye and not session.work.is_settling(order.task_id):
                self._returns.submit(Return(order, "the orchestrator said goodbye"))

    async def _begin(self, session: "Session") -> None:
        comeback = Comeback(
            session.orchestrator_id, session.session_id, session.work.running, organization_id=session.organization_id
        )
        while True:
            try:
                session.work.keep(await self._comebacks.submit(comeback))
                break
            except FrameError as problem:
                logger.warning("tasks for %s wait: %s", session.orchestrator_id, problem.code)
                await asyncio.sleep(RETRY_SECONDS)
        self.look_soon(session.organization_id)

    # --- down ---------------------------------------------------------------------------------------------------------

    def look_soon(self, organization_id: str) -> None:
        """Give what waits to the sessions of an organization; asked again while that runs, it looks once more."""
        if organization_id not in self._able:
            return
        if organization_id in self._looking:
            self._looking[organization_id] = True
            return
        self._looking[organization_id] = False
        task = self._loop.create_task(self._look(organization_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self, organization_id: str) -> None:
        try:
            while True:
                self._looking[organization_id] = False
                is_cut = await self._give(organization_id)
                if not is_cut and not self._looking[organization_id]:
                    return
        except FrameError as problem:
            logger.warning("tasks of %s wait: %s", organization_id, problem.code)
        finally:
            self._looking.pop(organization_id, None)

    async def _give(self, organization_id: str) -> bool:
        """Hand out what there is for those with room; return whether there may be more."""
        askers = self._askers(organization_id)
        if not askers:
            return False
        given = await self._asks.submit(Ask(organization_id, askers))
        for order in given.orders:
            self._hand(organization_id, order)
        return given.is_cut

    def _askers(self, organization_id: str) -> tuple[Asker, ...]:
        now = time.monotonic()
        return tuple(
            Asker(
                session.orchestrator_id,
                session.session_id,
                room,
                session.work.types,
                takes_any=session.work.takes_any,
                refused=session.work.unwanted(now),
            )
            for session in self._able.get(organization_id, {}).values()
            if not session.is_closing and (room := session.work.room(now))
        )

    def _hand(self, organization_id: str, order: Order) -> None:
        session = self._able.get(organization_id, {}).get(order.session_id)
        if session is None or session.is_closing:
            self._returns.submit(Return(order, "the session ended before the task was sent"))
            return
        session.work.give(order, time.monotonic())
        session.spawn(self._write(session, order))

    async def _write(self, session: "Session", order: Order) -> None:
        if session.work.orders.get(order.task_id) != order:
            return
        session.work.sent.add(order.task_id)
        if not await session.write(order.text) and session.work.drop(order.task_id, order.lease):
            self._returns.submit(Return(order, "the connection was lost before the task was sent"))

    def _disown(self, given: Given) -> None:
        for order in given.orders:
            self._returns.submit(Return(order, "nobody was there any more"))

    # --- up -----------------------------------------------------------------------------------------------------------

    def settled(self, session: "Session", task_id: str, lease: int | None) -> None:
        """Take a task off a session's hands, whose result is stored or does not count, and look for more."""
        if session.work.drop(task_id, lease) is not None:
            self.look_soon(session.organization_id)

    def acknowledged(self, session: "Session", task_id: str, lease: int, *, is_success: bool, error: str = "") -> None:
        """Note that a client works on a task; one that it refuses is given back, and it is offered no more like it."""
        if session.work.lease_of(task_id) != lease:
            return
        if is_success:
            session.work.heard_of(task_id)
            self.look_soon(session.organization_id)
        elif order := session.work.drop(task_id):
            session.work.refuse(order.task_type)
            self._returns.submit(Return(order, f"refused by {session.orchestrator_id}: {error}"))

    def withdraw(self, session: "Session", task_id: str, lease: int, *, is_over: bool) -> None:
        """Forget a task that is no longer a session's; when it is over, the client is told to stop."""
        if session.work.is_settling(task_id):
            return  # it ended as the client said
        was_sent = task_id in session.work.sent
        order = session.work.drop(task_id, lease)
        if order is None:
            return
        if is_over and was_sent:
            session.spawn(self._cancel(session, order))
        self.look_soon(session.organization_id)

    async def _cancel(self, session: "Session", order: Order) -> None:
        await session.write(handout.cancel_frame(order))

    def give_up(self) -> None:
        """Give back what clients never acknowledged, and let them rest, and its type for them.

        Such an attempt counts, else a task that silences whoever gets it would come back for ever.
        """
        now = time.monotonic()
        for session in [one for sessions in self._able.values() for one in sessions.values()]:
            for order in session.work.silent(now):
                session.work.drop(order.task_id)
                reason = f"{session.orchestrator_id} did not acknowledge it"
                self._returns.submit(Return(order, reason, is_begun=True))
