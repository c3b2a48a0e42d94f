"""Monitoring in the console; each file registers its models on import."""

from monitoring.admin import alerts, rules, samples, silences

__all__ = ["alerts", "rules", "samples", "silences"]
