"""The console's pages of the fleet: orchestrators, messages, configuration, jobs, tasks, processes, organizations."""

from orchestrators.admin import (
    agents,
    approvals,
    config_versions,
    event_rules,
    instances,
    jobs,
    lists,
    messages,
    organizations,
    override_versions,
    recommendations,
    rollouts,
    routes,
    tasks,
)

__all__ = [
    "agents",
    "approvals",
    "config_versions",
    "event_rules",
    "instances",
    "jobs",
    "lists",
    "messages",
    "organizations",
    "override_versions",
    "recommendations",
    "rollouts",
    "routes",
    "tasks",
]
