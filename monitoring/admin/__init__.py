"""Monitoring in the console; each file registers its models on import."""

from monitoring.admin import samples

__all__ = ["samples"]
