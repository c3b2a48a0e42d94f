"""The tables of monitoring, one file per noun; measurements may live in a database of their own (moolai/routers.py)."""

from monitoring.models.activity import Activity
from monitoring.models.alert import RANKS, Alert, Severity
from monitoring.models.channel import Channel
from monitoring.models.collection import Collection
from monitoring.models.delivery import Delivery
from monitoring.models.export import ExportChunk
from monitoring.models.request_metric import RequestMetric
from monitoring.models.rollup import ALL, MetricMark, MetricRollup
from monitoring.models.rule import EngineState, Holding, Rule
from monitoring.models.sample import NUMBERS, SystemMetric
from monitoring.models.silence import Silence

__all__ = [
    "ALL",
    "NUMBERS",
    "RANKS",
    "Activity",
    "Alert",
    "Channel",
    "Collection",
    "Delivery",
    "EngineState",
    "ExportChunk",
    "Holding",
    "MetricMark",
    "MetricRollup",
    "RequestMetric",
    "Rule",
    "Severity",
    "Silence",
    "SystemMetric",
]
