"""Is the controller alive, ready and healthy: the three public checks (API §7).

None of them changes anything, so a wrong method is told so (405) before a missing CSRF token is.
"""

import json
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from moolai import dependencies
from orchestrators.work import counts


@csrf_exempt
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process serves requests: asks nobody else."""
    return _spaced({"status": "alive"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database answers, too; else 503, so that a proxy sends traffic elsewhere."""
    if dependencies.database().is_well:
        return _spaced({"status": "ready"})
    return _spaced({"status": "not ready", "reason": "the database does not answer"}, status=503)


@csrf_exempt
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer the health of the controller; unhealthy (503) only when it cannot serve. Redis is optional always."""
    queue = _queue() if dependencies.database().is_well else None
    body: dict[str, Any] = {"status": "unhealthy" if queue is None else "healthy"}
    body["redis"] = dependencies.redis_server().word
    body |= {} if queue is None else {"queue_stats": queue}
    return _spaced(body, status=503 if queue is None else 200)


def _queue() -> dict[str, int] | None:
    """Return the queue's numbers, the last ones when they cannot be counted just now, None when they never were."""
    try:
        return counts.queue()
    except (DatabaseError, InterfaceError):
        return counts.newest()


def _spaced(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Serialise with a space after the colon: uptime checks match the text `"status": "healthy"`."""
    response = HttpResponse(json.dumps(body), content_type="application/json", status=status)
    response["Cache-Control"] = "no-store"
    if status == 503:
        response["Retry-After"] = "5"
    return response


@csrf_exempt
@require_safe
def root(request: HttpRequest) -> HttpResponse:
    """Send a browser to the console; tell a client that wants JSON where things are."""
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponse(status=302, headers={"Location": "/admin/"})
    return JsonResponse({"name": "moolai", "docs": "/api/docs/", "console": "/admin/"})
