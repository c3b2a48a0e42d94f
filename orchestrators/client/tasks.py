"""Tasks that come down: run beside each other, lease renewed, result sent again until nobody asks (PROTOCOL §1)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from .callbacks import TaskCallback, invoke
from .frames import Frame, text_of
from .messages import as_result
from .outbox import TRANSIENT

Send = Callable[[Frame], Awaitable[bool]]
RESEND_SECONDS = 5.0

current_task_id: ContextVar[str | None] = ContextVar("current_task_id", default=None)


class Tasks:
    """Run tasks with the user's callback; at most `concurrent` at a time, further ones are refused."""

    def __init__(
        self,
        *,
        handler: TaskCallback | None,
        send: Send,
        log: logging.LoggerAdapter[logging.Logger],
        concurrent: int = 32,
        remembered: int = 256,
    ) -> None:
        self._handler, self._send, self._log = handler, send, log
        self._concurrent, self._remembered = concurrent, remembered
        self._running: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, float] = {}
        self._again: asyncio.Task[None] | None = None
        self._references: dict[str, str] = {}  # the newest message id under which a running task came
        self._results: OrderedDict[str, Frame] = OrderedDict()
        self._unsettled: OrderedDict[str, Frame] = OrderedDict()

    @property
    def is_able(self) -> bool:
        """Whether there is a callback for tasks."""
        return self._handler is not None

    @property
    def unsettled(self) -> list[str]:
        """The ids of the tasks that run, or whose result is not known to have arrived."""
        return [*self._running, *self._unsettled]

    async def receive(self, frame: Frame) -> None:
        """Acknowledge and start a task; answer a repeated one; try a failed one again under its new message id."""
        task_id, message_id = frame.get("task_id"), frame.get("message_id")
        if not isinstance(task_id, str) or not isinstance(message_id, str):
            return
        if self._handler is None:
            await self._refuse(message_id, "this orchestrator runs no tasks")
            return
        if task_id not in self._running and len(self._running) >= self._concurrent:
            await self._refuse(message_id, f"{self._concurrent} tasks run here, which is the limit")
            return
        await self._send({"type": "ack", "message_id": message_id, "success": True})
        self._references[task_id] = message_id
        if task_id in self._running:
            return
        earlier = self._results.get(task_id)
        if earlier is not None and (earlier["message_id"] == message_id or earlier["success"]):
            await self._report(task_id, {**earlier, "message_id": message_id})
            return
        running = self._running[task_id] = asyncio.create_task(self._run(self._handler, frame))
        running.add_done_callback(lambda _: self._forget(task_id))

    async def _refuse(self, message_id: str, error: str) -> None:
        await self._send({"type": "ack", "message_id": message_id, "success": False, "error": error})

    def cancel(self, frame: Frame) -> None:
        """Cancel a running task; its result says `cancelled`."""
        task = self._running.get(str(frame.get("task_id")))
        if task is not None:
            task.cancel()

    def acknowledged(self, frame: Frame) -> None:
        """Forget a result that is stored."""
        self._forget_result(frame.get("message_id"))

    def refused(self, frame: Frame) -> None:
        """Stop a task whose lease is lost; send a result again that could not be taken just now."""
        reference = frame.get("ref")
        if frame.get("error") in TRANSIENT:
            if any(result["message_id"] == reference for result in self._unsettled.values()):
                self._again = asyncio.create_task(self._resume_later())
            return
        self._forget_result(reference)
        if frame.get("error") == "lease_lost":
            task_id = str(frame.get("task_id"))
            if self._references.get(task_id) == reference and (task := self._running.pop(task_id, None)):
                task.cancel()

    async def progress(self, percent: float) -> None:
        """Report the progress (0 to 100) of the task this is called from, which also renews its lease."""
        task_id = current_task_id.get()
        if task_id is None:
            raise RuntimeError("progress is reported from within on_task")
        self._progress[task_id] = max(0.0, min(100.0, percent))
        await self._renew(task_id)

    async def resume(self) -> None:
        """Send the results that are not known to have arrived."""
        for frame in list(self._unsettled.values()):
            await self._send(frame)

    async def close(self) -> None:
        """Cancel everything that runs, without a result: the lease expires and the server decides."""
        running, self._running = list(self._running.values()), {}
        if self._again is not None:
            running.append(self._again)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, handler: TaskCallback, frame: Frame) -> None:
        task_id = frame["task_id"]
        current_task_id.set(task_id)
        renewal = asyncio.create_task(self._keep(task_id, frame.get("lease_seconds")))
        try:
            outcome = await self._outcome(handler, frame)
        finally:
            renewal.cancel()
        reference = self._references.get(task_id, frame["message_id"])
        result = {"type": "task_result", "message_id": reference, "task_id": task_id, **outcome}
        self._results[task_id] = result
        while len(self._results) > self._remembered:
            self._results.popitem(last=False)
        await self._report(task_id, result)

    def _forget(self, task_id: str) -> None:
        self._running.pop(task_id, None)
        self._references.pop(task_id, None)
        self._progress.pop(task_id, None)

    async def _outcome(self, handler: TaskCallback, frame: Frame) -> Frame:
        try:
            value = await invoke(handler, str(frame.get("task_type")), frame.get("payload"))
        except asyncio.CancelledError:
            if frame["task_id"] not in self._running:
                raise
            return {"success": False, "error": "cancelled"}
        except Exception as error:
            self._log.warning("task %s failed: %s", frame["task_id"], text_of(error))
            return {"success": False, "error": text_of(error)}
        return {"success": True, "result": as_result({} if value is None else value)}

    async def _report(self, task_id: str, result: Frame) -> None:
        self._unsettled[task_id] = result
        while len(self._unsettled) > self._remembered:
            self._unsettled.popitem(last=False)
        await self._send(result)

    def _forget_result(self, reference: Any) -> None:
        for task_id, result in list(self._unsettled.items()):
            if result["message_id"] == reference:
                del self._unsettled[task_id]

    async def _resume_later(self) -> None:
        await asyncio.sleep(RESEND_SECONDS)
        await self.resume()

    async def _keep(self, task_id: str, lease_seconds: Any) -> None:
        """Renew the lease three times in its length while the callback works."""
        while isinstance(lease_seconds, int | float) and lease_seconds > 0:
            await asyncio.sleep(max(lease_seconds / 3, 0.05))
            await self._renew(task_id)

    async def _renew(self, task_id: str) -> None:
        frame = {"type": "task_progress", "task_id": task_id, "progress": self._progress.get(task_id, 0)}
        await self._send({**frame, "message_id": self._references.get(task_id)})
