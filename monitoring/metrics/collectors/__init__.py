"""Sources of measurements: one registered class each (docs/monitoring.md shows how to add one)."""

from monitoring.metrics.collectors import latencies, machine, queue
from monitoring.metrics.collectors.base import Collector, RateCollector, are_warm, read_all, register

__all__ = ["Collector", "RateCollector", "are_warm", "latencies", "machine", "queue", "read_all", "register"]
