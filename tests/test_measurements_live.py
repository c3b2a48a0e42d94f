"""Every line of the monitoring API on the running product: numbers move, and agree with psutil and the database."""

import json
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitoring.tests import scrape
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation, ServerProcess

pytestmark = pytest.mark.once("postgres")

TOKEN = "a-superadmin-token-for-measurements"
SYSTEM, PERFORMANCE = "/api/v1/system", "/v1/performance"
OURS = f"{SYSTEM}/metrics/organization/org-001"
STORED = (
    "import json; from monitoring.models import SystemMetric; "
    "rows = SystemMetric.objects.filter(orchestrator_id=''); "
    "rows = rows.values_list('metric_id', 'memory_total_mb', 'organization_id'); "
    "print(json.dumps({key: [size, home] for key, size, home in rows}))"
)


def ask(up: ServerProcess, path: str, method: str = "GET", body: Any = None, *, token: str = TOKEN) -> bytes:
    """Call the product as a client would; return the body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    if content is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(up.url(path), data=content, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=15) as answer:
        assert answer.status == 200
        return bytes(answer.read())


def data(up: ServerProcess, path: str, method: str = "GET", body: Any = None) -> Any:
    return json.loads(ask(up, path, method, body))["data"]


@pytest.mark.services
def test_every_line_answers_numbers_that_move_and_are_true(installation: Callable[..., Installation]) -> None:
    place = installation({"DEV_BEARER_TOKEN": TOKEN, "METRICS_COLLECTION_INTERVAL": "2"})
    up = place.process("up", "--demo").start()
    assert wait_until(
        lambda: data(up, f"{SYSTEM}/metrics?organization_id=org-001")["total_items"] >= 1, timeout_seconds=60
    )
    agrees_with_psutil(data(up, f"{SYSTEM}/collect/immediate", "POST"), place.data_dir)
    agrees_with_psutil(data(up, f"{SYSTEM}/collect/organization/org-001", "POST"), place.data_dir)
    it_moves(up)
    statistics_agree_with_the_rows(up)
    the_other_lines_answer(up)
    the_scrape_agrees_with_psutil(up)
    stored = json.loads(place.manage("shell", "--no-imports", "-c", STORED).stdout)
    rows = [
        row
        for row in data(up, f"{OURS}?limit=1000")["items"]
        if not row["orchestrator_id"] and row["metric_id"] in stored
    ]
    assert len(rows) >= 3
    assert all(stored[row["metric_id"]] == [row["memory_total_mb"], "org-001"] for row in rows)


def agrees_with_psutil(row: dict[str, Any], data_dir: Path) -> None:
    """Compare a row with what psutil says a moment later."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(data_dir))
    assert row["memory_total_mb"] == pytest.approx(memory.total / 2**20)
    assert row["memory_percent"] == pytest.approx(memory.percent, abs=10)
    assert row["storage_total_gb"] == pytest.approx(disk.total / 2**30, rel=0.001)
    assert row["storage_percent"] == pytest.approx(disk.percent, abs=3)
    assert row["cpu_load_1min"] == pytest.approx(os.getloadavg()[0], abs=2)
    assert 0 <= row["cpu_usage_percent"] <= 100
    assert row["process_count"] == pytest.approx(len(psutil.pids()), rel=0.3)
    assert 0 < row["db_latency_ms"] < 1000
    assert 0 < row["api_latency_ms"] < 1000


def it_moves(up: ServerProcess) -> None:
    """Wait for a newer row of the clock, with another number in it."""
    before = data(up, f"{OURS}/latest")
    newer: dict[str, Any] = {}

    def has_moved() -> bool:
        newer.update(data(up, f"{OURS}/latest"))
        return bool(newer["timestamp"] > before["timestamp"])

    assert wait_until(has_moved, timeout_seconds=30)
    assert any(newer[name] != before[name] for name in ("cpu_usage_percent", "memory_usage_mb", "db_latency_ms"))
    status = data(up, f"{SYSTEM}/status/collection?organization_id=org-001")
    assert (status["failures"], status["schedule"]["enabled"], status["schedule"]["interval_seconds"]) == (0, True, 2)
    assert status["records"] >= 3
    assert data(up, f"{SYSTEM}/status/background")["records"] >= status["records"]
    assert json.loads(ask(up, f"{SYSTEM}/health", token=""))["data"]["status"] == "healthy"


def statistics_agree_with_the_rows(up: ServerProcess) -> None:
    """Compare each summary with the rows it was made of: those there before, and perhaps a few since."""
    for kind, column in (("cpu", "cpu_usage_percent"), ("memory", "memory_percent"), ("storage", "storage_percent")):
        values = [
            row[column] for row in data(up, f"{OURS}?limit=1000&hours_back=1")["items"] if row[column] is not None
        ]
        found = data(up, f"{SYSTEM}/metrics/summary/{kind}?organization_id=org-001&hours_back=1")
        assert len(values) <= found["sample_count"] <= len(values) + 20
        assert found["min"] <= min(values)
        assert found["max"] >= max(values)
        assert found["avg"] == pytest.approx(sum(values) / len(values), rel=0.5, abs=15)
        assert found["min"] <= found["p95"] <= found["max"]


def the_other_lines_answer(up: ServerProcess) -> None:
    """Call the lines of /v1/performance and /export, and look that something is in each."""
    health = data(up, f"{PERFORMANCE}/health?organization_id=org-001")
    assert health["components"]["memory"]["value"] == pytest.approx(psutil.virtual_memory().percent, abs=40)
    assert {health["components"][name]["level"] for name in ("cpu", "memory", "disk", "database")} <= {
        "healthy", "warning", "critical",
    }  # fmt: skip
    assert data(up, f"{PERFORMANCE}/metrics/current")["total_items"] >= 1
    history = f"{PERFORMANCE}/metrics/history?hours_back=1&columns=cpu_usage_percent"  # a point every five seconds
    assert wait_until(lambda: len(data(up, history)["series"]["cpu_usage_percent"]) >= 2, timeout_seconds=20)
    assert data(up, f"{PERFORMANCE}/metrics/summary?hours_back=1")["columns"]["memory_percent"]["sample_count"] >= 3
    status = f"{PERFORMANCE}/status"  # counts are stored every ten seconds
    assert wait_until(lambda: data(up, status)["requests"]["count"] > 0, timeout_seconds=20)
    assert data(up, f"{PERFORMANCE}/status")["requests"]["p95_ms"] > 0
    deed = {"activity_type": "feature", "metadata": {"name": "export"}}
    assert data(up, f"{PERFORMANCE}/activity/track", "POST", deed)["organization_id"] == "org-001"
    assert data(up, f"{PERFORMANCE}/activity/summary")["by_type"]["feature"] == 1
    assert isinstance(data(up, f"{PERFORMANCE}/optimize", "POST", {})["recommendations"], list)
    exported = json.loads(ask(up, "/export/metrics?org_id=org-001"))
    assert exported["count"] == len(exported["metrics"]) >= 3
    assert ask(up, "/export/metrics?org_id=org-001&format=csv").startswith(b'"metric_id"')
    assert json.loads(ask(up, "/export/metrics?org_id=org-001&format=grafana"))
    told = scrape.values(ask(up, "/export/metrics?org_id=org-001&format=prometheus").decode())
    assert any(name == "moolai_sample_cpu_usage_ratio" for name, _ in told)


def the_scrape_agrees_with_psutil(up: ServerProcess) -> None:
    """Read `/metrics` without a credential, as Prometheus on this host does."""
    text = ask(up, "/metrics", token="").decode()
    found = {name: value for (name, labels), value in scrape.values(text).items() if not labels}
    assert found["moolai_host_memory_size_bytes"] == psutil.virtual_memory().total
    assert time.time() - found["moolai_host_measured_timestamp_seconds"] < 30
    assert found["moolai_orchestrators_connected"] == data(up, "/api/v1/controller/orchestrators/live")["total_items"]
    processes = {
        value for (name, _), value in scrape.values(text).items() if name == "moolai_process_resident_memory_bytes"
    }
    assert all(10 * 2**20 < value < 2**31 for value in processes)
    assert processes
