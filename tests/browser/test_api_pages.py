"""Swagger UI and the browsable API in real Chromium, with the console's session."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.stage import TOKEN, Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
PATIENCE_MS = 90_000
LIGHT, DARK = "rgb(248, 250, 252)", "rgb(15, 23, 42)"
LOOKS: list[tuple[int, Any, str]] = [
    (1280, "light", LIGHT),
    (1280, "dark", DARK),
    (390, "dark", DARK),
    (390, "light", LIGHT),
]
USERS = "/api/v1/orchestrators/org-001/users"


def answered(call: Locator, status: str) -> None:
    """Execute the call again and wait for its answer."""
    call.get_by_role("button", name="Execute").click()
    told = call.locator(".live-responses-table tbody .response-col_status")
    expect(told).to_contain_text(status, timeout=PATIENCE_MS)


def test_swagger_ui_makes_calls_with_the_consoles_session_and_with_a_credential(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.set_default_timeout(PATIENCE_MS)
    page.locator("a[href='/api/docs/']").first.click()
    expect(page).to_have_url(stage.server.url("/api/docs/"))
    page.get_by_placeholder("Filter by tag").fill("Organizations")  # what is out of sight is not drawn
    call = page.locator("#operations-Organizations-organizations_create")
    call.locator("button.opblock-summary-control").click()
    call.locator("textarea").fill('{"organization_id": "initech", "name": "Initech"}')
    answered(call, "201")
    call.locator(".live-responses-table").scroll_into_view_if_needed()
    stage.picture("api-docs-call", tmp_path)
    assert stage.complaints == []
    assert stage.api("/api/v1/controller/orchestrators?organization_id=initech")["items"] == []

    page.context.clear_cookies()
    answered(call, "401")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#auth-bearer-value").fill(TOKEN)
    page.locator(".auth-container", has=page.locator("#auth-bearer-value")).locator("button.authorize").click()
    page.locator("button.btn-done").first.click()
    answered(call, "409")
    assert all("401" in line or "409" in line for line in stage.complaints)
    stage.complaints.clear()


def test_the_browsable_api_shows_rows_and_sends_forms(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.goto(stage.server.url("/api/v1/controller/orchestrators"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("List the fleet")
    expect(page.locator("pre").first).to_contain_text("total_items")
    page.get_by_label("status").select_option("active")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(stage.server.url("/api/v1/controller/orchestrators?page=1&page_size=100&status=active"))

    page.goto(stage.server.url(USERS))
    body = page.get_by_label("Body (JSON)")
    assert set(json.loads(body.input_value())) == {"username", "email", "role"}
    body.fill('{"username": "una", "email": "una@example.com", "role": "viewer"}')
    page.get_by_role("button", name="POST").click()
    expect(page.get_by_role("status")).to_contain_text("201")
    expect(page.get_by_role("status")).to_contain_text("una@example.com")
    stage.picture("api-page", tmp_path)
    assert [row["username"] for row in stage.api(USERS)["items"]] == ["una"]
    page.get_by_role("button", name="POST").click()
    expect(page.get_by_role("status")).to_contain_text("conflict")
    assert all("409" in line for line in stage.complaints)
    stage.complaints.clear()

    person = stage.api(USERS)["items"][0]["id"]
    page.goto(stage.server.url(f"{USERS}/{person}"))
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="DELETE").click()
    expect(page.locator("form[data-method=DELETE]").get_by_role("status")).to_contain_text("204")
    assert stage.api(USERS)["items"] == []


def test_the_pages_fit_the_screen_and_follow_the_system(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.set_default_timeout(PATIENCE_MS)
    for name, path in (("api-docs", "/api/docs/"), ("api-page", "/api/v1/controller/orchestrators/orch-001")):
        page.goto(stage.server.url(path))
        page.locator(".opblock, pre").first.wait_for()
        for width, scheme, colour in LOOKS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            assert not stage.has_overflow()
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour
            stage.picture(f"{name}-{width}-{scheme}", tmp_path)
