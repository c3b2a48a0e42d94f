"""The console's pages of the fleet: orchestrators, messages, jobs, processes, and the organizations they belong to."""

from orchestrators.admin import instances, jobs, lists, messages, organizations, recommendations

__all__ = ["instances", "jobs", "lists", "messages", "organizations", "recommendations"]
