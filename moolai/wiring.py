"""What the apps export to each other, in one table: a new frame type, topic or kind of job has its line here."""

from datetime import datetime
from operator import attrgetter
from typing import Any

from llm_gateway import retention as old_calls
from llm_gateway import task_handlers as of_gateway
from llm_gateway.money import budgets, spending
from llm_gateway.prompts import retention as old_prompts
from llm_gateway.workflows import services as workflow_services
from monitoring import activities, frames, overview, work_activities
from monitoring.alerts import counts, probes, sources, traffic, work
from monitoring.alerts import outbox as alert_outbox
from monitoring.alerts import retention as old_alerts
from monitoring.analytics import api_calls, catalog, model_calls, performance, records, samples
from monitoring.approvals import telling
from monitoring.dashboard import alerts, feed, health
from monitoring.exports import files, making
from monitoring.metrics import retention as old_measurements
from monitoring.models import Alert
from moolai import alert_probes, dependencies
from moolai import wakeups as workers
from orchestrators import acks, bulk, configuration, hub, jobs, retention, wakeups
from orchestrators.configuration import rollouts, tracking
from orchestrators.hub import FrameHandler
from orchestrators.messages import inbox
from orchestrators.work import handlers as task_handlers
from orchestrators.work import reports, timeline
from orgs import events
from orgs import spending as limits

INBOUND = FrameHandler(inbox.check, inbox.store, attrgetter("weight"))

FRAME_HANDLERS = {
    "monitoring": FrameHandler(frames.check, frames.store, attrgetter("weight")),
    "recommendation": INBOUND,
    "message": INBOUND,
    "ack": FrameHandler(acks.check, acks.store, acks.weigh, stored=acks.stored),
    "task_result": FrameHandler(
        reports.check_result, reports.settle, attrgetter("weight"), stored=reports.settled, lost=reports.settled
    ),
    "task_progress": FrameHandler(reports.check_progress, reports.renew, attrgetter("weight"), lost=reports.settled),
    "config_status": FrameHandler(configuration.check, configuration.store),
}
JOB_HANDLERS: jobs.Handlers = {**bulk.HANDLERS, **making.HANDLERS}
TASK_HANDLERS: task_handlers.Handlers = {**of_gateway.TASK_HANDLERS}
TASK_CHECKS: task_handlers.Checks = {**of_gateway.TASK_CHECKS}  # looked at before a task is made
WORKERS_ONLY = {*of_gateway.WORKERS_ONLY}  # types that no orchestrator can do
TRACKED_JOBS = {tracking.KIND: rollouts.cancel_job}  # shown as jobs, done and cancelled by their own rooms

# What counts calls, tokens, costs and alerts for the overview: the gateway's ledger, and the alerts.
OVERVIEW_SOURCES: tuple[overview.Source, ...] = (spending.overview, counts.overview)
# Where the numbers come from that alert rules compare; a rule whose metric is not here waits for it.
ALERT_PROBES = {**sources.SOURCES, **traffic.SOURCES, **work.SOURCES, **alert_probes.SOURCES}
# What `controller/query` can be asked for.
QUERY_SOURCES: tuple[catalog.Source, ...] = (samples.SOURCE, api_calls.SOURCE, records.SOURCE, model_calls.SOURCE)
# Who counts calls by a dimension of their own.
PERFORMANCE_READERS: dict[str, tuple[str, performance.Reader]] = {"model": (model_calls.BASIS, model_calls.performance)}
# Who counts what people do, beside what clients report.
ACTIVITY_SOURCES: tuple[activities.Source, ...] = (work_activities.count,)


def connect() -> None:
    """Install the table; called once per process, when the apps are ready."""
    hub.install(FRAME_HANDLERS)
    health.install(dependencies.words)
    alerts.install(Alert.objects.all)
    activities.install(ACTIVITY_SOURCES)
    overview.install(OVERVIEW_SOURCES)
    catalog.install(QUERY_SOURCES)
    performance.install(PERFORMANCE_READERS)
    limits.install([budgets.of_keys])
    probes.install(ALERT_PROBES)
    jobs.install(JOB_HANDLERS)
    task_handlers.install(TASK_HANDLERS, checks=TASK_CHECKS, workers_only=WORKERS_ONLY)
    workflow_services.install(_workers)
    retention.install([old_measurements.rules, old_alerts.rules, old_calls.rules, old_prompts.rules, files.rules])
    jobs.on_wake(workers.jobs)
    task_handlers.on_wake(workers.tasks)
    for kind, cancels in TRACKED_JOBS.items():
        jobs.on_cancel(kind, cancels)
    alert_outbox.on_wake(workers.deliveries)
    timeline.on_note(telling.tell)
    events.on_wake(wakeups.publish)
    events.on_wake(feed.wake)


def _workers(now: datetime) -> dict[str, Any]:
    worker = dependencies.celery(now=now).worker
    return {"status": worker.word, "age_seconds": worker.age_seconds}
