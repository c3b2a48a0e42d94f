"""Faults of the worker in the middle of an export: another one writes the whole file, and no row stands in it twice."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from moolai.testing.processes import wait_until
from moolai.testing.product import Installation

COUNT = 100_000
METRICS = ["cpu_load_1min", "cpu_load_5min", "cpu_load_15min", "cpu_usage_percent", "memory_percent", "swap_percent"]
FILL = f"""
from datetime import timedelta
from django.utils import timezone
from monitoring.exports import making
from monitoring.exports.wish import Wish
from monitoring.metrics import storage
from monitoring.models import SystemMetric
from orgs import organizations
organizations.create("big", name="Big", acting_user=None)
end = timezone.now() - timedelta(minutes=1)
storage.insert(SystemMetric(metric_id=f"m-{{n}}", organization_id="big", orchestrator_id=f"o-{{n}}",
    timestamp=end - timedelta(seconds=n // 100 + 1), **dict.fromkeys({METRICS}, n + 0.5)) for n in range({COUNT}))
span = {{"start": (end - timedelta(hours=2)).isoformat(), "end": end.isoformat()}}
wish = Wish.parse({{"export_type": "xlsx", "metrics": {METRICS}, "time_range": span}})
making.start(wish, organization_id="big", acting_user=None)
"""
LOOK = """
import json
from monitoring.models import ExportChunk
from orchestrators.models import Job
job = Job.objects.get(kind="export")
print(json.dumps({"status": job.status, "done": job.done, "result": job.result, "chunks": ExportChunk.objects.count()}))
"""
READ = """
import io
import openpyxl
from monitoring.exports import files
from orchestrators.models import Job
body = b"".join(files.read(Job.objects.get(kind="export")))
rows = openpyxl.load_workbook(io.BytesIO(body), read_only=True)["Export"].iter_rows(min_row=2, values_only=True)
names = [row[2] for row in rows]
print(len(names), len(set(names)))
"""


def shell(place: Installation, code: str) -> str:
    return place.manage("shell", "--no-imports", "-c", code).stdout.splitlines()[-1]


@pytest.mark.faults
def test_an_export_survives_its_worker_and_has_every_row_once(installation: Callable[..., Installation]) -> None:
    place = installation(env={})
    place.manage("shell", "--no-imports", "-c", FILL)

    def look() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(shell(place, LOOK))
        return found

    worker, _ = place.worker(), place.beat()
    assert wait_until(lambda: look()["done"] > 0, timeout_seconds=60)
    worker.kill()
    before = look()
    assert (before["status"], before["chunks"], before["result"]) == ("running", 0, None)
    assert 0 < before["done"] <= COUNT
    place.worker()
    assert wait_until(lambda: look()["status"] == "completed", timeout_seconds=180)
    assert look()["result"]["rows"] == COUNT
    assert shell(place, READ) == f"{COUNT} {COUNT}"
