"""The console's users, keys and audit trail in real Chromium: by keyboard, narrow, and as files."""

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Stage
from tests.browser.test_console_config import look

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
KEYS, TRAIL, USERS = "/admin/orgs/apikey/", "/admin/orgs/auditentry/", "/admin/orgs/user/"
PASSWORD = "correct horse battery staple"
PAGES = [
    KEYS, f"{KEYS}add/", f"{KEYS}1/change/", f"{KEYS}1/revoke/", TRAIL, f"{TRAIL}1/change/", f"{TRAIL}verify/", USERS,
    f"{USERS}add/", f"{USERS}1/change/", f"{USERS}1/password/", f"{USERS}1/delete/", "/admin/orgs/membership/",
    "/admin/orgs/membership/add/",
]  # fmt: skip


def go(stage: Stage, path: str) -> Page:
    stage.page.goto(stage.server.url(path))
    return stage.page


def test_a_key_is_rotated_by_keyboard_and_its_secret_shown_once(stage: Stage) -> None:
    stage.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = go(stage, KEYS)
    page.locator("#result_list tr.data-row a").first.click()
    page.get_by_label("The old key ends").select_option("In 1 hour")
    page.get_by_role("button", name="Rotate").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    secret = page.locator("#secret").inner_text().strip()
    assert secret.startswith("mk_")
    page.get_by_role("button", name="Copy").first.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.get_by_role("link", name="I have copied it").press("Enter")
    expect(page.get_by_text(re.compile("Expiring in 5\\d minutes")).first).to_be_visible()
    page.locator("#result_list tr.data-row a").first.click()
    page.get_by_role("link", name="Revoke…").press("Enter")
    expect(page.get_by_text("This cannot be undone.")).to_be_visible()
    page.get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_text("is revoked: what it opened is closed within 5 seconds.")).to_be_visible()
    assert secret not in page.content()


def test_the_sidebar_is_skipped_by_keyboard(stage: Stage) -> None:
    page = go(stage, "/admin/orchestrators/task/board/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    box = skip.bounding_box()
    assert box is not None
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert page.evaluate("([x, y]) => document.elementFromPoint(x, y).className", middle) == "mo-skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('#content').contains(document.activeElement)")


def test_one_form_makes_a_user_who_signs_in(stage: Stage) -> None:
    page = go(stage, f"{USERS}add/")
    page.get_by_label("Username").fill("bob")
    page.locator("#id_password1").fill(PASSWORD)
    page.locator("#id_password2").fill(PASSWORD)
    page.locator(".select2-selection").first.press("Enter")
    page.locator(".select2-search__field").last.fill("org-001")
    page.get_by_role("option", name="org-001").click()
    page.get_by_label("Operator").check()
    page.get_by_role("button", name="Save", exact=True).press("Enter")
    expect(page.get_by_role("link", name="operator of org-001")).to_be_visible()
    answer = page.request.post(
        stage.server.url("/api/v1/internal/auth/login"),
        data={"username": "bob", "password": PASSWORD},
    )
    assert answer.status == 200


def test_the_trail_is_narrowed_by_keyboard_and_taken_along(stage: Stage, tmp_path: Path) -> None:
    page = go(stage, TRAIL)
    expect(page.get_by_role("button", name="Filters")).to_be_visible()
    page.get_by_role("button", name="Filters").press("Enter")
    page.get_by_label("By actor, in full").fill("system")
    page.get_by_label("By actor, in full").press("Enter")
    expect(page).to_have_url(re.compile("actor=system"))
    for name, suffix in (("CSV", "csv"), ("JSON lines", "jsonl")):
        with page.expect_download() as waited:
            page.get_by_role("button", name=name).press("Enter")
        path = tmp_path / f"trail.{suffix}"
        waited.value.save_as(path)
        assert waited.value.suggested_filename.endswith(f".{suffix}")
    rows = list(csv.DictReader((tmp_path / "trail.csv").read_bytes().decode().splitlines(keepends=True)))
    assert rows
    assert {row["actor"] for row in rows} == {"system"}
    assert len((tmp_path / "trail.jsonl").read_text().splitlines()) == len(rows)
    assert json.loads((tmp_path / "trail.jsonl").read_text().splitlines()[0])["hash"] == rows[0]["hash"]
    go(stage, f"{TRAIL}?action=audit.export")
    expect(page.locator("#result_list tr.data-row")).to_have_count(2)
    page.get_by_role("link", name="Verify").press("Enter")
    expect(page.get_by_role("heading", name="What was checked is intact")).to_be_visible()


def test_no_page_scrolls_sideways(stage: Stage, tmp_path: Path) -> None:
    for path in PAGES:
        answer = stage.page.goto(stage.server.url(path))
        assert answer is not None
        assert answer.status == 200, path
        look(stage, path, tmp_path)
