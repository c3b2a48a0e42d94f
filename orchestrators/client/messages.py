"""Messages that come down: each `message_id` handled once, in order, and acknowledged every time (PROTOCOL §1)."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from .callbacks import MessageCallback, invoke
from .frames import Frame, FrameError, encode, text_of
from .lane import Lane

Send = Callable[[Frame], Awaitable[bool]]

REMEMBERED_RESULT_BYTES = 8 * 1024


class Messages:
    """Handle downward messages. The last `remembered` answers are kept, to answer a repeat without doing it again."""

    def __init__(
        self,
        *,
        handler: MessageCallback | None,
        lane: Lane,
        send: Send,
        log: logging.LoggerAdapter[logging.Logger],
        remembered: int = 1024,
    ) -> None:
        self._handler, self._lane, self._send, self._log = handler, lane, send, log
        self._remembered = remembered
        self._answers: OrderedDict[str, Frame | None] = OrderedDict()
        self.handled = 0
        self.duplicates = 0

    async def receive(self, frame: Frame) -> None:
        """Queue a new message, answer a repeated one; one that is being handled gets its answer when it is done."""
        message_id = frame["message_id"]
        if message_id not in self._answers:
            if self._lane.submit(partial(self._handle, frame)):
                self._answers[message_id] = None
            return
        self.duplicates += 1
        answer = self._answers[message_id]
        if answer is not None:
            await self._send(answer)

    async def _handle(self, frame: Frame) -> None:
        message_id = frame["message_id"]
        self._log.info("message %s received", frame["type"])
        answer = {"type": "ack", "message_id": message_id, **await self._outcome(frame)}
        self.handled += 1
        self._remember(message_id, answer)
        await self._send(answer)

    async def _outcome(self, frame: Frame) -> Frame:
        if self._handler is None:
            return {"success": False, "error": "this orchestrator handles no messages"}
        try:
            value = await invoke(self._handler, frame["type"], frame.get("content"))
        except Exception as error:
            self._log.warning("message %s failed: %s", frame["type"], text_of(error))
            return {"success": False, "error": text_of(error)}
        return {"success": True} if value is None else {"success": True, "result": as_result(value)}

    def _remember(self, message_id: str, answer: Frame) -> None:
        if len(encode(answer)) > REMEMBERED_RESULT_BYTES:
            answer = {**answer, "result": {"omitted": "too large to be kept for a repeat"}}
        self._answers[message_id] = answer
        self._answers.move_to_end(message_id)
        while len(self._answers) > self._remembered and next(iter(self._answers.values())) is not None:
            self._answers.popitem(last=False)


def as_result(value: Any) -> Frame:
    """Return a handler's value as the object an answer carries, replaced by a note when it cannot be sent."""
    result = value if isinstance(value, dict) else {"value": value}
    try:
        if len(encode(result)) > 200 * 1024:
            return {"omitted": "the result is over 200 KiB"}
    except FrameError as error:
        return {"omitted": text_of(error)}
    return result
