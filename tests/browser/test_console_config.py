"""The console's configuration in real Chromium: an edit with a mistake, mended, published, and followed to its end."""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
EDITOR = "/admin/orgs/organization/org-001/configuration/"
ENLARGE = """
from orchestrators import instances
from orgs import keys
from orgs.models import Organization
acme = Organization.objects.get(pk="org-001")
instances.create("orch-003", organization=acme, acting_user=None)
print("KEY", keys.create(acme, name="fleet", acting_user=None, scopes=["orchestrator"])[1])
"""
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


def look(stage: Stage, name: str, directory: Path) -> None:
    """Take the page as it is by day and night, wide and narrow; no look scrolls sideways."""
    for scheme, width in LOOKS:
        stage.page.set_viewport_size({"width": width, "height": 900})
        stage.page.evaluate("is => document.documentElement.classList.toggle('dark', is)", scheme == "dark")
        assert not stage.has_overflow(), (name, scheme, width)
        if os.environ.get("MOOLAI_SCREENSHOTS"):
            stage.picture(f"{name}-{scheme}-{width}", directory)
    stage.page.set_viewport_size({"width": 1280, "height": 900})
    stage.page.evaluate("document.documentElement.classList.remove('dark')")


def test_a_mistake_is_mended_published_and_the_rollout_seen_to_its_end(stage: Stage, tmp_path: Path) -> None:
    key = stage.installation.manage("shell", "-c", ENLARGE).stdout.split("KEY ")[1].split()[0]
    stage.client("orch-001")
    page = stage.page
    stage.open("/admin/orgs/organization/org-001/change/")
    expect(stage.field("orch-001", "is_connected")).to_have_text("connected", timeout=20_000)
    look(stage, "organization", tmp_path)
    with page.expect_navigation():
        page.get_by_role("link", name="Change the configuration").press("Enter")
    text = page.get_by_label("Document")
    text.fill('{\n  "llm": {"model": "m-7"},\n  "features": 7\n}')
    page.get_by_label("Comment").fill("the seventh model")
    with page.expect_navigation():
        page.get_by_role("button", name="Publish").press("Enter")
    expect(page.get_by_role("alert").filter(has_text="features")).to_be_visible()
    assert "m-7" in text.input_value()
    look(stage, "editor-refused", tmp_path)

    page.get_by_role("button", name="line 3").press("Enter")
    page.keyboard.type('  "features": {"beta": true}')
    page.get_by_label("Roll out in stages").check()
    page.get_by_label("Stages", exact=True).fill("50")
    look(stage, "editor-staged", tmp_path)
    with page.expect_navigation():
        page.get_by_role("button", name="Begin the rollout").press("Enter")

    expect(page.locator(".mo-live").first).to_have_text("Live")
    expect(page.locator("[data-rollout]")).to_have_text("▶ running")
    expect(page.get_by_text("1 offline").first).to_be_visible()
    look(stage, "rollout-running", tmp_path)
    page.get_by_role("link", name="job_").press("Enter")
    expect(page.get_by_role("heading", name="Roll out a configuration").first).to_be_visible()
    expect(page.get_by_role("button", name="Cancel the job")).to_be_visible()
    look(stage, "rollout-job", tmp_path)
    with page.expect_navigation():
        page.locator(".mo-job ~ p").get_by_role("link", name="Rollout").press("Enter")
    with page.expect_navigation():
        page.get_by_role("button", name="Pause").press("Enter")
    expect(page.locator("[data-rollout]")).to_have_text("❚❚ paused")
    with page.expect_navigation():
        page.get_by_role("button", name="Resume").press("Enter")
    expect(page.locator("[data-rollout]")).to_have_text("▶ running")
    page.evaluate("window.stillHere = true")
    stage.client("orch-003", key=key)
    expect(page.locator("[data-rollout]")).to_have_text("✔ completed", timeout=60_000)
    assert page.evaluate("window.stillHere") is True
    expect(page.locator("[data-unfinished]")).to_have_count(0)
    expect(page.get_by_text("2 applied").first).to_be_visible()
    look(stage, "rollout-completed", tmp_path)
    config = stage.api("/api/v1/orchestrators/org-001/config")["config"]
    assert config == {"llm": {"model": "m-7"}, "features": {"beta": True}}

    page.get_by_role("link", name="Version 1", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="What it changed")).to_be_visible()
    look(stage, "version", tmp_path)
    first = page.url
    with page.expect_navigation():
        page.get_by_role("link", name="Edit the configuration").press("Enter")
    page.get_by_label("Document").fill('{"llm": {"model": "m-8", "top_p": 0.9}}')
    page.get_by_role("button", name="Publish").press("Enter")
    expect(page.locator("[data-rollout]")).to_have_text("✔ completed", timeout=20_000)
    page.goto(first)
    page.get_by_role("link", name="Roll back to this").press("Enter")
    expect(page.get_by_role("heading", name="Roll org-001 back to version 1?").last).to_be_visible()
    look(stage, "rollback", tmp_path)
    page.get_by_role("button", name="Roll back").press("Enter")
    expect(page.get_by_text("Version 3 is the configuration now: what version 1 had.")).to_be_visible()
    assert stage.api("/api/v1/orchestrators/org-001/config")["config"] == config
    for path, name in (("configversion", "versions"), ("rollout", "rollouts")):
        page.goto(stage.server.url(f"/admin/orchestrators/{path}/"))
        look(stage, name, tmp_path)


def test_tab_indents_and_escape_lets_it_leave(stage: Stage) -> None:
    page = stage.page
    page.goto(stage.server.url(EDITOR))
    text = page.get_by_label("Document")
    text.fill("")
    text.press("{")
    text.press("Enter")
    page.keyboard.type('"a": 1')
    text.press("Tab")
    assert text.input_value() == '{\n  "a": 1  '
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Comment")).to_be_focused()
    assert json.loads(text.input_value() + "}") == {"a": 1}
