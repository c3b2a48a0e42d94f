"""Columns of a sample as Prometheus names them, in base units: seconds, bytes, ratios. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from monitoring.models import SystemMetric

MEBI, GIBI, PERCENT, MILLI = 2.0**20, 2.0**30, 0.01, 0.001
# column → (name behind the prefix, meaning, what to multiply by)
COLUMNS: Final[dict[str, tuple[str, str, float]]] = {
    "cpu_usage_percent": ("cpu_usage_ratio", "Share of the processors' time in use.", PERCENT),
    "cpu_load_1min": ("load1", "Load average of one minute.", 1),
    "cpu_load_5min": ("load5", "Load average of five minutes.", 1),
    "cpu_load_15min": ("load15", "Load average of fifteen minutes.", 1),
    "cpu_cores_used": ("cpu_cores_used", "How many processors are in use.", 1),
    "memory_usage_mb": ("memory_used_bytes", "Memory in use.", MEBI),
    "memory_percent": ("memory_used_ratio", "Share of the memory in use.", PERCENT),
    "memory_available_mb": ("memory_available_bytes", "Memory that programs can have.", MEBI),
    "memory_total_mb": ("memory_size_bytes", "Memory there is.", MEBI),
    "swap_usage_mb": ("swap_used_bytes", "Swap in use.", MEBI),
    "swap_percent": ("swap_used_ratio", "Share of the swap in use.", PERCENT),
    "storage_usage_gb": ("storage_used_bytes", "Disk space in use.", GIBI),
    "storage_percent": ("storage_used_ratio", "Share of the disk space in use.", PERCENT),
    "storage_available_gb": ("storage_available_bytes", "Disk space that is free.", GIBI),
    "storage_total_gb": ("storage_size_bytes", "Disk space there is.", GIBI),
    "disk_read_mb_s": ("disk_read_bytes_per_second", "Read from disks.", MEBI),
    "disk_write_mb_s": ("disk_written_bytes_per_second", "Written to disks.", MEBI),
    "iops_read": ("disk_reads_per_second", "Read operations of disks.", 1),
    "iops_write": ("disk_writes_per_second", "Write operations of disks.", 1),
    "network_in_mb_s": ("network_received_bytes_per_second", "Received from networks.", MEBI),
    "network_out_mb_s": ("network_sent_bytes_per_second", "Sent to networks.", MEBI),
    "network_connections": ("network_connections", "Sockets of the Internet families.", 1),
    "api_latency_ms": ("api_latency_seconds", "How long a call of the API took.", MILLI),
    "db_latency_ms": ("database_latency_seconds", "How long the database took to answer.", MILLI),
    "redis_latency_ms": ("redis_latency_seconds", "How long Redis took to answer.", MILLI),
    "system_latency_ms": ("wakeup_latency_seconds", "How long a process waited for a processor.", MILLI),
    "process_count": ("processes", "Processes.", 1),
    "thread_count": ("threads", "Their threads.", 1),
    "file_descriptors": ("file_descriptors", "Open file descriptors.", 1),
    "collection_duration_ms": ("collection_duration_seconds", "How long measuring took.", MILLI),
}
IDENTITY: Final = ("organization_id", "orchestrator_id")


def families(
    rows: Iterable[SystemMetric], *, prefix: str = "moolai_sample_", labels: Sequence[str] = IDENTITY
) -> Iterator[Metric]:
    """Yield a gauge per column with a value per row, and when each was measured; unknown values are left out."""
    found = list(rows)
    keys = [[str(getattr(row, name)) for name in labels] for row in found]
    for column, (name, meaning, factor) in COLUMNS.items():
        values = [(key, getattr(row, column)) for key, row in zip(keys, found, strict=True)]
        family = GaugeMetricFamily(prefix + name, meaning, labels=labels)
        for key, value in values:
            if value is not None:
                family.add_metric(key, value * factor)
        if family.samples:
            yield family
    if found:
        measured = GaugeMetricFamily(f"{prefix}measured_timestamp_seconds", "When it was measured.", labels=labels)
        for key, row in zip(keys, found, strict=True):
            measured.add_metric(key, row.timestamp.timestamp())
        yield measured
