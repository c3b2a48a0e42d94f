"""The probes of monitoring's own rooms: the fleet's rows, its events, and the newest metric samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from django.conf import settings
from django.db.models import Count, Max, Q

from monitoring.alerts import engine
from monitoring.alerts.probes import CONTROLLER, Moment, Probe, Reading, Source, Subject
from monitoring.models import SystemMetric
from orchestrators.models import Instance, Rollout
from orchestrators.presence import MANAGED
from orgs import counters
from orgs.models import Organization

CHUNK: Final = 5000
TEN_MINUTES: Final = 600.0
HOUR: Final = 3600.0
COLUMNS: Final = ("cpu_usage_percent", "memory_percent", "storage_percent")
OPEN: Final = Organization.open_at("organization__")
Values = Mapping[Subject, float | Reading]


# --- the fleet --------------------------------------------------------------------------------------------------------


def inactive(moment: Moment) -> Values:
    """Return 1 for each managed orchestrator that was declared inactive and still is; a goodbye is none."""
    rows = Q(MANAGED, OPEN, status=Instance.Status.INACTIVE, deadline_at__isnull=False)
    found = _still(moment, "orchestrator_inactive", "orchestrator.inactive", rows, column="last_seen")
    return {subject: Reading(1.0, f"Last heard of at {at:%Y-%m-%d %H:%M:%S} UTC.") for subject, at in found.items()}


def config_failed(moment: Moment) -> Values:
    """Return 1 for each orchestrator that refused its configuration and took none since, with its words."""
    rows = Q(config_status=Instance.ConfigStatus.FAILED)
    found = _still(moment, "config_failed", "config.failed", rows, column="config_error")
    return {subject: Reading(1.0, error) for subject, error in found.items()}


def _still(moment: Moment, metric: str, kind: str, condition: Q, *, column: str) -> dict[Subject, Any]:
    """Return those of new events and of open alerts that the condition holds for now, with one of their columns."""
    names = {event.orchestrator_id for event in moment.told(kind)}
    names |= {orchestrator_id for _, orchestrator_id in moment.suspects.get(metric, ())}
    ids, found = sorted(names), {}
    for start in range(0, len(ids), CHUNK):
        rows = Instance.objects.present().filter(condition, orchestrator_id__in=ids[start : start + CHUNK])
        for organization_id, orchestrator_id, value in rows.values_list("organization_id", "orchestrator_id", column):
            found[organization_id, orchestrator_id] = value
    return found


def rollouts_halted(moment: Moment) -> Values:
    """Return 1 for each organization whose newest rollout was halted."""
    names = {event.organization_id for event in moment.told("rollout.halted")}
    names |= {organization_id for organization_id, _ in moment.suspects.get("rollout_halted", ())}
    if not names:
        return {}
    newest = Rollout.objects.filter(organization__in=names).order_by().values("organization").annotate(last=Max("pk"))
    halted = Rollout.objects.filter(pk__in=[row["last"] for row in newest], status=Rollout.Status.HALTED)
    return {(row.organization_id, ""): Reading(1.0, row.reason) for row in halted.only("organization_id", "reason")}


def left(moment: Moment) -> Values:
    """Return how many managed orchestrators live in each organization where one went dark.

    Who never came, said goodbye or is on its own does not count as gone dark.
    """
    dark = Q(MANAGED, status=Instance.Status.INACTIVE, deadline_at__isnull=False)
    rows = Instance.objects.present().filter(OPEN).order_by().values("organization_id")
    counted = rows.annotate(gone=Count("pk", filter=dark), living=Count("pk", filter=~Q(status="inactive")))
    return {
        (row["organization_id"], ""): Reading(float(row["living"]), f"{row['gone']} went dark, {row['living']} live.")
        for row in counted.filter(gone__gt=0)
    }


def duplicates(moment: Moment) -> Values:
    """Return how often a second process was refused under an orchestrator's id within ten minutes."""
    found = counters.by_subject("session.duplicate_instance", seconds=TEN_MINUTES, now=moment.now)
    return {_subject(name): float(number) for name, number in found.items() if "/" in name}


def _subject(name: str) -> Subject:
    organization_id, _, orchestrator_id = name.partition("/")
    return organization_id, orchestrator_id


# --- the controller's processes ---------------------------------------------------------------------------------------


def crashes(moment: Moment) -> Values:
    """Return how many processes ended without a goodbye within ten minutes."""
    names = _remembered(moment, "process.crashed")
    return {
        CONTROLLER: Reading(float(len(names)), f"Ended without a goodbye: {', '.join(names[:5])}." if names else "")
    }


def starts(moment: Moment) -> Values:
    """Return how often processes started on one host within ten minutes, of the host where it was most often."""
    hosts = Counter(name.partition(":")[0] for name in _remembered(moment, "process.started"))
    [(host, number)] = hosts.most_common(1) or [("", 0)]
    return {CONTROLLER: Reading(float(number), f"{number} starts on {host} within ten minutes." if host else "")}


def _remembered(moment: Moment, kind: str) -> list[str]:
    """Keep in the engine's memory which nodes an event of the last ten minutes named; return their names."""
    since = moment.now.timestamp() - TEN_MINUTES
    kept = [[at, name] for at, name in moment.memory.get(kind, []) if at > since]
    told = [event for event in moment.told(kind) if event.created_at.timestamp() > since]
    fresh = [[event.created_at.timestamp(), str(event.data.get("node", ""))] for event in told]
    moment.memory[kind] = [*kept, *fresh][-200:]
    return [name for _, name in moment.memory[kind]]


# --- refusals, counted by orgs/counters.py ----------------------------------------------------------------------------


def total(name: str, *, seconds: float) -> Probe:
    """Return a probe of how often something was counted within so many seconds."""
    return lambda moment: {CONTROLLER: float(sum(counters.by_subject(name, seconds=seconds, now=moment.now).values()))}


def flood(moment: Moment) -> Values:
    """Return how many credentials were refused from one address within ten minutes, of the worst address."""
    found = Counter(counters.by_subject("credential.refused", seconds=TEN_MINUTES, now=moment.now))
    found.pop(counters.OTHERS, None)
    [(address, number)] = found.most_common(1) or [("", 0)]
    return {CONTROLLER: Reading(float(number), f"{number} refused from {address}." if address else "")}


# --- metric samples ---------------------------------------------------------------------------------------------------


def sample(column: str) -> Probe:
    """Return a probe of a column of the newest samples, with their times; one that is not fresh says nothing."""
    place = COLUMNS.index(column)

    def read(moment: Moment) -> Values:
        found = ((subject, at, values[place]) for subject, (at, *values) in _samples(moment).items())
        return {subject: Reading(value, at=at) for subject, at, value in found if value is not None}

    return read


def fresh() -> timedelta:
    """Return how old a sample may be to say how things are: two intervals and a half, so that one may get lost."""
    return timedelta(seconds=max(60.0, 2.5 * settings.METRICS_COLLECTION_INTERVAL))


def _samples(moment: Moment) -> Mapping[Subject, Sequence[Any]]:
    """Return time and values of COLUMNS of the newest samples; one without an orchestrator is of the own host."""
    if "samples" not in moment.cache:
        since = moment.now - fresh()
        organizations = list(Organization.objects.values_list("pk", flat=True))  # the index begins with it
        rows = SystemMetric.objects.filter(
            organization_id__in=organizations, timestamp__gte=since, timestamp__lte=moment.now
        ).order_by("timestamp")
        moment.cache["samples"] = {
            (organization_id, orchestrator_id) if orchestrator_id else CONTROLLER: values
            for organization_id, orchestrator_id, *values in rows.values_list(
                "organization_id", "orchestrator_id", "timestamp", *COLUMNS
            )
        }
    return cast(Mapping[Subject, Sequence[Any]], moment.cache["samples"])


SOURCES: Final = {
    "orchestrator_inactive": Source(inactive, is_timeless=True),
    "config_failed": Source(config_failed, is_timeless=True),
    "rollout_halted": Source(rollouts_halted, is_timeless=True),
    "orchestrators_left": Source(left),
    "duplicate_instances_per_10min": Source(duplicates, is_timeless=True),
    "process_crashes_per_10min": Source(crashes, is_timeless=True),
    "process_starts_per_10min": Source(starts, is_timeless=True),
    "rate_limit_hits_per_hour": Source(total("rate_limit.hit", seconds=HOUR), is_timeless=True),
    "failed_authentications_per_hour": Source(total("credential.refused", seconds=HOUR), is_timeless=True),
    "cross_origin_refusals_per_10min": Source(total("origin.refused", seconds=TEN_MINUTES), is_timeless=True),
    "refused_credentials_per_address": Source(flood, is_timeless=True),
    "detector_lateness_seconds": Source(engine.lateness, is_timeless=True),
    **{column: Source(sample(column), is_sampled=True) for column in COLUMNS},
}
