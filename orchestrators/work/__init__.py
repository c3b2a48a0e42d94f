"""Work: the task queue with human approval. The row is the queue; who takes a task holds it under a numbered lease.

`board`: create, cancel and settle by hand; `routing`: which agent; `approvals`: a person decides; `holding`: take,
renew, finish and fail under a lease; `handlers`: what the workers do themselves; `sweeping`: what time does; `agents`,
`counts`: reads.
"""

from orchestrators.work.board import cancel, create, create_steps, set_status
from orchestrators.work.holding import Holder, fail, finish, give_back, progress, take
from orchestrators.work.sweeping import sweep

__all__ = [
    "Holder",
    "cancel",
    "create",
    "create_steps",
    "fail",
    "finish",
    "give_back",
    "progress",
    "set_status",
    "sweep",
    "take",
]
