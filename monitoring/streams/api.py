"""HTTP doors of the streams (API §5): they decide who may watch what; `endpoint` then holds the line open.

The doors are views like all others, so that credentials, limits, narrowing, CORS and errors are the same. A server that
speaks no ASGI gets the first moment of the stream, and a client that asks again.
"""

from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from monitoring.dashboard.reaches import Credential
from monitoring.dashboard.topics import Scope
from monitoring.streams import ids, snapshots, wire
from monitoring.streams.plans import DEFAULT_WINDOW, WINDOWS, Plan, Stream
from monitoring.streams.seats import SEATS
from moolai.errors import AppError
from orgs import access, rest
from orgs.authentication import presented
from orgs.models import Organization
from orgs.operations import Parameter

SLOT = "moolai.stream"  # where the ASGI scope takes the plan
WHOSE = {"organization_id": Parameter("Only what is about this organization.")}


class Door(rest.View):
    """Opens one of the streams; only GET."""

    http_method_names = ["get"]
    stream: ClassVar[Stream]

    def open(self, request: Request, *, window: str = "") -> HttpResponse:
        """Answer with the stream, once the caller may see what it asks for and there is a seat."""
        plan = _plan(request, self.stream, window=window)
        slot = getattr(request._request, "scope", {}).get(SLOT)
        if slot is None:
            content = wire.retry() + b"".join(wire.body(frame) + b"\n" for frame in snapshots.read(plan))
        else:
            SEATS.take(plan.caller_id)
            slot.append(plan)
            content = b""
        return HttpResponse(content, content_type=wire.CONTENT_TYPE, headers=wire.HEADERS)


class Everything(Door):
    """`/api/v1/stream`."""

    stream = Stream.EVERYTHING

    @rest.operation(content_types=(wire.CONTENT_TYPE,), parameters=WHOSE)
    def get(self, request: Request) -> HttpResponse:
        """Follow what the caller may see, as server-sent events.

        `orchestrator_status`, `message`, `alert` and `system_metrics`: first everything as it is, then changes. Who
        sends the `Last-Event-ID` it has is told what it missed, or `resync` and everything anew. `end` says why a
        stream ends; a comment comes when nothing else did for 15 seconds.
        """
        return self.open(request)


class Health(Door):
    """`/api/v1/stream/system/health`."""

    stream = Stream.HEALTH

    @rest.operation(content_types=(wire.CONTENT_TYPE,))
    def get(self, request: Request) -> HttpResponse:
        """Follow the controller's health, as server-sent events: `system_health`, now and whenever it changes."""
        return self.open(request)


class Metrics(Door):
    """`/api/v1/stream/metrics/organization`."""

    stream = Stream.METRICS

    @rest.operation(
        content_types=(wire.CONTENT_TYPE,),
        parameters=WHOSE
        | {"time_window": Parameter("How far `history` goes back.", choices=tuple(WINDOWS), default=DEFAULT_WINDOW)},
    )
    def get(self, request: Request) -> HttpResponse:
        """Follow metrics, as server-sent events: `history` of a window, then `system_metrics` as samples arrive."""
        return self.open(request, window=self.query["time_window"])


def _plan(request: Request, stream: Stream, *, window: str) -> Plan:
    who, secret = access.caller(request), presented(request)
    cookie = request._request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    reach, scope = _scopes(request)
    last_event_id = request.headers.get("Last-Event-ID", "")
    if last_event_id and not ids.is_well_formed(last_event_id):
        raise AppError("invalid_parameter", "Last-Event-ID is no id of an event that was sent here.")
    return Plan(
        stream=stream,
        caller_id=who.caller_id,
        credential=Credential(secret or cookie, is_cookie=not secret),
        reach=reach,
        scope=scope,
        window=window,
        last_event_id=last_event_id,
        after=ids.read(last_event_id, ids.bound(stream, scope, window)) if last_event_id else None,
        request_id=getattr(request._request, "request_id", ""),
    )


def _scopes(request: Request) -> tuple[Scope, Scope]:
    """Return what the caller may see, and what of it was asked for; a foreign organization is 404."""
    wanted: Any = request.query_params.get("organization_id") or access.chosen(request)
    if wanted:
        access.check(request, wanted)
    rows = access.visible(request, Organization.objects.all(), field="pk")
    who = access.caller(request)
    reach = Scope(None) if who.is_superadmin else Scope(frozenset(rows.values_list("pk", flat=True)))
    return reach, Scope(frozenset({wanted})) if wanted else reach
