"""What the database says of the whole installation, whichever process is asked; a part that fails is left out."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from llm_gateway.money import draining
from monitoring.metrics import collecting, latest
from monitoring.metrics.prometheus import samples, tasks
from monitoring.metrics.prometheus.gauges import counted, gauge
from monitoring.models import Alert, MetricMark, Severity
from orchestrators import database, nodes
from orchestrators.models import Instance, Job, Message, Node, Rollout
from orgs import leases

logger = logging.getLogger(__name__)
RATE_SECONDS: Final = 60
RUNS: Final = {"sweep": "sweep", "prune": "prune", "metrics": "collection", leases.BEAT: "beat"}  # lease → job


def families(*, now: datetime) -> Iterator[Metric]:
    """Yield every part that the database answers for, and which did."""
    parts: Mapping[str, Callable[[], Iterable[Metric]]] = {
        "fleet": partial(_fleet, now),
        "work": partial(_work, now),
        "tasks": partial(tasks.families, now=now),
        "collection": partial(_collection, now),
        "host": _host,
        "alerts": _alerts,
        "gateway": _gateway,
    }
    success = GaugeMetricFamily(
        "moolai_scrape_success", "Whether the database answered for this part of the scrape.", labels=["part"]
    )
    for name, read in parts.items():
        try:
            found = list(read())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the scrape lacks %s: %s", name, database.reason(error))
            found = []
            success.add_metric([name], 0)
        else:
            success.add_metric([name], 1)
        yield from found
    yield success


def _with_all(found: Mapping[tuple[str, ...], float], words: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Add a zero for each word that nothing has: a series that comes and goes cannot be alerted on."""
    return {(word,): 0.0 for word in words} | dict(found)


def _fleet(now: datetime) -> Iterator[Metric]:
    instances = Instance.objects.present()
    statuses = _with_all(counted(instances, "status"), Instance.Status.values)
    yield gauge("moolai_orchestrators", "Registered orchestrators by status.", ["status"], statuses)
    connected = float(Instance.objects.connected().count())
    yield gauge("moolai_orchestrators_connected", "Orchestrators with an open session.", [], {(): connected})
    sessions: dict[tuple[str, ...], float] = {}
    beats: dict[tuple[str, ...], float] = {}
    for row in Node.objects.filter(beat_at__gte=now - timedelta(seconds=nodes.DEAD_AFTER_SECONDS)):
        key = (f"{row.hostname}:{row.pid}",)
        sessions[key] = sessions.get(key, 0.0) + row.sessions
        beats[key] = beats.get(key, 0.0) + _rate(row.heartbeats, now)
    yield gauge("moolai_websocket_sessions", "Open sessions by the process that holds them.", ["node"], sessions)
    meaning = "Heartbeats a second over the last minute, by the process that took them."
    yield gauge("moolai_heartbeats_per_second", meaning, ["node"], beats)


def _rate(buckets: Sequence[Sequence[int]], now: datetime) -> float:
    """Return heartbeats a second of [epoch seconds, heartbeats] buckets over the last minute."""
    since = now.timestamp() - RATE_SECONDS
    return float(sum(count for start, count in buckets if start >= since)) / RATE_SECONDS


def _work(now: datetime) -> Iterator[Metric]:
    every = product(Message.Direction.values, Message.Status.values)
    messages = dict.fromkeys(every, 0.0) | counted(Message.objects.all(), "direction", "status")
    yield gauge("moolai_messages", "Messages that are kept, by status.", ["direction", "status"], messages)
    jobs = _with_all(counted(Job.objects.all(), "status"), Job.Status.values)
    yield gauge("moolai_jobs", "Jobs that are kept, by status.", ["status"], jobs)
    rollouts = _with_all(counted(Rollout.objects.all(), "status"), Rollout.Status.values)
    yield gauge("moolai_rollouts", "Rollouts of configuration, by status.", ["status"], rollouts)
    ran = leases.last_runs(list(RUNS))
    ages: dict[tuple[str, ...], float] = {
        (RUNS[name],): max(0.0, (now - at).total_seconds()) for name, (_, at) in ran.items()
    }
    yield gauge("moolai_background_age_seconds", "How long ago background work last ended.", ["work"], ages)


def _collection(now: datetime) -> Iterator[Metric]:
    status = collecting.status(None, now=now)
    if status["lag_seconds"] is not None:
        meaning = "How long the next collection of the host's measurements is overdue."
        yield gauge("moolai_metrics_collection_lag_seconds", meaning, [], {(): status["lag_seconds"]})
    for name, meaning in (
        ("records", "Collections that were stored."),
        ("failures", "Collections that failed."),
        ("missed", "Collections that the clock left out."),
    ):
        family = CounterMetricFamily(f"moolai_metrics_collection_{name}", meaning)
        family.add_metric([], status[name])
        yield family
    due = float(MetricMark.objects.filter(due_at__lte=now).count())
    yield gauge("moolai_metrics_rollups_due", "Marks of hours and days that wait to be rolled up.", [], {(): due})


def _host() -> Iterable[Metric]:
    found = [row for row in latest.rows([settings.DEFAULT_ORGANIZATION_ID]) if not row.orchestrator_id]
    return samples.families(found, prefix="moolai_host_", labels=())


def _alerts() -> Iterator[Metric]:
    """Yield the alerts that are not over and no parts of incidents, by severity and status; zeros among them."""
    open_ = [status for status in Alert.Status.values if status != Alert.Status.RESOLVED]
    found = counted(Alert.objects.unresolved().filter(parent=None), "severity", "status")
    every = dict.fromkeys(product(Severity.values, open_), 0.0) | found
    yield gauge("moolai_alerts", "Alerts that are not over, without parts of incidents.", ["severity", "status"], every)


def _gateway() -> Iterator[Metric]:
    waiting = float(draining.backlog(settings.JOURNAL_DIR))
    meaning = "Bytes of the journals of calls on this host that are not in the ledger yet."
    yield gauge("moolai_llm_journal_backlog_bytes", meaning, [], {(): waiting})
