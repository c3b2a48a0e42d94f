"""The reference orchestrator client: what a user embeds to hold a session with the controller (PROTOCOL §1, §3).

Imports the standard library, `websockets` and (for metrics only) psutil; never Django or another room of this
project, so this folder can be copied into any program.
"""

from .frames import FrameError, FrameTooLargeError
from .orchestrator import OrchestratorClient
from .outbox import ClientStoppedError, MessageConflictError, MessageError

__all__ = [
    "ClientStoppedError",
    "FrameError",
    "FrameTooLargeError",
    "MessageConflictError",
    "MessageError",
    "OrchestratorClient",
]
