"""An `ack` that comes up is for a message, or for a task (PROTOCOL §1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrators import protocol
from orchestrators.messages import outbox
from orchestrators.messages.outbox import Receipt
from orchestrators.protocol import FrameError
from orchestrators.work.reports import REFERENCE


@dataclass(frozen=True, slots=True)
class TaskReceipt:
    """The acknowledgement of a task: it is worked on, or it is refused."""

    task_id: str
    lease: int
    is_success: bool
    error: str


def check(session: Any, frame: dict[str, Any]) -> Receipt | TaskReceipt:
    """Validate an `ack`; one of a task that is no longer the session's is no error, as the two may have crossed."""
    receipt = outbox.check_ack(session, frame)
    match = REFERENCE.fullmatch(protocol.message_id(frame))
    if match is None:
        return receipt
    return TaskReceipt(match[1], int(match[2]), receipt.is_success, receipt.error)


def weigh(receipt: Receipt | TaskReceipt) -> int:
    """Return how many bytes of memory it takes while it waits, roughly."""
    return protocol.weight(receipt.result if isinstance(receipt, Receipt) else None)


def store(receipts: Sequence[Receipt | TaskReceipt]) -> list[None | FrameError]:
    """Settle messages; of tasks nothing is stored that their lease does not say."""
    of_messages = [receipt for receipt in receipts if isinstance(receipt, Receipt)]
    answers = iter(outbox.acknowledge(of_messages) if of_messages else ())
    return [next(answers) if isinstance(receipt, Receipt) else None for receipt in receipts]


def stored(session: Any, receipt: Receipt | TaskReceipt) -> None:
    """Let the session have more, or others have what it refused."""
    if isinstance(receipt, TaskReceipt):
        session.hub.dispatch.acknowledged(
            session, receipt.task_id, receipt.lease, is_success=receipt.is_success, error=receipt.error
        )
    elif session.in_flight.pop(receipt.message_id, None) is not None:
        session.hub.deliver_soon(session.orchestrator_id)
