"""A walk over the task queue's pages: a task from the form to its end, and a day of them."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from moolai.testing.processes import wait_until
from tests.browser.stage import TOKEN, Stage
from tests.browser.test_console_config import look

ORCHESTRATOR = "orch-001"
KIND = "bugfix"
COLUMN = "document.querySelector('[data-column] .tk-card')?.closest('[data-column]').dataset.column"
WORD = "[...document.querySelectorAll('.mo-head .mo-badge')].at(-1)?.lastChild.textContent.trim()"
SEEN = """(() => {
    window.seen = []
    const note = () => {
        const said = SAID
        if (said && said !== window.seen.at(-1)) window.seen.push(said)
    }
    new MutationObserver(note).observe(document, {childList: true, subtree: true, characterData: true})
    note()
})()"""
FILL = "from tests.browser import work_day; work_day.fill(); print('RETRIED', work_day.retried())"
INBOX, RUNS = "/admin/orchestrators/approval/", "/admin/llm_gateway/workflowrun/"
MOVES = ["approval", "assigned", "processing", "done"]
BOARD = "/admin/orchestrators/task/board/"


def column(page: Page, name: str) -> Locator:
    """Return a column of the board."""
    return page.locator(f"[data-column={name}]")


def badge(page: Page) -> Locator:
    """Return the line of the sidebar that counts what waits."""
    return page.locator("#nav-sidebar-apps a", has_text="Approvals")


def walk(stage: Stage, directory: Path) -> None:
    """See a task wait, be approved and completed; then survey a full board, decide, and look at every page."""
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 900})
    stage.open(BOARD)
    expect(page.locator("#first-task")).to_contain_text(f"curl -X POST {stage.server.url('/tasks')}")
    look(stage, "tasks-empty", directory)
    inbox, dashboard = (page.context.new_page() for _ in range(2))
    for open_page, path in ((inbox, INBOX), (dashboard, "/admin/")):
        open_page.goto(stage.server.url(path))
        expect(open_page.locator(".mo-live").first).to_have_text("Live")
    orchestrator = stage.client(ORCHESTRATOR, "--tasks", KIND)
    create(stage, directory)
    expect(badge(dashboard)).to_contain_text("1")
    dashboard.close()
    follow(stage, inbox)
    watch(stage, page.context.new_page(), directory)
    assert orchestrator.end() == 0
    retried = int(stage.installation.manage("shell", "--no-imports", "-c", FILL).stdout.split("RETRIED ")[1].split()[0])
    survey(stage, directory)
    decide(stage, directory)
    for name, path in (
        ("task", f"/admin/orchestrators/task/{retried}/change/"),
        ("tasks", "/admin/orchestrators/task/"),
        ("agents", "/admin/orchestrators/agent/"),
        ("agent", "/admin/orchestrators/agent/1/change/"),
        ("routes", "/admin/orchestrators/route/"),
    ):
        page.goto(stage.server.url(path))
        look(stage, name, directory)


def create(stage: Stage, directory: Path) -> None:
    """Create a P1 task by keyboard; it waits, and the sidebar says so."""
    page = stage.page
    page.get_by_role("link", name="Create a task").press("Enter")
    expect(page.get_by_role("button", name="Create the task")).to_be_visible()
    look(stage, "task-new", directory)
    page.locator(".select2-selection").first.press("Enter")
    page.locator(".select2-search__field").last.fill("org-001")
    page.get_by_role("option", name="org-001").click()
    page.get_by_label("Type").fill(KIND)
    page.get_by_label("P1 · urgent").check()
    page.get_by_label("Payload").fill('{"title": "Fix the login"}')
    page.get_by_role("button", name="Create the task").press("Enter")
    expect(page.get_by_role("heading", name="Somebody has to decide")).to_be_visible()
    expect(badge(page)).to_contain_text("1")
    stage.wait_live()
    look(stage, "task-waiting", directory)


def follow(stage: Stage, inbox: Page) -> None:
    """See the open inbox follow by itself, but for what somebody writes there; see a run appear and end."""
    rows, reason = inbox.locator("#result_list tr.data-row"), inbox.get_by_label("Reason for bugfix")
    expect(rows).to_have_count(1)
    expect(badge(inbox)).to_contain_text("1")
    reason.fill("the customer waits")
    call(stage, "POST", "/tasks", {"type": "deployment", "payload": {}, "priority": "P1"})
    expect(inbox.get_by_text("Something has changed.")).to_be_visible()
    expect(badge(inbox)).to_contain_text("2")
    assert (rows.count(), reason.input_value()) == (1, "the customer waits")
    reason.fill("")
    inbox.get_by_text("Something has changed.").click()  # away from the form
    expect(rows).to_have_count(2)
    expect(inbox.get_by_text("Something has changed.")).to_be_hidden()
    inbox.locator("#action-toggle").check()
    expect(inbox.locator("input.action-select:checked")).to_have_count(2)
    rows.first.locator("input.action-select").uncheck()
    inbox.locator("select[name=action]").select_option("reject_chosen")
    with inbox.expect_navigation():
        inbox.get_by_role("button", name="Run").click()
    inbox.get_by_role("button", name="Reject").press("Enter")
    expect(rows).to_have_count(1)
    inbox.goto(stage.server.url(RUNS))
    expect(inbox.get_by_text("They appear here by themselves.")).to_be_visible()
    expect(inbox.locator(".mo-live")).to_have_text("Live")
    made = {"workflow_type": "embedding", "input_data": {"text": "hello"}, "workflow_id": "wf-1"}
    call(stage, "POST", "/v1/ai-orchestration/workflows", made)
    inbox.get_by_text("wf-1").click()
    expect(inbox.locator(".mo-head")).to_contain_text("Queued")
    expect(inbox.locator(".mo-live")).to_have_text("Live")
    call(stage, "DELETE", "/v1/ai-orchestration/workflows/wf-1")
    expect(inbox.locator(".mo-head")).to_contain_text("Cancelled")
    expect(inbox.locator("[data-unfinished]")).to_have_count(0)
    inbox.close()


def watch(stage: Stage, board: Page, directory: Path) -> None:
    """Approve it on its page; a connected orchestrator completes it, and page and board follow without being asked."""
    page = stage.page
    board.goto(stage.server.url(BOARD))
    expect(board.locator(".mo-live")).to_have_text("Live")
    expect(column(board, "approval").locator(".tk-card")).to_contain_text(KIND)
    expect(badge(board)).to_contain_text("1")
    board.evaluate(SEEN.replace("SAID", COLUMN))
    task_id = page.locator(".mo-facts code").inner_text()
    page.get_by_label("Reason", exact=True).fill("the customer waits")
    body = {"event_type": "half.done", "source_agent": "dev_agent", "payload": {}, "task_id": task_id}
    call(stage, "POST", "/events/publish", {**body, "organization_id": "org-001"})
    expect(page.locator("#timeline")).to_contain_text("Published “half.done” by dev_agent")
    expect(page.get_by_label("Reason", exact=True)).to_have_value("the customer waits")
    assert wait_until(lambda: stage.orchestrator(ORCHESTRATOR)["is_connected"], timeout_seconds=20)
    expect(column(board, "approval").locator(".tk-card")).to_contain_text(KIND)  # it is able, and does nothing yet
    page.add_init_script(SEEN.replace("SAID", WORD))
    page.get_by_role("button", name="Approve").press("Enter")
    expect(page.get_by_text(f"The task {KIND} is approved.")).to_be_visible()
    expect(page.locator(".mo-head")).to_contain_text("Completed", timeout=30_000)
    expect(column(board, "done").locator(".tk-card")).to_contain_text(KIND)
    expect(badge(board)).not_to_contain_text("1")
    assert page.evaluate("window.seen")[-2:] == ["In progress", "Completed"]  # gone after a reload, as the next
    assert board.evaluate("window.seen") in (MOVES, [one for one in MOVES if one != "assigned"])
    for words in (
        "Approved by admin: the customer waits",
        f"by {ORCHESTRATOR}: attempt 1",
        f"Completed by {ORCHESTRATOR}",
    ):
        expect(page.locator("#timeline")).to_contain_text(words)
    expect(page.get_by_text(f"{KIND} done by {ORCHESTRATOR}")).to_be_visible()
    look(stage, "task-completed", directory)
    board.close()


def call(stage: Stage, method: str, path: str, body: Any = None) -> None:
    """Call the API as the superadmin."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = stage.page.request.fetch(stage.server.url(path), method=method, data=body, headers=headers)
    assert answer.ok, answer.text()


def survey(stage: Stage, directory: Path) -> None:
    """Walk over a full board with the arrow keys, and narrow it."""
    page = stage.page
    stage.open(BOARD)
    counts: list[Any] = [int(text) for text in page.locator(".tk-count").all_inner_texts()]
    assert counts == [3, 5, 2, 5, 2]
    look(stage, "tasks-board", directory)
    first = column(page, "approval").locator(".tk-card").first
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(column(page, "assigned").locator(".tk-card").nth(1)).to_be_focused()
    page.wait_for_timeout(1200)  # a refresh meanwhile keeps the place
    expect(column(page, "assigned").locator(".tk-card").nth(1)).to_be_focused()
    page.get_by_label("Priority").select_option("P0")
    expect(page.locator(".tk-card")).to_have_count(1)
    expect(page).to_have_url(re.compile("level=P0"))


def decide(stage: Stage, directory: Path) -> None:
    """Reject one in the inbox, approve the others together, and find all in the history."""
    page = stage.page
    stage.open("/admin/orchestrators/approval/")
    look(stage, "approvals", directory)
    page.locator("summary").first.press("Enter")
    expect(page.get_by_text("two vouchers").first).to_be_visible()
    reason = page.get_by_label("Reason for deployment")
    reason.fill("not on a Friday")
    reason.press("Enter")  # decides nothing
    page.get_by_role("button", name="Reject deployment").press("Enter")
    expect(page.get_by_text("The task deployment is rejected")).to_be_visible()
    boxes = page.locator("input.action-select")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.locator("select[name=action]").select_option("approve_chosen")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="Approve 2 tasks")).to_be_visible()
    look(stage, "approvals-together", directory)
    page.get_by_role("button", name="Approve").press("Enter")
    expect(page.get_by_text("2 approved.")).to_be_visible()
    expect(page.get_by_text("Nothing waits for you")).to_be_visible()
    page.get_by_role("link", name="What was decided").press("Enter")
    expect(page.locator("#result_list tr.data-row")).to_have_count(5)
    look(stage, "approvals-decided", directory)
    assert json.dumps(stage.complaints) == "[]"
