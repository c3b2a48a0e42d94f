"""The console's pages of people, keys, the audit trail and events; organizations stand in `orchestrators.admin`."""

from orgs.admin import audit_trail, keys, memberships, networks, people, trail

__all__ = ["audit_trail", "keys", "memberships", "networks", "people", "trail"]
