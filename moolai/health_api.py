"""REST doors of the controller's health: for everybody, and in detail for superadmins (API §3, §4)."""

import time
from typing import Any, Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from moolai import dependencies, errors
from moolai.dependencies import Sign
from orchestrators import nodes
from orgs import access, rest
from orgs.authentication import Caller

WORDS: Final = ["healthy", "degraded", "unhealthy"]
CONNECTION: Final = ["connected", "disconnected", "embedded"]
LIFE: Final = ["running", "stale", "unknown"]
_started = time.monotonic()


class Dependencies(serializers.Serializer[Any]):
    """How what the controller needs is, in a word each."""

    database = serializers.ChoiceField(CONNECTION[:2])
    redis = serializers.ChoiceField(CONNECTION)
    celery = serializers.ChoiceField(LIFE)


class HealthRow(serializers.Serializer[Any]):
    """The controller's health; `version` and `uptime_seconds` only for callers with a credential."""

    status = serializers.ChoiceField(WORDS)
    dependencies = Dependencies()
    version = serializers.CharField(required=False)
    uptime_seconds = serializers.FloatField(required=False)


class Answered(serializers.Serializer[Any]):
    """A server that was asked."""

    status = serializers.ChoiceField(CONNECTION)
    latency_ms = serializers.FloatField(allow_null=True)


class LifeSign(serializers.Serializer[Any]):
    """A process's last sign of life."""

    status = serializers.ChoiceField(LIFE)
    age_seconds = serializers.FloatField(allow_null=True)
    process = serializers.CharField()


class CeleryRow(serializers.Serializer[Any]):
    """The background work."""

    status = serializers.ChoiceField(LIFE)
    worker = LifeSign()
    beat = LifeSign()


class NodeRow(serializers.Serializer[Any]):
    """A process that holds WebSocket sessions."""

    node = serializers.CharField()
    hostname = serializers.CharField()
    pid = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    beat_age_seconds = serializers.FloatField()
    is_alive = serializers.BooleanField()
    sessions = serializers.IntegerField()


class Sockets(serializers.Serializer[Any]):
    """The WebSocket sessions."""

    sessions = serializers.IntegerField()
    nodes = NodeRow(many=True)


class InternalHealthRow(serializers.Serializer[Any]):
    """The controller's health in detail."""

    status = serializers.ChoiceField(WORDS)
    version = serializers.CharField()
    uptime_seconds = serializers.FloatField()
    database = Answered()
    redis = Answered()
    celery = CeleryRow()
    websockets = Sockets()


class ControllerHealth(rest.View):
    """`/api/v1/controller/health`: public, but a credential that is sent has to be good."""

    rate = None
    permission_classes = ()
    who: Caller | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Find out who calls, if anybody says so; without a database nobody can be known."""
        try:
            APIView.initial(self, request, *args, **kwargs)
            self.who = request.user if isinstance(request.user, Caller) else None
        except (OperationalError, InterfaceError):
            request.user = None  # type: ignore[assignment]  # else the next look at it would ask the database again
        self.read_url(request, kwargs)

    @rest.operation(HealthRow, errors=("database_unavailable",))
    def get(self, request: Request) -> Response:
        """Answer the controller's health: unhealthy (503) without a database, degraded without Redis or Celery."""
        body = dependencies.words()
        if self.who is not None:
            body |= _process()
        return _answer(request, body)


class InternalHealth(rest.View):
    """`/api/v1/internal/health`."""

    rate = None

    @rest.operation(InternalHealthRow, errors=("database_unavailable",))
    def get(self, request: Request) -> Response:
        """Answer the controller's health in detail, with every process's last sign of life (superadmin)."""
        access.require_superadmin(request)
        now = timezone.now()
        found = dependencies.health(now=now)
        database, redis, celery = found.database, found.redis, found.celery
        body = {
            "status": found.word,
            **_process(),
            "database": {"status": database.word, "latency_ms": database.latency_ms},
            "redis": {"status": redis.word, "latency_ms": redis.latency_ms},
            "celery": {"status": celery.word, "worker": _life(celery.worker), "beat": _life(celery.beat)},
            "websockets": nodes.report(now=now) if database.is_well else {"sessions": 0, "nodes": []},
        }
        return _answer(request, InternalHealthRow(body).data)


def _process() -> dict[str, Any]:
    return {"version": settings.VERSION, "uptime_seconds": round(time.monotonic() - _started, 1)}


def _life(sign: Sign) -> dict[str, Any]:
    return {"status": sign.word, "age_seconds": sign.age_seconds, "process": sign.process}


def _answer(request: Request, data: dict[str, Any]) -> Response:
    """Wrap the answer; an unhealthy one is the error object, with `data` beside it."""
    response = rest.answer(data)
    if data["status"] == "unhealthy":
        code = "database_unavailable"
        status, detail = errors.CODES[code]
        request_id = getattr(request._request, "request_id", "")
        body = errors.body(code, detail, request_id=request_id) | {"data": data}
        response = Response(body, status=status, headers={"Retry-After": "5"})
    response["Cache-Control"] = "no-store"
    return response
