"""Gauges out of numbers by labels. Pure, but for the one that counts rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Count
from prometheus_client.core import GaugeMetricFamily, Metric


def gauge(name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Return a gauge with a value per tuple of labels."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key in sorted(values):
        family.add_metric(key, values[key])
    return family


def counted(rows: Any, *names: str) -> dict[tuple[str, ...], float]:
    """Return how many rows there are of each combination of these columns."""
    found = rows.order_by().values_list(*names).annotate(number=Count("pk"))
    return {tuple(words): number for *words, number in found}
