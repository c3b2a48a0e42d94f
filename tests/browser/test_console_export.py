"""An export in real Chromium: chosen by keyboard, seen waiting, done without a reload, and fetched."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.test_console_config import look

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
FILL = """
from datetime import timedelta
from django.utils import timezone
from monitoring.metrics import storage
from monitoring.models import SystemMetric
now = timezone.now()
storage.insert(SystemMetric(metric_id=f"m-{n}", organization_id="org-001", orchestrator_id="orch-001",
    cpu_usage_percent=n, timestamp=now - timedelta(minutes=n + 1)) for n in range(30))
"""


def test_an_export_is_asked_for_waited_for_and_fetched(stage: Stage, tmp_path: Path) -> None:
    stage.installation.manage("shell", "--no-imports", "-c", FILL)
    page = stage.page
    page.goto(stage.server.url("/admin/monitoring/systemmetric/"))
    with page.expect_navigation():
        page.get_by_role("link", name="Export…").press("Enter")
    expect(page.get_by_label("cpu_usage_percent")).to_be_checked()
    look(stage, "export", tmp_path)
    page.get_by_label("JSON").check()
    page.get_by_label("Organization").fill("nowhere")
    page.get_by_role("button", name="Export").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("There is no such organization.")
    look(stage, "export-refused", tmp_path)
    page.get_by_label("Organization").fill("org-001")
    page.get_by_role("button", name="Export").press("Enter")
    expect(page.locator(".mo-job")).to_contain_text("queued")
    expect(page.locator(".mo-live").first).to_have_text("Live")
    look(stage, "export-queued", tmp_path)
    page.evaluate("window.stillHere = true")
    stage.installation.manage("shell", "--no-imports", "-c", "from orchestrators import jobs; jobs.drain()")
    button = page.get_by_role("link", name="Download")
    expect(button).to_be_visible(timeout=30_000)
    assert page.evaluate("window.stillHere") is True
    look(stage, "export-done", tmp_path)
    with page.expect_download() as caught:
        button.press("Enter")
    assert caught.value.suggested_filename.endswith(".json")
    rows = json.loads(Path(caught.value.path()).read_text())
    assert sorted(row["cpu_usage_percent"] for row in rows) == list(range(30))
