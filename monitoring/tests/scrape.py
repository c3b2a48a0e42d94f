"""An installation in which every metric has a value, and what a scrape of it says."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import requests, storage
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import NUMBERS, Collection, SystemMetric
from orchestrators import instances, messages
from orchestrators.models import Instance, Node
from orchestrators.work import board
from orgs import leases
from orgs.models import Organization

PATH = "/metrics"


def fill(now: datetime, *, organization_id: str) -> None:
    """Make a row of everything that is counted, in an organization that is there."""
    organization = Organization.objects.get(pk=organization_id)
    instances.create("orch-1", organization=organization, acting_user=None)
    instances.create("orch-2", organization=organization, acting_user=None)
    Instance.objects.filter(orchestrator_id="orch-1").update(status="active", is_connected=True)
    messages.queue("orch-1", message_type="note", content={}, acting_user=None)
    done = board.create(organization, task_type="bugfix", payload={}, priority="P2", acting_user=None)
    board.set_status(done, "completed", acting_user=None)
    board.create(organization, task_type="bugfix", payload={}, priority="P1", acting_user=None)
    beats = [[int(now.timestamp()) - 10, 30], [int(now.timestamp()) - 5, 30], [int(now.timestamp()) - 300, 9000]]
    Node.objects.create(
        node_id="web:7:abc", hostname="web", pid=7, started_at=now, beat_at=now, sessions=3, heartbeats=beats
    )
    Collection.objects.create(organization_id=organization_id, last_run_at=now, scheduled_at=now, records=5, failures=1)
    for name in ("sweep", "prune", "metrics", leases.BEAT):
        leases.note(name, holder="worker", now=now)
    sample(now, organization_id=organization_id)


def sample(now: datetime, *, organization_id: str, orchestrator_id: str = "", value: float = 50.0) -> SystemMetric:
    """Store a sample with `value` in every column."""
    row = SystemMetric(
        metric_id=f"{organization_id}-{orchestrator_id}-{now.timestamp()}"[-32:],
        organization_id=organization_id,
        orchestrator_id=orchestrator_id,
        timestamp=now,
        collected_by="scheduler",
        **dict.fromkeys(NUMBERS, value),
    )
    storage.insert([row])
    return row


def counted(monkeypatch: Any) -> Recorder:
    """Put an empty recorder in the place of this process's, with one call in it."""
    recorder = Recorder()
    monkeypatch.setattr(requests, "RECORDER", recorder)
    recorder.record(Series("/healthz", "GET", "2xx"), status=200, organization_id="", elapsed_ms=3.0)
    return recorder


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return {(name, labels): value} as Prometheus' own parser reads it."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def labels(text: str) -> dict[str, set[str]]:
    """Return {name of a series: the names of its labels}."""
    found: dict[str, set[str]] = {}
    for name, pairs in values(text):
        found.setdefault(name, set()).update(key for key, _ in pairs)
    return found


def now() -> datetime:
    """Return the time of the test."""
    return timezone.now()
