"""Lets daphne (`runserver`) close with the codes of PROTOCOL §3: its library takes only 1000 and 3000–4999 from us.

Without this a socket that should be closed with 1003, 1008, 1009, 1011 or 1013 would be told and then left open.
"""

import sys
from typing import Any


def mend() -> None:
    """Have daphne send the close frame itself; nothing in a process that does not use daphne."""
    module = sys.modules.get("daphne.ws_protocol")
    if module is not None:
        module.WebSocketProtocol.serverClose = _server_close


def _server_close(protocol: Any, code: int | None = None) -> None:
    protocol.sendCloseFrame(code=1000 if code is None else code, isReply=False)
