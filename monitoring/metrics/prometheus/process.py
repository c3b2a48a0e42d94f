"""What this web process says of itself: the calls it answered since it began, and what it takes of the machine."""

import platform
from collections.abc import Iterator, Mapping
from typing import Final

import psutil
from django.conf import settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from monitoring.metrics import histogram, requests
from monitoring.metrics.prometheus import gateway
from monitoring.metrics.requests import Numbers, Series
from orchestrators import nodes

# Powers of two in milliseconds are bounds of the histogram, so these counts are exact.
BOUNDS_MS: Final = tuple(2**power for power in range(15))
_PLACES: Final = {bound: histogram.BOUNDS.index(float(bound)) for bound in BOUNDS_MS}


def families() -> Iterator[Metric]:
    """Yield the build, the calls and the process."""
    build = GaugeMetricFamily("moolai_build_info", "What runs here.", labels=["version", "python"])
    build.add_metric([settings.VERSION, platform.python_version()], 1)
    yield build
    yield from _calls(requests.RECORDER.totals())
    lost = CounterMetricFamily(
        "moolai_request_metrics_lost", "Calls not stored: the database was away for too long.", labels=["node"]
    )
    lost.add_metric([nodes.process()], requests.RECORDER.lost)
    yield lost
    yield from gateway.families()
    yield from _resources()


def _calls(totals: Mapping[Series, Numbers]) -> Iterator[Metric]:
    counter = CounterMetricFamily(
        "moolai_http_requests", "Calls answered.", labels=["node", "route", "method", "status_class"]
    )
    duration = HistogramMetricFamily(
        "moolai_http_request_duration_seconds", "How long they took.", labels=["node", "route", "method"]
    )
    merged: dict[tuple[str, str], Numbers] = {}
    for series in sorted(totals):
        numbers = totals[series]
        counter.add_metric([nodes.process(), *series], numbers.count)
        together = merged.setdefault((series.route, series.method), Numbers())
        together.sum_ms += numbers.sum_ms
        histogram.merge(together.buckets, numbers.buckets)
    for (route, method), numbers in merged.items():
        duration.add_metric(
            [nodes.process(), route, method], cumulative(numbers.buckets), sum_value=numbers.sum_ms / 1000
        )
    yield counter
    yield duration


def cumulative(counts: Mapping[int, int]) -> list[tuple[str, float]]:
    """Return a histogram of milliseconds as Prometheus has it: (upper bound in seconds, how many are below)."""
    below = [
        (str(bound / 1000), float(sum(count for index, count in counts.items() if index <= _PLACES[bound])))
        for bound in BOUNDS_MS
    ]
    return [*below, ("+Inf", float(sum(counts.values())))]


def _resources() -> Iterator[Metric]:
    me = psutil.Process()
    with me.oneshot():
        times, memory = me.cpu_times(), me.memory_info().rss
        threads, started = me.num_threads(), me.create_time()
        descriptors = me.num_fds() if hasattr(me, "num_fds") else None
    cpu = CounterMetricFamily(
        "moolai_process_cpu_seconds", "Processor time of the web process, user and system.", labels=["node"]
    )
    cpu.add_metric([nodes.process()], times.user + times.system)
    yield cpu
    gauges = {
        "resident_memory_bytes": ("Memory the web process holds.", memory),
        "threads": ("Its threads.", threads),
        "open_fds": ("Its open file descriptors.", descriptors),
        "start_time_seconds": ("When it began, in seconds since 1970.", started),
    }
    for name, (meaning, value) in gauges.items():
        if value is not None:
            gauge = GaugeMetricFamily(f"moolai_process_{name}", meaning, labels=["node"])
            gauge.add_metric([nodes.process()], value)
            yield gauge
