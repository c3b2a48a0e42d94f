"""Every async door: `/ws` sockets, the gateway's data plane, prompts, streams of events and runs, else Django."""

import os
from typing import Any

os.umask(0o077)  # manage.py does the same: what a process writes is for its own user only
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from llm_gateway.prompts import endpoint as prompts
from llm_gateway.workflows import endpoint as workflows
from monitoring.metrics import flushing
from monitoring.streams import endpoint as streams
from moolai import daphne_close, gateway, ws

daphne_close.mend()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Hand a connection to the door for its kind (ASGI)."""
    if scope["type"] == "websocket":
        await ws.endpoint(scope, receive, send)
    elif scope["type"] == "http" and gateway.serves(scope):
        flushing.start()
        await gateway.serve(scope, receive, send)
    elif scope["type"] == "http" and streams.is_stream(scope):
        flushing.start()
        await streams.serve(django_application, scope, receive, send)
    elif scope["type"] == "http" and prompts.is_ours(scope):
        flushing.start()
        await prompts.serve(django_application, scope, receive, send)
    elif scope["type"] == "http" and workflows.is_ours(scope):
        flushing.start()
        await workflows.serve(django_application, scope, receive, send)
    else:
        flushing.start()
        await django_application(scope, receive, send)
