"""Guardrails: what an organization does not want to leave to a model, or to come back from one."""
