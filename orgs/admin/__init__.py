"""The console's pages of people, keys, the audit trail and events; organizations stand in `orchestrators.admin`."""

from orgs.admin import keys, people, trail

__all__ = ["keys", "people", "trail"]
