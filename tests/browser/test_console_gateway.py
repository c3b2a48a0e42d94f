"""The gateway's pages in real Chromium: from the first call in the playground to a day of them."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import TOKEN, Stage
from tests.browser.test_console_config import look

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
FILL = "from tests.browser import gateway_days; gateway_days.fill()"
LOG = "/admin/llm_gateway/call/"
POST = """([url, token, wish]) => fetch(url, {
    method: "POST", body: JSON.stringify(wish),
    headers: {Authorization: `Bearer ${token}`, "Content-Type": "application/json", "X-Organization-Id": "org-001"},
}).then((answer) => answer.status)"""
RETRIED = f"{7:024x}"  # of gateway_days


def test_a_gateway_from_its_first_call_on(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    page.goto(stage.server.url(LOG))
    expect(page.get_by_text("No call yet")).to_be_visible()
    look(stage, "gateway-calls-empty", tmp_path)
    with page.expect_navigation():
        page.get_by_role("link", name="playground").first.press("Enter")
    ask(stage, tmp_path)
    converse(stage, tmp_path)
    follow(stage, tmp_path)
    name(stage, tmp_path)
    read(stage, tmp_path)


def ask(stage: Stage, directory: Path) -> None:
    """Ask in the playground by keyboard, be refused, stop, clear, and be answered; find the call's page."""
    page, message = stage.page, stage.page.get_by_label("Message", exact=True)
    expect(page.locator("#play-models option").first).to_have_attribute("value", "echo/echo")
    page.get_by_label("Model or alias").fill("nobody/nothing")
    message.fill("one two three")
    message.press("Control+Enter")
    expect(page.locator(".gw-problem")).to_contain_text("404")
    stage.complaints.clear()  # the browser says that a call was refused
    expect(message).to_have_value("one two three")
    page.get_by_label("Model or alias").fill("echo/echo")
    page.route("**/v1/chat/completions", lambda route: None)  # on its way until the page gives up
    message.press("Control+Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    message.press("Escape")
    expect(page.locator(".gw-problem").last).to_have_text("Stopped; what was produced is billed.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.locator(".gw-bubble")).to_have_count(0)
    expect(message).to_be_focused()
    message.fill("one two three")
    message.press("Control+Enter")
    answer = page.locator(".gw-bubble-assistant").last
    expect(answer.locator(".gw-said")).to_have_text("one two three")
    expect(answer.locator(".gw-below")).to_contain_text("3 → 3 tokens · $0.00")
    assert '"content": "one two three"' in page.locator("#play-code").inner_text()
    page.get_by_role("button", name="Python").press("Enter")
    assert 'model="echo/echo"' in page.locator("#play-code").inner_text()
    look(stage, "gateway-playground", directory)
    stage.picture("console-playground", directory)
    answer.get_by_role("link", name="in the call log").press("Enter")
    expect(page.get_by_role("heading", name="What took how long")).to_be_visible()


def converse(stage: Stage, directory: Path) -> None:
    """Ask an agent by keyboard, streamed, and find the prompt with its cost."""
    page, message = stage.page, stage.page.get_by_label("Prompt", exact=True)
    agent = {"agent_id": "parrot", "name": "Parrot", "model": "echo/echo", "system_prompt": "Say it again."}
    stage.api("/api/v1/orchestrators/org-001/agents", agent)
    page.goto(stage.server.url("/admin/llm_gateway/prompt/ask/?organization=org-001"))
    page.get_by_label("Agent", exact=True).select_option("parrot")
    for words, tokens in (("four words for you", "11 tokens"), ("and more", "15 tokens")):  # with what was said before
        message.fill(words)
        message.press("Control+Enter")
        answer = page.locator(".gw-bubble-assistant").last
        expect(answer.locator(".gw-said")).to_have_text(words)
        expect(answer.locator(".gw-below")).to_contain_text(f"echo/echo · {tokens} · $0.000000")
    look(stage, "gateway-ask", directory)
    answer.get_by_role("link", name="in the list").press("Enter")
    rows = page.locator("#result_list tbody")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("parrot")
    page.goto(stage.server.url("/admin/llm_gateway/prompt/"))
    expect(rows).to_have_count(2)
    look(stage, "gateway-prompts", directory)
    rows.first.get_by_role("link").first.press("Enter")
    expect(page.get_by_label("What was answered")).to_have_text("and more")
    look(stage, "gateway-prompt", directory)
    page.goto(stage.server.url(LOG))


def follow(stage: Stage, directory: Path) -> None:
    """Watch calls appear in the log without a reload: those of days, and those an orchestrator makes."""
    page = stage.page
    page.goto(stage.server.url(LOG))
    rows = page.locator("#result_list tbody")
    expect(rows).to_have_count(3)
    page.evaluate("window.stillHere = true")
    stage.installation.manage("shell", "--no-imports", "-c", FILL)
    expect(rows).to_have_count(50)
    look(stage, "gateway-calls", directory)
    stage.client("orch-001", "--model-calls", "1")
    expect(rows.first).to_contain_text("orch-001", timeout=30_000)
    assert page.evaluate("window.stillHere") is True
    page.get_by_role("button", name="Hold still").press("Enter")
    expect(page.locator("[data-call-live]")).to_have_text("Held")
    page.goto(stage.server.url(f"{LOG}?status__exact=completed&provider=claude"))
    expect(rows.first).to_contain_text("claude")
    page.goto(stage.server.url(f"{LOG}{RETRIED}/change/"))
    expect(page.locator(".gw-time li")).to_have_count(3)
    look(stage, "gateway-call", directory)
    stage.picture("console-call", directory)


def name(stage: Stage, directory: Path) -> None:
    """Try a provider, and give models a name by keyboard."""
    page = stage.page
    page.goto(stage.server.url("/admin/llm_gateway/provider/"))
    look(stage, "gateway-providers", directory)
    page.get_by_role("link", name="claude").first.press("Enter")
    expect(page.get_by_role("button", name="Test")).to_be_visible()
    look(stage, "gateway-provider", directory)
    page.goto(stage.server.url("/admin/llm_gateway/provider/add/"))
    page.get_by_label("Name").fill("parrot")
    page.get_by_label("Dialect").select_option("echo")
    expect(page.get_by_text("nothing is called")).to_be_visible()
    look(stage, "gateway-provider-add", directory)
    with page.expect_navigation():
        page.get_by_role("button", name="Save", exact=True).press("Enter")
    page.get_by_role("button", name="Test").press("Enter")
    expect(page.get_by_text("parrot works: echo said “ping”")).to_be_visible()
    page.goto(stage.server.url("/admin/llm_gateway/alias/add/"))
    page.get_by_label("Alias").fill("safe")
    page.get_by_label("Model of target 1").fill("echo/echo")
    page.get_by_label("Model of target 2").fill("claude/claude-sonnet-4-5")
    page.get_by_label("Weight of target 2").fill("1")
    page.get_by_role("button", name="Move target 2 up").press("Enter")
    page.get_by_role("button", name="Save and continue editing").press("Enter")
    expect(page.get_by_role("img", name="safe leads to claude/claude-sonnet-4-5 (100 %")).to_be_visible()
    page.goto(stage.server.url("/admin/llm_gateway/alias/"))
    look(stage, "gateway-aliases", directory)
    page.get_by_role("link", name="smart", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Where calls for smart go")).to_be_visible()
    look(stage, "gateway-alias", directory)


def read(stage: Stage, directory: Path) -> None:
    """Read prices, budgets and costs."""
    page = stage.page
    for path, words, picture in (
        ("llm_gateway/price/models/", "price for all", "gateway-models"),
        ("llm_gateway/price/", "llama-3.3-70b", "gateway-prices"),
        ("orgs/spendinglimit/", "this month", "gateway-budgets"),
        ("llm_gateway/spending/?range=24h&group=api_key", "support-bot", "gateway-costs-keys"),
        ("llm_gateway/spending/", "claude-sonnet-4-5", "gateway-costs"),
    ):
        page.goto(stage.server.url(f"/admin/{path}"))
        expect(page.get_by_text(words).first).to_be_visible()
        look(stage, picture, directory)
    expect(page.locator("[data-cost-chart=cost] canvas")).to_be_visible()
    stage.picture("console-costs", directory)
    page.goto(stage.server.url("/admin/"))
    expect(page.get_by_text("calls today")).to_be_visible()
    look(stage, "gateway-dashboard", directory)


def test_a_refused_call_is_found_and_followed(stage: Stage, tmp_path: Path) -> None:
    page, rows = stage.page, stage.page.locator("#result_list tbody")
    page.goto(stage.server.url(LOG))
    page.get_by_role("link", name="Refused calls").last.press("Enter")
    expect(page.get_by_text("No refused calls yet")).to_be_visible()
    look(stage, "gateway-refused-empty", tmp_path)
    for number, (model, status, code, words) in enumerate((
        ("nobody/nothing", 404, "model_not_found", "No provider has the model"),
        ("ollama/llama3", 503, "provider_not_configured", "not set up"),
    )):  # fmt: skip
        wish = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        assert page.evaluate(POST, [stage.server.url("/v1/chat/completions"), TOKEN, wish]) == status
        stage.complaints.clear()  # the browser says that a call was refused
        expect(rows).to_have_count(number + 1, timeout=15_000)
        expect(rows.first).to_contain_text(code)
        expect(rows.first).to_contain_text(words)
    page.evaluate("window.stillHere = true")
    stage.installation.manage("shell", "--no-imports", "-c", FILL)
    expect(rows).to_have_count(50, timeout=15_000)
    assert page.evaluate("window.stillHere") is True  # no reload
    look(stage, "gateway-refused", tmp_path)
    rows.first.get_by_role("link").first.press("Enter")
    expect(page.get_by_role("heading", name="Facts")).to_be_visible()
    look(stage, "gateway-refused-one", tmp_path)
    page.get_by_role("link", name="nightly-batch").first.press("Enter")
    look(stage, "gateway-refused-key", tmp_path)
    page.get_by_role("link", name="Its refused calls").press("Enter")
    expect(rows.first).to_contain_text("insufficient_quota")
    page.goto(stage.server.url("/admin/llm_gateway/refusal/?code=overloaded"))
    expect(page.get_by_text("Nothing matches")).to_be_visible()
