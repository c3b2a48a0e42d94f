"""The tables of monitoring, one file per noun; measurements may live in a database of their own (moolai/routers.py)."""

from monitoring.models.collection import Collection
from monitoring.models.rollup import ALL, MetricMark, MetricRollup
from monitoring.models.sample import NUMBERS, SystemMetric

__all__ = ["ALL", "NUMBERS", "Collection", "MetricMark", "MetricRollup", "SystemMetric"]
