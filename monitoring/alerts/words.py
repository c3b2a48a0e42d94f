"""What rules compare, in words for people: names and units of metrics, and conditions as sentences. Pure."""

from typing import Final

from monitoring.models import Rule

# metric → (what it is called, what follows its number)
METRICS: Final = {
    "budget_used_percent": ("Budget used", " %"),
    "config_failed": ("Refused configurations", ""),
    "cpu_usage_percent": ("CPU usage", " %"),
    "cross_origin_refusals_per_10min": ("Refused calls from foreign origins", " in 10 minutes"),
    "detector_lateness_seconds": ("Lateness of the alert watch", " s"),
    "duplicate_instances_per_10min": ("Processes with the same orchestrator id", " in 10 minutes"),
    "error_rate_percent": ("Share of requests that failed", " %"),
    "failed_authentications_per_hour": ("Refused credentials", " in an hour"),
    "fleet_dark_percent": ("Share of orchestrators without a heartbeat", " %"),
    "health_check_failures": ("Failed health checks in a row", ""),
    "memory_percent": ("Memory usage", " %"),
    "orchestrator_inactive": ("Orchestrators without a heartbeat", ""),
    "orchestrators_left": ("Orchestrators left", ""),
    "process_crashes_per_10min": ("Crashed processes", " in 10 minutes"),
    "process_starts_per_10min": ("Started processes", " in 10 minutes"),
    "queue_oldest_seconds": ("How long the oldest task waits", " s"),
    "queue_pending": ("Waiting tasks", ""),
    "queue_processing": ("Running tasks", ""),
    "rate_limit_hits_per_hour": ("Calls over a rate limit", " in an hour"),
    "redis_disconnected": ("Redis connections lost", ""),
    "refused_credentials_per_address": ("Refused credentials of one address", ""),
    "response_time_ms": ("Time to answer", " ms"),
    "rollout_halted": ("Halted rollouts", ""),
    "storage_percent": ("Disk usage", " %"),
    "tasks_dead_per_hour": ("Tasks that failed for good", " in an hour"),
    "tasks_late": ("Tasks that missed their target", ""),
}
MEASURED: Final = (" %", " s", " ms")  # one amount of something; the others count many things
COMPARISONS: Final = {
    Rule.Comparison.ABOVE: "above",
    Rule.Comparison.AT_LEAST: "at or above",
    Rule.Comparison.BELOW: "below",
    Rule.Comparison.AT_MOST: "at or below",
}


def metric(name: str) -> str:
    """Return what a metric is called; its own name where it has no other."""
    return METRICS.get(name, (name, ""))[0]


def amount(name: str, value: float) -> str:
    """Return a value of a metric with its unit."""
    return number(value) + METRICS.get(name, ("", ""))[1]


def number(value: float) -> str:
    """Return a number with no more than one decimal, or three below one."""
    rounded = round(value, 1 if abs(value) >= 1 else 3)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def limit(rule: Rule) -> str:
    """Return the comparison of a rule: “at or above 70 %”."""
    return f"{COMPARISONS[Rule.Comparison(rule.comparison)]} {amount(rule.metric, rule.threshold)}"


def finding(rule: Rule, value: float) -> str:
    """Return how a number stands to its rule, as in “CPU usage is 75 %; the alert fires at or above 70 %”."""
    is_one = METRICS.get(rule.metric, ("", ""))[1] in MEASURED
    return (
        f"{metric(rule.metric)}{' is' if is_one else ':'} {amount(rule.metric, value)}; the alert fires {limit(rule)}."
    )
