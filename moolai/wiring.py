"""What the apps export to each other, in one table: a new frame type, topic or kind of job has its line here."""

from operator import attrgetter

from llm_gateway import retention as old_calls
from llm_gateway.money import budgets, spending
from monitoring import frames, overview
from monitoring.alerts import counts, probes, sources, traffic
from monitoring.alerts import outbox as alert_outbox
from monitoring.alerts import retention as old_alerts
from monitoring.analytics import api_calls, catalog, model_calls, performance, records, samples
from monitoring.dashboard import alerts, feed, health
from monitoring.exports import files, making
from monitoring.metrics import retention as old_measurements
from monitoring.models import Alert
from moolai import alert_probes, dependencies
from moolai import wakeups as workers
from orchestrators import bulk, configuration, hub, jobs, retention, wakeups
from orchestrators.configuration import rollouts, tracking
from orchestrators.hub import FrameHandler
from orchestrators.messages import inbox, outbox
from orgs import events
from orgs import spending as limits

INBOUND = FrameHandler(inbox.check, inbox.store, attrgetter("weight"))

FRAME_HANDLERS = {
    "monitoring": FrameHandler(frames.check, frames.store, attrgetter("weight")),
    "recommendation": INBOUND,
    "message": INBOUND,
    "ack": FrameHandler(outbox.check_ack, outbox.acknowledge),
    "config_status": FrameHandler(configuration.check, configuration.store),
}
JOB_HANDLERS: jobs.Handlers = {**bulk.HANDLERS, **making.HANDLERS}
TRACKED_JOBS = {tracking.KIND: rollouts.cancel_job}  # shown as jobs, done and cancelled by their own rooms

# What counts calls, tokens, costs and alerts for the overview: the gateway's ledger, and the alerts.
OVERVIEW_SOURCES: tuple[overview.Source, ...] = (spending.overview, counts.overview)
# Where the numbers come from that alert rules compare; a rule whose metric is not here waits for it.
ALERT_PROBES = {**sources.SOURCES, **traffic.SOURCES, **alert_probes.SOURCES}
# What `controller/query` can be asked for.
QUERY_SOURCES: tuple[catalog.Source, ...] = (samples.SOURCE, api_calls.SOURCE, records.SOURCE, model_calls.SOURCE)
# Who counts calls by a dimension of their own.
PERFORMANCE_READERS: dict[str, tuple[str, performance.Reader]] = {"model": (model_calls.BASIS, model_calls.performance)}


def connect() -> None:
    """Install the table; called once per process, when the apps are ready."""
    hub.install(FRAME_HANDLERS)
    health.install(dependencies.words)
    alerts.install(Alert.objects.all)
    overview.install(OVERVIEW_SOURCES)
    catalog.install(QUERY_SOURCES)
    performance.install(PERFORMANCE_READERS)
    limits.install([budgets.of_keys])
    probes.install(ALERT_PROBES)
    jobs.install(JOB_HANDLERS)
    retention.install([old_measurements.rules, old_alerts.rules, old_calls.rules, files.rules])
    jobs.on_wake(workers.jobs)
    for kind, cancels in TRACKED_JOBS.items():
        jobs.on_cancel(kind, cancels)
    alert_outbox.on_wake(workers.deliveries)
    events.on_wake(wakeups.publish)
    events.on_wake(feed.wake)
