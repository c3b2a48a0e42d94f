"""Metrics in Prometheus' exposition format: of the installation and of the web process that answers, for a scrape.

What one process counted carries the label `node`; everything else is read from the database, and is the same whichever
process is asked. No organization is named: what an organization's samples say is exported per organization.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitoring.metrics.prometheus import installation, process, samples
from monitoring.models import SystemMetric

__all__ = ["exposition", "of_samples"]


class _Families(Collector):
    """What a function yields, as a collector."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self.read()


def exposition(*, now: datetime, accept: str = "") -> tuple[bytes, str]:
    """Return everything there is to scrape, and its content type: OpenMetrics where `accept` asks for it, else text."""
    return _encoded([process.families, lambda: installation.families(now=now)], accept=accept)


def of_samples(rows: Iterable[SystemMetric], *, accept: str = "") -> tuple[bytes, str]:
    """Return samples as gauges, labelled with their organization and orchestrator, and the content type."""
    return _encoded([lambda: samples.families(rows)], accept=accept)


def _encoded(sources: Iterable[Callable[[], Iterable[Metric]]], *, accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry()
    for read in sources:
        registry.register(_Families(read))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
