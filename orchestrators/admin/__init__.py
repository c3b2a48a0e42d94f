"""The console's pages of the fleet: orchestrators, messages, processes, and the organizations they belong to."""

from orchestrators.admin import instances, lists, messages, organizations

__all__ = ["instances", "lists", "messages", "organizations"]
