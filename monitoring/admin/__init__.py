"""Monitoring in the console; each file registers its models on import."""

from monitoring.admin import alerts, channels, costs, rules, samples, silences

__all__ = ["alerts", "channels", "costs", "rules", "samples", "silences"]
