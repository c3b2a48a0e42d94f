"""The rules a new installation has. A person may change or disable each; what a person changed is never overwritten."""

from typing import Any, Final

from monitoring.models import Rule

CONTROLLER, ORGANIZATION, ORCHESTRATOR = Rule.Scope.CONTROLLER, Rule.Scope.ORGANIZATION, Rule.Scope.ORCHESTRATOR
MINUTE: Final = 60

# key (its part before the dot is the type), title, metric, comparison, threshold, severity, scope, for how long
_ROWS: Final = (
    ("health_check.warning", "A health check fails", "health_check_failures", ">=", 2, "warning", CONTROLLER, 0),
    ("health_check.critical", "A health check fails", "health_check_failures", ">=", 3, "critical", CONTROLLER, 0),
    ("redis_disconnected", "Redis does not answer", "redis_disconnected", ">=", 1, "critical", CONTROLLER, 0),
    ("response_time.warning", "Responses are slow", "response_time_ms", ">=", 1000, "warning", CONTROLLER, MINUTE),
    ("response_time.error", "Responses are slow", "response_time_ms", ">=", 3000, "error", CONTROLLER, MINUTE),
    ("error_rate.warning", "Requests fail", "error_rate_percent", ">=", 1, "warning", CONTROLLER, MINUTE),
    ("error_rate.error", "Requests fail", "error_rate_percent", ">=", 5, "error", CONTROLLER, MINUTE),
    ("cpu.warning", "The CPU is busy", "cpu_usage_percent", ">=", 70, "warning", ORCHESTRATOR, MINUTE),
    ("cpu.error", "The CPU is busy", "cpu_usage_percent", ">=", 90, "error", ORCHESTRATOR, MINUTE),
    ("memory.warning", "The memory is nearly full", "memory_percent", ">=", 80, "warning", ORCHESTRATOR, MINUTE),
    ("memory.error", "The memory is nearly full", "memory_percent", ">=", 95, "error", ORCHESTRATOR, MINUTE),
    ("disk.error", "The disk is nearly full", "storage_percent", ">=", 90, "error", ORCHESTRATOR, 0),
    ("host_cpu.warning", "The CPU is busy", "cpu_usage_percent", ">=", 70, "warning", CONTROLLER, MINUTE),
    ("host_cpu.error", "The CPU is busy", "cpu_usage_percent", ">=", 90, "error", CONTROLLER, MINUTE),
    ("host_memory.warning", "The memory is nearly full", "memory_percent", ">=", 80, "warning", CONTROLLER, MINUTE),
    ("host_memory.error", "The memory is nearly full", "memory_percent", ">=", 95, "error", CONTROLLER, MINUTE),
    ("host_disk.error", "The disk is nearly full", "storage_percent", ">=", 90, "error", CONTROLLER, 0),
    ("queue_pending.warning", "Tasks pile up", "queue_pending", ">=", 50, "warning", CONTROLLER, 0),
    ("queue_pending.error", "Tasks pile up", "queue_pending", ">=", 100, "error", CONTROLLER, 0),
    ("queue_processing.warning", "Many tasks run at once", "queue_processing", ">=", 20, "warning", CONTROLLER, 0),
    ("queue_processing.error", "Many tasks run at once", "queue_processing", ">=", 50, "error", CONTROLLER, 0),
    ("queue_age.warning", "Tasks wait long to be taken", "queue_oldest_seconds", ">=", 900, "warning", CONTROLLER, 0),
    ("queue_age.error", "Tasks wait long to be taken", "queue_oldest_seconds", ">=", 3600, "error", CONTROLLER, 0),
    ("task_late", "Tasks are late", "tasks_late", ">=", 1, "error", ORGANIZATION, 0),
    ("task_dead", "Tasks failed for good", "tasks_dead_per_hour", ">=", 1, "error", ORGANIZATION, 0),
    ("rate_limit.warning", "Rate limits are hit", "rate_limit_hits_per_hour", ">=", 100, "warning", CONTROLLER, 0),
    ("rate_limit.error", "Rate limits are hit", "rate_limit_hits_per_hour", ">=", 500, "error", CONTROLLER, 0),
    ("authentication.warning", "Credentials are refused", "failed_authentications_per_hour", ">=", 50, "warning",
     CONTROLLER, 0),
    ("authentication.error", "Credentials are refused", "failed_authentications_per_hour", ">=", 200, "error",
     CONTROLLER, 0),
    ("orchestrator_inactive", "No heartbeat", "orchestrator_inactive", ">=", 1, "error", ORCHESTRATOR, 0),
    ("fleet_offline", "The fleet went dark", "fleet_dark_percent", ">=", 20, "critical", ORGANIZATION, 0),
    ("organization_empty", "No orchestrator is left", "orchestrators_left", "<", 1, "critical", ORGANIZATION, 0),
    ("config_failed", "The configuration was refused", "config_failed", ">=", 1, "error", ORCHESTRATOR, 0),
    ("rollout_halted", "A rollout was halted", "rollout_halted", ">=", 1, "error", ORGANIZATION, 0),
    ("duplicate_instance", "Two processes use one orchestrator id", "duplicate_instances_per_10min", ">=", 2,
     "warning", ORCHESTRATOR, 0),
    ("process_crashed", "A process of the controller crashed", "process_crashes_per_10min", ">=", 1, "error",
     CONTROLLER, 0),
    ("process_restarting", "Processes of the controller restart", "process_starts_per_10min", ">", 5, "error",
     CONTROLLER, 0),
    ("budget.warning", "The budget is nearly spent", "budget_used_percent", ">=", 80, "warning", ORGANIZATION, 0),
    ("budget.error", "The budget is spent", "budget_used_percent", ">=", 100, "error", ORGANIZATION, 0),
    ("token_flood", "One address tries many credentials", "refused_credentials_per_address", ">=", 100, "critical",
     CONTROLLER, 0),
    ("cross_origin", "Calls from foreign origins are refused", "cross_origin_refusals_per_10min", ">=", 20, "error",
     CONTROLLER, 0),
    ("detector_late", "Alerts were not watched", "detector_lateness_seconds", ">", 60, "warning", CONTROLLER, 0),
)  # fmt: skip
FIELDS: Final = (
    "alert_type", "title", "metric", "comparison", "threshold", "for_seconds", "consecutive", "severity", "scope",
    "is_enabled",
)  # fmt: skip


def _columns(row: tuple[Any, ...]) -> dict[str, Any]:
    key, title, metric, comparison, threshold, severity, scope, for_seconds = row
    return {
        "rule_key": key, "alert_type": key.partition(".")[0], "title": title, "metric": metric,
        "comparison": comparison, "threshold": float(threshold), "for_seconds": for_seconds, "consecutive": 1,
        "severity": severity, "scope": str(scope), "is_enabled": True,
    }  # fmt: skip


RULES: Final[dict[str, dict[str, Any]]] = {row[0]: _columns(row) for row in _ROWS}


def seed() -> None:
    """Make the default rules that are missing, and bring those that nobody changed up to this version's."""
    found = {row.rule_key: row for row in Rule.objects.filter(organization_id="", rule_key__in=RULES)}
    missing = [Rule(**columns) for key, columns in RULES.items() if key not in found]
    Rule.objects.bulk_create(missing, ignore_conflicts=True)
    for key, row in found.items():
        wanted = {name: RULES[key][name] for name in FIELDS}
        if not row.is_changed and any(getattr(row, name) != value for name, value in wanted.items()):
            Rule.objects.filter(pk=row.pk, is_changed=False).update(**wanted)
