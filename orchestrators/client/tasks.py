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

Send = Callable[[Frame], Awaitable[bool]]

current_task_id: ContextVar[str | None] = ContextVar("current_task_id", default=None)


class Tasks:
    """Run tasks with the user's callback; at most `concurrent` at a time, further ones are left for the server."""

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
        self._results: OrderedDict[str, tuple[str, Frame]] = OrderedDict()
        self._unsent: dict[str, Frame] = {}

    async def receive(self, frame: Frame) -> None:
        """Acknowledge and start a task; answer a repeated one; try a failed one again under its new message id."""
        task_id, message_id = frame.get("task_id"), frame.get("message_id")
        if not isinstance(task_id, str) or not isinstance(message_id, str):
            return
        if self._handler is None:
            error = "this orchestrator runs no tasks"
            await self._send({"type": "ack", "message_id": message_id, "success": False, "error": error})
            return
        if task_id not in self._running and len(self._running) >= self._concurrent:
            return
        await self._send({"type": "ack", "message_id": message_id, "success": True})
        if task_id in self._running:
            return
        earlier = self._results.get(task_id)
        if earlier is not None and (earlier[0] == message_id or earlier[1]["success"]):
            await self._report(task_id, earlier[1])
            return
        running = self._running[task_id] = asyncio.create_task(self._run(self._handler, frame))
        running.add_done_callback(lambda _: self._forget(task_id))

    def cancel(self, frame: Frame) -> None:
        """Cancel a running task; its result says `cancelled`."""
        task = self._running.get(str(frame.get("task_id")))
        if task is not None:
            task.cancel()

    async def progress(self, percent: float) -> None:
        """Report the progress (0 to 100) of the task this is called from, which also renews its lease."""
        task_id = current_task_id.get()
        if task_id is None:
            raise RuntimeError("progress is reported from within on_task")
        self._progress[task_id] = max(0.0, min(100.0, percent))
        await self._renew(task_id)

    async def resume(self) -> None:
        """Send the results that no session could take."""
        for task_id, frame in list(self._unsent.items()):
            await self._report(task_id, frame)

    async def close(self) -> None:
        """Cancel everything that runs, without a result: the lease expires and the server decides."""
        running, self._running = list(self._running.values()), {}
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
        result = {"type": "task_result", "task_id": task_id, **outcome}
        self._results[task_id] = (frame["message_id"], result)
        while len(self._results) > self._remembered:
            self._results.popitem(last=False)
        await self._report(task_id, result)

    def _forget(self, task_id: str) -> None:
        self._running.pop(task_id, None)
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
        if await self._send(result):
            self._unsent.pop(task_id, None)
        else:
            self._unsent[task_id] = result

    async def _keep(self, task_id: str, lease_seconds: Any) -> None:
        """Renew the lease three times in its length while the callback works."""
        while isinstance(lease_seconds, int | float) and lease_seconds > 0:
            await asyncio.sleep(max(lease_seconds / 3, 0.05))
            await self._renew(task_id)

    async def _renew(self, task_id: str) -> None:
        progress = self._progress.get(task_id, 0)
        await self._send({"type": "task_progress", "task_id": task_id, "progress": progress})
