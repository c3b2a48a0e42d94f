"""An orchestrator's chart in real Chromium: ranges over stored history, and a frame that appears by itself."""

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from tests.browser.stage import Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services, pytest.mark.timeout(180)]
HISTORY = """
import math
from datetime import timedelta
from django.utils import timezone
from monitoring.metrics import rollups, storage
from monitoring.models import SystemMetric
now = timezone.now()
steps = [minutes for minutes in range(6 * 24 * 60, 0, -20)] + [minutes for minutes in range(59, 1, -1)]
storage.insert(
    SystemMetric(
        metric_id=f"history-{number}", organization_id="org-001", orchestrator_id="orch-001",
        timestamp=now - timedelta(minutes=minutes),
        cpu_usage_percent=45 + 30 * math.sin(minutes / 200) + minutes % 9,
        memory_percent=60 + 8 * math.cos(minutes / 900),
    )
    for number, minutes in enumerate(steps)
)
rollups.run(now=now + timedelta(hours=1), budget_seconds=60)
rollups.run(now=now + timedelta(hours=3), budget_seconds=60)
"""
LABEL = "[data-metric=cpu]"


def test_a_chart_over_every_range_and_a_frame_within_two_seconds(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 1010})
    stage.open("/admin/orchestrators/instance/")
    page.get_by_role("link", name="orch-001").first.click()
    stage.wait_live()
    expect(page.get_by_text("No samples in this range")).to_be_visible()
    stage.installation.manage("shell", "-c", HISTORY)
    expect(page.locator("[data-chart=metrics] canvas")).to_be_visible(timeout=5_000)
    secret = (stage.installation.data_dir / "demo_orch-001.key").read_text().strip()
    with connect(stage.server.ws_url(), additional_headers={"Authorization": f"Bearer {secret}"}) as socket:
        socket.send(json.dumps({"type": "register", "orchestrator_id": "orch-001"}))
        socket.recv(timeout=10)
        for value in (71.5, 12.5):
            sample = {"cpu_usage_percent": value, "memory_percent": 66.6}
            socket.send(json.dumps({"type": "monitoring", "metrics": sample}))
            expect(page.locator(LABEL)).to_have_text(f"{value:.1f} %", timeout=2_000)
    for name in ("6 h", "24 h", "7 d", "30 d"):
        button = page.get_by_role("button", name=name, exact=True)
        with page.expect_response(lambda answer: "/series/" in answer.url and answer.status == 200):
            button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".mo-ranges [aria-pressed=true]")).to_have_count(1)
        expect(page.locator("[data-chart=metrics] canvas")).to_be_visible()
        if name == "7 d":
            take_pictures(stage, tmp_path)
    page.get_by_role("button", name="1 h", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-chart=metrics]")).to_have_attribute("aria-label", "CPU and memory, last hour")


def take_pictures(stage: Stage, directory: Path) -> None:
    page = stage.page
    for name, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390)):
        page.set_viewport_size({"width": width, "height": 1010})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.reload()
        stage.wait_live()
        page.get_by_role("button", name="7 d", exact=True).click()
        expect(page.locator("html.dark")).to_have_count(int(scheme == "dark"))
        expect(page.locator("[data-chart=metrics] canvas")).to_be_visible()
        page.locator("[data-chart=metrics]").scroll_into_view_if_needed()
        assert not stage.has_overflow()
        time.sleep(0.5)
        stage.picture(f"chart-{name}", directory)
    page.set_viewport_size({"width": 1280, "height": 1010})
