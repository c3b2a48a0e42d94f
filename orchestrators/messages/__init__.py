"""Messages both ways. `outbox`: queue, send, acknowledge, expire; `inbox`: store what came up, exactly once."""

from orchestrators.messages.outbox import queue

__all__ = ["queue"]
