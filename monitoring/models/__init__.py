"""The tables of monitoring, one file per noun; measurements may live in a database of their own (moolai/routers.py)."""

from monitoring.models.activity import Activity
from monitoring.models.collection import Collection
from monitoring.models.request_metric import RequestMetric
from monitoring.models.rollup import ALL, MetricMark, MetricRollup
from monitoring.models.sample import NUMBERS, SystemMetric

__all__ = [
    "ALL",
    "NUMBERS",
    "Activity",
    "Collection",
    "MetricMark",
    "MetricRollup",
    "RequestMetric",
    "SystemMetric",
]
