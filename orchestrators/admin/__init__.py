"""The console's pages of the fleet: orchestrators, messages, configuration, jobs, processes, and organizations."""

from orchestrators.admin import (
    config_versions,
    instances,
    jobs,
    lists,
    messages,
    organizations,
    override_versions,
    recommendations,
    rollouts,
)

__all__ = [
    "config_versions",
    "instances",
    "jobs",
    "lists",
    "messages",
    "organizations",
    "override_versions",
    "recommendations",
    "rollouts",
]
