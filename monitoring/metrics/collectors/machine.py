"""The machine: processors, memory, disks and network, as psutil sees them (of the container, where there is one)."""

import os
from typing import Any

import psutil
from django.conf import settings

from monitoring.metrics.collectors.base import Collector, RateCollector, Values, register

MEGABYTE = 1024.0**2
GIGABYTE = 1024.0**3
IDLE = ("idle", "iowait")
WITHIN_OTHERS = ("guest", "guest_nice")  # counted in user and nice already


@register
class Processors(RateCollector):
    """The share of the processors' time that was not idle since the reading before."""

    columns = ("cpu_usage_percent", "cpu_cores_used")

    def counters(self) -> dict[str, float]:
        """Return busy and all seconds of all processors."""
        times = psutil.cpu_times()._asdict()
        total = sum(seconds for name, seconds in times.items() if name not in WITHIN_OTHERS)
        return {"busy": total - sum(times.get(name, 0.0) for name in IDLE), "total": total}

    def values(self, rates: dict[str, float | None], *, counters: dict[str, float]) -> Values:
        """Return the share, and how many processors that comes to."""
        busy, total = rates.get("busy"), rates.get("total")
        if busy is None or not total:
            return {}
        share = min(1.0, busy / total)
        return {"cpu_usage_percent": 100 * share, "cpu_cores_used": share * (psutil.cpu_count() or 1)}


@register
class Load(Collector):
    """The load averages."""

    columns = ("cpu_load_1min", "cpu_load_5min", "cpu_load_15min")

    def read(self) -> Values:
        """Ask the system; null where it has no load average."""
        return dict(zip(self.columns, os.getloadavg(), strict=True)) if hasattr(os, "getloadavg") else {}


@register
class Memory(Collector):
    """Memory, in MiB."""

    columns = ("memory_usage_mb", "memory_percent", "memory_available_mb", "memory_total_mb")

    def read(self) -> Values:
        """Ask psutil."""
        found = psutil.virtual_memory()
        return {
            "memory_usage_mb": found.used / MEGABYTE,
            "memory_percent": found.percent,
            "memory_available_mb": found.available / MEGABYTE,
            "memory_total_mb": found.total / MEGABYTE,
        }


@register
class Swap(Collector):
    """Swap, in MiB."""

    columns = ("swap_usage_mb", "swap_percent")

    def read(self) -> Values:
        """Ask psutil."""
        found = psutil.swap_memory()
        return {"swap_usage_mb": found.used / MEGABYTE, "swap_percent": found.percent}


@register
class Storage(Collector):
    """The file system that DATA_DIR is on, in GiB."""

    columns = ("storage_usage_gb", "storage_percent", "storage_available_gb", "storage_total_gb")

    def read(self) -> Values:
        """Ask psutil."""
        found = psutil.disk_usage(str(settings.DATA_DIR))
        return {
            "storage_usage_gb": found.used / GIGABYTE,
            "storage_percent": found.percent,
            "storage_available_gb": found.free / GIGABYTE,
            "storage_total_gb": found.total / GIGABYTE,
        }


@register
class Disks(RateCollector):
    """What all disks read and wrote, in MiB and operations a second; null where the system does not count it."""

    columns = ("disk_read_mb_s", "disk_write_mb_s", "iops_read", "iops_write")

    def counters(self) -> dict[str, float]:
        """Return the totals of all disks."""
        found = psutil.disk_io_counters()
        if found is None:
            return {}
        return {
            "disk_read_mb_s": found.read_bytes / MEGABYTE,
            "disk_write_mb_s": found.write_bytes / MEGABYTE,
            "iops_read": found.read_count,
            "iops_write": found.write_count,
        }


@register
class Network(RateCollector):
    """What all interfaces received and sent, in MiB a second."""

    columns = ("network_in_mb_s", "network_out_mb_s")

    def counters(self) -> dict[str, float]:
        """Return the totals of all interfaces."""
        found: Any = psutil.net_io_counters()  # None where there is no interface
        if found is None:
            return {}
        return {
            "network_in_mb_s": found.bytes_recv / MEGABYTE,
            "network_out_mb_s": found.bytes_sent / MEGABYTE,
        }


@register
class Connections(Collector):
    """The sockets of the Internet families; null where only an administrator may count them."""

    columns = ("network_connections",)

    def read(self) -> Values:
        """Ask psutil."""
        try:
            return {"network_connections": len(psutil.net_connections(kind="inet"))}
        except psutil.AccessDenied:
            return {}


@register
class Processes(Collector):
    """Processes, their threads, and the descriptors of those that the controller may look into."""

    columns = ("process_count", "thread_count", "file_descriptors")

    def read(self) -> Values:
        """Walk over the processes."""
        has_descriptors = hasattr(psutil.Process, "num_fds")
        names = ["num_threads", "num_fds"] if has_descriptors else ["num_threads"]
        found = [process.info for process in psutil.process_iter(names)]
        return {
            "process_count": len(found),
            "thread_count": sum(info["num_threads"] or 0 for info in found),
            "file_descriptors": sum(info["num_fds"] or 0 for info in found) if has_descriptors else None,
        }
