"""The tables of monitoring, one file per noun; measurements may live in a database of their own (moolai/routers.py)."""

from monitoring.models.sample import NUMBERS, SystemMetric

__all__ = ["NUMBERS", "SystemMetric"]
