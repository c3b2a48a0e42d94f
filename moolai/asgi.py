"""Every async door: `/ws` sockets, and Django for HTTP."""

import os
from typing import Any

os.umask(0o077)  # manage.py does the same: what a process writes is for its own user only
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from monitoring.metrics import flushing
from moolai import daphne_close, ws

daphne_close.mend()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Hand a connection to the door for its kind (ASGI)."""
    if scope["type"] == "websocket":
        await ws.endpoint(scope, receive, send)
    else:
        flushing.start()
        await django_application(scope, receive, send)
