"""Dashboards: live views of the fleet over `/ws` (PROTOCOL §2)."""
