"""The gateway's pages in real Chromium: a call made in the playground is in the log, which keeps itself live."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.test_console_config import look

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services, pytest.mark.timeout(180)]
FILL = "from tests.browser import gateway_days; gateway_days.fill()"


def test_a_call_is_made_in_the_playground_and_followed_in_the_log(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.goto(stage.server.url("/admin/llm_gateway/call/"))
    expect(page.get_by_text("No call yet")).to_be_visible()
    look(stage, "gateway-calls-empty", tmp_path)
    page.get_by_role("link", name="playground").first.press("Enter")
    expect(page.locator("#play-models option").first).to_have_attribute("value", "echo/echo")
    look(stage, "gateway-playground-empty", tmp_path)
    page.get_by_label("Message", exact=True).fill("one two three")
    page.get_by_label("Message", exact=True).press("Control+Enter")
    answer = page.locator(".gw-bubble-assistant").last
    expect(answer.locator(".gw-said")).to_have_text("one two three")
    expect(answer.locator(".gw-below")).to_contain_text("3 → 3 tokens · $0.00", timeout=15_000)
    assert "one two three" in page.locator("#play-code").inner_text()
    page.get_by_role("button", name="Python").press("Enter")
    assert 'model="echo/echo"' in page.locator("#play-code").inner_text()
    look(stage, "gateway-playground", tmp_path)
    answer.get_by_role("link", name="in the call log").press("Enter")
    expect(page.get_by_role("heading", name="What took how long")).to_be_visible()
    look(stage, "gateway-call-echo", tmp_path)


def test_pages_of_a_gateway_that_is_used(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.goto(stage.server.url("/admin/llm_gateway/call/"))
    expect(page.get_by_text("No call yet")).to_be_visible()
    stage.installation.manage("shell", "--no-imports", "-c", FILL)
    expect(page.locator("#result_list tbody").first).to_be_visible(timeout=10_000)
    look(stage, "gateway-calls", tmp_path)
    page.evaluate("window.stillHere = true")
    call = {"model": "echo/echo", "messages": [{"role": "user", "content": "a new call"}]}
    stage.api("/api/v1/llm/chat", call | {"max_tokens": 5})
    expect(page.locator("#result_list tbody").first).to_contain_text("echo/echo", timeout=10_000)
    assert page.evaluate("window.stillHere") is True
    page.goto(stage.server.url("/admin/llm_gateway/call/000000000000000000000017/change/"))
    look(stage, "gateway-call", tmp_path)
    page.goto(stage.server.url("/admin/llm_gateway/provider/"))
    look(stage, "gateway-providers", tmp_path)
    page.get_by_role("link", name="claude").first.press("Enter")
    look(stage, "gateway-provider", tmp_path)
