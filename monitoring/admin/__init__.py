"""Monitoring in the console; each file registers its models on import."""

from monitoring.admin import alerts, channels, rules, samples, silences

__all__ = ["alerts", "channels", "rules", "samples", "silences"]
