"""Measurements of this host and process with psutil, under the names of the system-metrics table (API §5)."""

import asyncio
import logging
import os
import time
from datetime import UTC, datetime
from typing import Any, Protocol

from .frames import Frame
from .outbox import ClientStoppedError

MIB, GIB = 1024**2, 1024**3
FIRST_REPORT_SECONDS = 2.0
SHORTEST_INTERVAL_SECONDS = 0.2
logger = logging.getLogger("moolai.client")


class Reporter(Protocol):
    """What the periodic report needs of a client."""

    async def wait_connected(self) -> None:
        """Return once a session stands."""

    async def report_metrics(self, metrics: Frame | list[Frame]) -> Frame:
        """Send one row and return its `ack`."""


class Sampler:
    """Measure the host (CPU, memory, disk, network) and this process (threads, descriptors, connections).

    Rates come from the difference to the sample before, so the first one lacks them; what the platform does not tell
    is absent. A sample younger than `reuse_seconds` is given again: many clients in one process share the work.
    """

    def __init__(self, *, path: str = "/", reuse_seconds: float = 1.0) -> None:
        import psutil

        self._psutil: Any = psutil
        self._process = psutil.Process()
        self._path, self._reuse_seconds = path, reuse_seconds
        self._last: Frame = {}
        self._counters: Frame = self._read_counters()
        self._at = time.monotonic()
        self._sampled_at: float | None = None
        psutil.cpu_percent(interval=None)

    def sample(self) -> Frame:
        """Return one row, with an aware UTC `timestamp` in ISO 8601."""
        started = time.monotonic()
        if self._sampled_at is not None and started - self._sampled_at < self._reuse_seconds:
            return self._last
        row: Frame = {"timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        for measure in (self._cpu_and_rates, self._memory, self._storage, self._processes):
            try:
                row.update(measure())
            except (OSError, AttributeError, NotImplementedError, self._psutil.Error) as error:
                logger.debug("not measured: %s", error)
        row["collection_duration_ms"] = round((time.monotonic() - started) * 1000, 3)
        self._last, self._sampled_at = row, started
        return row

    def _cpu_and_rates(self) -> Frame:
        row: Frame = {}
        if hasattr(os, "getloadavg"):
            names = ("cpu_load_1min", "cpu_load_5min", "cpu_load_15min")
            row.update(zip(names, (round(load, 2) for load in os.getloadavg()), strict=True))
        now = time.monotonic()
        seconds = now - self._at
        if seconds < SHORTEST_INTERVAL_SECONDS:
            return row
        percent = self._psutil.cpu_percent(interval=None)
        row["cpu_usage_percent"] = percent
        row["cpu_cores_used"] = round(percent / 100 * (self._psutil.cpu_count() or 1), 3)
        counters = self._read_counters()
        for name, value in counters.items():
            if value >= self._counters.get(name, value + 1):
                row[name] = round((value - self._counters[name]) / seconds, 4)
        self._counters, self._at = counters, now
        return row

    def _read_counters(self) -> Frame:
        """Return the running totals, in the units of their rates (MiB and operations)."""
        totals: Frame = {}
        try:
            disk, network = self._psutil.disk_io_counters(), self._psutil.net_io_counters()
        except (OSError, RuntimeError, NotImplementedError, self._psutil.Error):
            return totals
        if disk is not None:
            totals.update(disk_read_mb_s=disk.read_bytes / MIB, disk_write_mb_s=disk.write_bytes / MIB)
            totals.update(iops_read=disk.read_count, iops_write=disk.write_count)
        if network is not None:
            totals.update(network_in_mb_s=network.bytes_recv / MIB, network_out_mb_s=network.bytes_sent / MIB)
        return totals

    def _memory(self) -> Frame:
        memory, swap = self._psutil.virtual_memory(), self._psutil.swap_memory()
        return {
            "memory_usage_mb": round((memory.total - memory.available) / MIB, 1),
            "memory_percent": memory.percent,
            "memory_available_mb": round(memory.available / MIB, 1),
            "memory_total_mb": round(memory.total / MIB, 1),
            "swap_usage_mb": round(swap.used / MIB, 1),
            "swap_percent": swap.percent,
        }

    def _storage(self) -> Frame:
        disk = self._psutil.disk_usage(self._path)
        return {
            "storage_usage_gb": round(disk.used / GIB, 2),
            "storage_percent": disk.percent,
            "storage_available_gb": round(disk.free / GIB, 2),
            "storage_total_gb": round(disk.total / GIB, 2),
        }

    def _processes(self) -> Frame:
        row: Frame = {"process_count": len(self._psutil.pids()), "thread_count": self._process.num_threads()}
        if hasattr(self._process, "num_fds"):
            row["file_descriptors"] = self._process.num_fds()
        row["network_connections"] = len(self._process.net_connections(kind="inet"))
        return row


async def report_forever(client: Reporter, *, sampler: Sampler, interval: float) -> None:
    """Report a row every `interval` seconds while connected; soon after the start first."""
    await client.wait_connected()
    await asyncio.sleep(min(interval, FIRST_REPORT_SECONDS))
    while True:
        await client.wait_connected()
        try:
            await client.report_metrics(sampler.sample())
        except ClientStoppedError:
            return
        except Exception as error:
            logger.warning("metrics were not taken: %s", error)
        await asyncio.sleep(interval)
