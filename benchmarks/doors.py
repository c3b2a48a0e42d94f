"""Every door that reads measurements, called through Django's test client: statements, their time, the whole call.

What other work on the machine adds, varies: of each figure the least of the rounds counts.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.test import Client

from monitoring.dashboard.snapshots import SNAPSHOTS
from monitoring.dashboard.topics import Scope
from monitoring.models import Activity, Alert, RequestMetric
from monitoring.tests.calls import with_hours_and_days
from orchestrators.models import Instance
from orgs import keys
from orgs.models import Organization, User

ROUNDS = 20
TOKEN = "a-superadmin-token-for-the-benchmark"
ROUTES = [f"/api/v1/route-{number}" for number in range(12)]
ALERTS, OPEN, ACTIVITIES, MINUTES = 20_000, 300, 50_000, 25 * 60
SYSTEM, PERFORMANCE = "/api/v1/system", "/v1/performance"
ONE = [  # read by a member of one organization, and by the superadmin for all where that can be asked
    f"{SYSTEM}/metrics", *(f"{SYSTEM}/metrics/summary/{kind}?hours_back=24" for kind in ("cpu", "memory", "storage")),
    f"{SYSTEM}/metrics/summary/storage?hours_back=1", f"{SYSTEM}/metrics/summary/storage?hours_back=168",
    f"{SYSTEM}/status/collection", f"{SYSTEM}/alerts", f"{PERFORMANCE}/health", f"{PERFORMANCE}/metrics/current",
    *(f"{PERFORMANCE}/metrics/history?hours_back={hours}" for hours in (1, 24, 168)),
    *(f"{PERFORMANCE}/metrics/summary?hours_back={hours}" for hours in (1, 24, 168)),
    f"{PERFORMANCE}/alerts?status=open", f"{PERFORMANCE}/status", f"{PERFORMANCE}/activity/summary",
    "POST /v1/performance/optimize", "/export/metrics?format=prometheus", "/export/metrics?format=grafana",
    "/api/v1/stream", *(f"/api/v1/stream/metrics/organization?time_window={window}" for window in ("1h", "24h", "30d")),
]  # fmt: skip
ORGANIZATION = [
    f"{SYSTEM}/metrics/organization/org-1", f"{SYSTEM}/metrics/organization/org-1?page_size=50",
    f"{SYSTEM}/metrics/organization/org-1?hours_back=168",
    f"{SYSTEM}/metrics/organization/org-1/latest", f"{SYSTEM}/alerts/organization/org-1",
]  # fmt: skip
SUPERADMIN = [
    f"{SYSTEM}/health", "/metrics", "/api/v1/stream/system/health", "/api/v1/controller/overview",
]  # fmt: skip
CONSOLE = [
    "/admin/", "/admin/monitoring/systemmetric/", "/admin/monitoring/systemmetric/?p=2",
    "/admin/monitoring/systemmetric/?q=orch-1",
    *(
        "/admin/monitoring/systemmetric/series/?organization_id=org-1&orchestrator_id=orch-1"
        f"&columns=cpu_usage_percent,memory_percent&range={span}"
        for span in ("1h", "24h", "30d")
    ),
    "/admin/monitoring/alert/", "/admin/monitoring/alert/?state=all",
]  # fmt: skip


@dataclass(slots=True)
class Door:
    """What a call takes: statements, and the least of the rounds in ms: in statements, the slowest one, in all.

    `cpu_ms` is the processor time of PostgreSQL's process for it, which other work on the machine disturbs least.
    """

    name: str
    statements: int
    sql_ms: float
    slowest_ms: float
    call_ms: float
    cpu_ms: float
    kib: float


class _Watch:
    """Adds up what statements take, their rows read over included."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def __call__(self, execute: Callable[..., Any], statement: str, *rest: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(statement, *rest)
        finally:
            self.took.append((time.perf_counter() - started) * 1000)


def fill(now: datetime) -> None:
    """Make the organizations, their orchestrators, alerts, activities and a day of calls of our API."""
    names = [f"org-{number}" for number in range(5)]
    Organization.objects.bulk_create((Organization(pk=name, name=name) for name in names), ignore_conflicts=True)
    Instance.objects.bulk_create(
        Instance(orchestrator_id=f"orch-{number}", organization_id=names[number % 5]) for number in range(50)
    )
    _store(Alert, _alerts(now))
    _store(Activity, _activities(now))
    _store(RequestMetric, with_hours_and_days(_calls(now)))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _store(model: Any, rows: Iterator[Any]) -> None:
    while chunk := list(islice(rows, 2_000)):
        model.objects.bulk_create(chunk)


def _alerts(now: datetime) -> Iterator[Alert]:
    for number in range(ALERTS):
        at, is_open = now - timedelta(minutes=number), number < OPEN
        yield Alert(
            dedup_key=f"cpu:{number}", organization_id=f"org-{number % 5}", orchestrator_id=f"orch-{number % 50}",
            rule_key="cpu", alert_type="cpu", severity="warning", status="firing" if is_open else "resolved",
            title="Processors are busy", started_at=at, last_seen_at=at, resolved_at=None if is_open else at,
            timeline=[{"at": at.isoformat(), "what": "firing"}] * 4,
        )  # fmt: skip


def _activities(now: datetime) -> Iterator[Activity]:
    for number in range(ACTIVITIES):
        yield Activity(
            activity_id=f"act-{number}", organization_id=f"org-{number % 5}", user_id=f"user-{number % 997}",
            activity_type=Activity.Kind.values[number % 4], created_at=now - timedelta(seconds=12 * number),
        )  # fmt: skip


def _calls(now: datetime) -> Iterator[RequestMetric]:
    minute = now.replace(second=0, microsecond=0)
    for number in range(MINUTES * len(ROUTES) * 2):
        at, place = divmod(number, len(ROUTES) * 2)
        yield RequestMetric(
            node="node", minute_at=minute - timedelta(minutes=at), route=ROUTES[place // 2], method="GET",
            status_class=("2xx", "4xx")[place % 2], organization_id=f"org-{(at + place) % 5}", count=20, sum_ms=400,
            max_ms=90, buckets={str(140 + 3 * step): 4 for step in range(5)},
        )  # fmt: skip


def doors() -> Iterator[Door]:
    """Call every door, as who may, and every topic's snapshot, and yield what each takes."""
    settings.RATE_LIMITS = {"API": "10000000/minute"}
    settings.DEV_BEARER_TOKEN, settings.DEFAULT_ORGANIZATION_ID = TOKEN, "org-1"
    settings.ALLOWED_HOSTS = ["*"]
    _, secret = keys.create(Organization.objects.get(pk="org-1"), name="bench", acting_user=None, role="viewer")
    member, root, console = _client(secret), _client(TOKEN), Client()
    console.force_login(User.objects.create_superuser("bench", password=TOKEN))
    for client, who, paths in (
        (member, "one organization", ONE + ORGANIZATION), (root, "all", ONE + SUPERADMIN), (console, "console", CONSOLE)
    ):  # fmt: skip
        for path in paths:
            yield _measured(f"{path}, {who}", partial(_asked, client, path))
    for topic, read in SNAPSHOTS.items():
        for who, scope in (("one organization", Scope(frozenset({"org-1"}))), ("all", Scope(None))):
            yield _measured(f"/ws snapshot of {topic}, {who}", partial(_snapshot, read, scope))


def _client(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def _asked(client: Client, path: str) -> int:
    """Call a path, `POST` before it when it is no GET; return how many bytes came."""
    verb, _, rest = path.rpartition(" ")
    answer: Any = client.post(rest, {}, "application/json") if verb else client.get(rest)
    body = answer.getvalue() if answer.streaming else answer.content
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answers {answer.status_code}: {body[:300]!r}")
    return len(body)


def _snapshot(read: Callable[[Scope], list[Any]], scope: Scope) -> int:
    return len(orjson.dumps(read(scope)))


def _measured(name: str, ask: Callable[[], int]) -> Door:
    found = []
    for _ in range(ROUNDS):
        watch, spent = _Watch(), _backend_cpu_ms()
        with connection.execute_wrapper(watch):
            started = time.perf_counter()
            size = ask()
            whole = (time.perf_counter() - started) * 1000
        spent = _backend_cpu_ms() - spent
        found.append((sum(watch.took), max(watch.took, default=0.0), whole, spent, len(watch.took), size))
    sql, slowest, whole, cpu, statements, size = (min(column) for column in zip(*found, strict=True))
    return Door(name, int(statements), sql, slowest, whole, cpu, size / 1024)


def _backend_cpu_ms() -> float:
    """Return how long PostgreSQL's process of this connection has been on a processor; Linux says it to the ns."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def measured() -> list[dict[str, Any]]:
    """Return the doors as plain dicts."""
    return [asdict(door) for door in doors()]
