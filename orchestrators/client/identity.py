"""Who an orchestrator says it is: the check of its id, and its `register` frame without the configuration."""

import logging
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from .frames import Frame

VERSION = "1.0.0"
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
RESERVED_IDS = frozenset({"live", "register", "heartbeat"})


class NamedLog(logging.LoggerAdapter[logging.Logger]):
    """Put the orchestrator's id before every line."""

    def process(self, msg: Any, kwargs: Any) -> tuple[str, Any]:
        """Return the line with the id in front."""
        return f"{self.extra['id'] if self.extra else ''}: {msg}", kwargs


def register_frame(
    orchestrator_id: str,
    *,
    organization_id: str | None,
    name: str | None,
    version: str,
    capabilities: Sequence[str],
    metadata: Mapping[str, Any] | None,
) -> Frame:
    """Return the `register` frame (PROTOCOL §1); raises ValueError for an id the protocol does not allow."""
    if not IDENTIFIER.fullmatch(orchestrator_id) or orchestrator_id in RESERVED_IDS:
        raise ValueError(f"{orchestrator_id!r} is not an orchestrator id: letters, digits, `_.-`, at most 50")
    return {
        "type": "register",
        "orchestrator_id": orchestrator_id,
        "organization_id": organization_id,
        "name": name,
        "version": version,
        "capabilities": list(capabilities),
        "metadata": {"hostname": socket.gethostname(), **(metadata or {})},
    }
