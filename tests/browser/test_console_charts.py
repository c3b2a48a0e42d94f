"""Charts in real Chromium: an orchestrator's, an organization's and the controller's; history, and what comes live."""

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from tests.browser.stage import Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
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
        metric_id=f"history-{name}-{number}", organization_id="org-001", orchestrator_id=name,
        timestamp=now - timedelta(minutes=minutes),
        cpu_usage_percent=45 + 30 * math.sin(minutes / 200) + minutes % 9,
        memory_percent=60 + 8 * math.cos(minutes / 900),
        storage_percent=40 + minutes / 1000, network_in_mb_s=1 + minutes % 5, db_latency_ms=0.5,
    )
    for number, minutes in enumerate(steps) for name in ("orch-001", "")
    if name or not 20 < minutes < 40
)
rollups.run(now=now + timedelta(hours=1), budget_seconds=60)
rollups.run(now=now + timedelta(hours=3), budget_seconds=60)
"""
AN_HOUR_LATER = """() => {
  const set = document.querySelector("[data-series]").moolaiState.data.measured;
  set.x.forEach((at, number) => { set.x[number] = at - 4000; });
  const metrics = { cpu_usage_percent: 50, memory_percent: 50 };
  const detail = { organization_id: "org-001", orchestrator_id: "", timestamp: new Date().toISOString(), metrics };
  document.dispatchEvent(new CustomEvent("moolai:system_metrics", { detail }));
  return [set.x.length, set.series.cpu_usage_percent.avg.length];
}"""
CPU = "[data-metric=cpu_usage_percent]"
CANVAS = "[data-columns^=cpu] canvas"
NEWEST = "document.querySelector('[data-series]').moolaiState.lastAt"
DRAWN = "document.querySelector('[data-columns^=cpu]').moolaiPlot().data"


def test_an_organizations_machines_and_one_of_them_over_every_range_and_its_frames(
    stage: Stage, tmp_path: Path
) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 1010})
    stage.open("/admin/orgs/organization/org-001/change/")
    expect(page.get_by_text("No samples in this range")).to_be_visible()
    expect(page.get_by_text("No orchestrator of this organization has sent a sample")).to_be_visible()
    stage.installation.manage("shell", "-c", HISTORY)
    page.reload()
    expect(page.locator("[data-columns] canvas")).to_have_count(9)
    expect(page.locator(CPU)).to_contain_text("%")
    take_pictures(stage, tmp_path, "organization")
    with page.expect_navigation():
        page.locator(".mo-table-machines").get_by_role("link", name="orch-001").click()
    stage.wait_live()
    expect(page.locator(CANVAS)).to_be_visible()
    secret = (stage.installation.data_dir / "demo_orch-001.key").read_text().strip()
    with connect(stage.server.ws_url(), additional_headers={"Authorization": f"Bearer {secret}"}) as socket:
        socket.send(json.dumps({"type": "register", "orchestrator_id": "orch-001"}))
        socket.recv(timeout=10)
        for value in (71.5, 12.5):
            sample = {"cpu_usage_percent": value, "memory_percent": 66.6}
            socket.send(json.dumps({"type": "monitoring", "metrics": sample}))
            expect(page.locator(CPU)).to_have_text(f"{value:.1f} %")
        assert page.evaluate(f"{DRAWN}[2].at(-1)") in (12.5, None)  # the low of the last bucket
    for name in ("6 h", "24 h", "7 d", "30 d"):
        button = page.get_by_role("button", name=name, exact=True)
        with page.expect_response(lambda answer: "/series/" in answer.url and answer.status == 200):
            button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".mo-ranges [aria-pressed=true]")).to_have_count(1)
        expect(page.locator(CANVAS)).to_be_visible()
        if name == "7 d":
            take_pictures(stage, tmp_path, "chart")
    page.get_by_role("button", name="1 h", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-columns^=cpu]")).to_have_attribute("aria-label", "CPU and memory, last hour")


def test_the_system_page_draws_gaps_follows_the_clock_and_keeps_no_more_than_its_range(
    stage: Stage, tmp_path: Path
) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 1600})
    stage.open("/admin/system/")
    expect(page.get_by_text("Nothing was measured in this range")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Measure now").click()
    expect(page.get_by_text(re.compile("^\\s*Measured in"))).to_be_visible()
    expect(page.locator(CANVAS)).to_be_visible()
    stage.installation.manage("shell", "-c", HISTORY)
    page.reload()
    stage.wait_live()
    expect(page.locator("[data-columns] canvas")).to_have_count(16)
    cpu = page.evaluate(f"{DRAWN}[1]")
    assert any(value is None and cpu[at - 1] is not None for at, value in enumerate(cpu) if 0 < at < len(cpu) - 1)
    assert "Times in" in page.locator("[data-zone]").inner_text()
    page.locator("[data-columns^=cpu] .u-over").hover(position={"x": 60, "y": 40})
    expect(page.locator("[data-zone]")).not_to_contain_text("Times in")  # the moment under the cursor
    page.mouse.move(5, 5)
    before = page.evaluate(NEWEST)  # it may lie in the last bucket, or begin the next
    stage.api("/api/v1/system/collect/immediate", {})
    page.wait_for_function(f"{NEWEST} > {before}")
    assert page.evaluate(AN_HOUR_LATER) == [1, 1]
    page.reload()
    take_pictures(stage, tmp_path, "system")


def take_pictures(stage: Stage, directory: Path, what: str) -> None:
    page = stage.page
    size = page.viewport_size or {"width": 1280, "height": 1010}
    for name, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390)):
        page.set_viewport_size({"width": width, "height": size["height"]})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.reload()
        stage.wait_live()
        page.get_by_role("button", name="7 d", exact=True).click()
        expect(page.locator("html.dark")).to_have_count(int(scheme == "dark"))
        expect(page.locator(CANVAS)).to_be_visible()
        page.locator(CANVAS).scroll_into_view_if_needed()
        assert not stage.has_overflow()
        time.sleep(0.3)
        stage.picture(f"{what}-{name}", directory)
    page.set_viewport_size(size)
