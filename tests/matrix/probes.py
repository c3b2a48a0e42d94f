"""What A's callers try in order to learn something of B: parameters and foreign names; and how answers compare."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from django.urls import resolve

from monitoring.models import Activity, SystemMetric
from orchestrators.models import Instance
from orgs import operations
from orgs.models import AuditEntry, Event, Organization, User
from orgs.operations import Parameter
from tests.matrix.place import NOWHERE, Place
from tests.matrix.rows import Row
from tests.matrix.stage import CANARY, Stage

MOVING: Final = {
    "timestamp",
    "request_id",
    "uptime_seconds",
    "start_date",
    "end_date",
    "since",
    "until",
    "lag_seconds",
    "measured_from",
    "kept_since",
    "oldest_waiting_seconds",
}  # the time of the call
TOTALS: Final = {"/health": "queue_stats", "/stats": "queue"}  # public, and over everybody (API §7)
CSRF_TOKEN: Final = re.compile(rb"[A-Za-z0-9]{64}")
MOMENT: Final = re.compile(rb'"(since|until)":"[^"]*"')  # in a stream's history
CHANGING: Final = ("X-Request-ID", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Set-Cookie", "Content-Length")
BY_KIND: Final = {
    "integer": ("1", "2", "1000", "0"),
    "boolean": ("true", "false"),
    "date-time": ("2020-01-01", "2100-01-01T00:00:00Z", "never"),
}


def urls(row: Row, stage: Stage) -> Iterator[str]:
    """Yield the row's path as it is and with each parameter its view takes, at values that reach for B."""
    path = stage.a.fill(row.path)
    yield path
    bare = path.partition("?")[0]
    view = getattr(resolve(bare).func, "view_class", None)
    described = operations.of(view, "get") if view else None
    for name, parameter in (described.parameters if described else {}).items():
        for text in _values(name, parameter, stage.b):
            yield f"{bare}?{name}={text}"
    for name in ("org", "organization", "filter[org]"):
        yield f"{bare}?{name}={stage.b.organization}"


def _values(name: str, parameter: Parameter, b: Place) -> tuple[str, ...]:
    if parameter.choices:
        return parameter.choices
    if name == "labels":  # a name or a pair; what is neither is refused with its own words in the answer
        return (f"{CANARY}={CANARY}", f"word={CANARY}", "word=none")
    names = (CANARY, b.organization, b.orchestrator, b.username, "a", "-id")
    return BY_KIND.get(parameter.kind, names)


def foreigners(row: Row, stage: Stage) -> Iterator[tuple[Place, Place]]:
    """Yield (foreign, unknown) pairs of names for the row: all of B's, and B's rows under A's own organization."""
    if "{" not in row.path and "{" not in str(row.body):
        return
    yield stage.b, NOWHERE
    yield replace(stage.b, organization=stage.a.organization), replace(NOWHERE, organization=stage.a.organization)


def essence(answer: Any) -> tuple[int, Any, dict[str, str]]:
    """Return what of an answer must not depend on B: status, body and headers, without what is new on each call."""
    try:
        body = json.loads(answer.content)
        if isinstance(body, dict):
            body.pop(TOTALS.get(answer.wsgi_request.path, ""), None)
    except ValueError:
        body = MOMENT.sub(b"", CSRF_TOKEN.sub(b"", answer.content))
    return answer.status_code, _lasting(body), {name: text for name, text in answer.items() if name not in CHANGING}


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(child) for name, child in value.items() if name not in MOVING}
    return [_lasting(child) for child in value] if isinstance(value, list) else value


def says_canary(answer: Any) -> bool:
    """Whether the canary is anywhere in the answer."""
    return CANARY.encode() in answer.content.lower() or CANARY in str(dict(answer.items())).lower()


def erase(place: Place) -> None:
    """Make as if the organization had never been."""
    home = {"organization_id": place.organization}
    for model in (SystemMetric, Activity, Event, AuditEntry, Instance):
        model._default_manager.filter(**home).delete()
    User.objects.filter(memberships__organization=place.organization).delete()
    Organization.objects.filter(pk=place.organization).delete()
