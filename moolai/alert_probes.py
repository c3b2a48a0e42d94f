"""Probes of what the controller needs of others: the databases, Redis, Celery's worker and beat; and of budgets."""

from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from llm_gateway.money import budgets
from monitoring.alerts.probes import CONTROLLER, Moment, Reading, Source, Subject
from moolai import dependencies


def health_check_failures(moment: Moment) -> dict[Subject, Reading]:
    """Return how often in a row the worst of the checks failed, and which fail now.

    Redis is left out: it has an alert of its own.
    """
    celery = dependencies.celery(now=moment.now)
    checks = {
        "the database": dependencies.database().is_well,
        "the monitoring database": _monitoring_database(),
        "Celery's worker": celery.worker.word != "stale",
        "Celery's beat": celery.beat.word != "stale",
    }
    before = moment.memory.get("health", {})
    failures = {name: 0 if is_well else int(before.get(name, 0)) + 1 for name, is_well in checks.items()}
    moment.memory["health"] = failures
    failing = [name for name, number in failures.items() if number]
    detail = f"Not well: {', '.join(failing)}." if failing else ""
    return {CONTROLLER: Reading(float(max(failures.values())), detail)}


def _monitoring_database() -> bool:
    if "monitoring" not in settings.DATABASES:
        return True
    try:
        with connections["monitoring"].cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return False
    return True


def redis_disconnected(moment: Moment) -> dict[Subject, float]:
    """Return 1 while Redis does not answer; nothing where there is no REDIS_URL."""
    if not settings.REDIS_URL:
        return {}
    return {CONTROLLER: 0.0 if dependencies.redis_server().is_well else 1.0}


def budget_used_percent(moment: Moment) -> dict[Subject, Reading]:
    """Return how much of its budget each organization has spent in the window that runs, where it has one.

    What processes hold for calls under way is not spent yet.
    """
    return {
        (name, ""): Reading(spent * 100 / budget, f"${spent / 1e6:,.2f} of ${budget / 1e6:,.2f} are spent.")
        for name, (spent, budget) in budgets.used(now=moment.now).items()
        if budget
    }


SOURCES: Final = {
    "budget_used_percent": Source(budget_used_percent, is_timeless=True),
    "health_check_failures": Source(health_check_failures),
    "redis_disconnected": Source(redis_disconnected, is_timeless=True),
}
