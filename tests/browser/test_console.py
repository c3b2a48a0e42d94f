"""The console in real Chromium, with a real server and real orchestrators."""

import json
import re
import time
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import WebSocket, expect

from tests.browser import task_walk
from tests.browser.stage import HEARTBEAT_SECONDS, Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
LIST = "/admin/orchestrators/instance/"


def open_page_of(stage: Stage, orchestrator_id: str) -> None:
    stage.open(LIST)
    with stage.page.expect_navigation():
        stage.page.get_by_role("link", name=re.compile(orchestrator_id)).first.click()
    stage.wait_live()


def test_independence_from_the_console(stage: Stage, tmp_path: Path) -> None:
    page = stage.page
    stage.open(LIST)
    started = time.monotonic()
    for orchestrator_id in ("orch-001", "orch-002"):
        stage.client(orchestrator_id)
    for orchestrator_id in ("orch-001", "orch-002"):
        expect(stage.field(orchestrator_id, "status")).to_have_text("● Active", timeout=30_000)
        expect(stage.field(orchestrator_id, "is_connected")).to_have_text("connected")
        expect(stage.field(orchestrator_id, "version")).to_have_text("1.0.0")
        before = stage.seen(orchestrator_id)
        page.wait_for_function(
            "([id, before]) => document.querySelector(`[data-of=${id}][data-live=last_seen]`).dateTime !== before",
            arg=[orchestrator_id, before],
        )
        expect(stage.field(orchestrator_id, "last_seen")).to_have_text(re.compile(r"just now|\d seconds? ago"))
    assert time.monotonic() - started < 60
    stage.picture("console-two-active", tmp_path)

    # Off: at once, and its row stands still over three heartbeats while its socket stays open.
    session = stage.orchestrator("orch-002")
    stage.switch("orch-002").focus()
    page.keyboard.press("Space")
    expect(stage.field("orch-002", "status")).to_have_text("◆ Independent")
    expect(page.get_by_role("status").filter(has_text="orch-002 is now independent")).to_be_visible()
    expect(stage.switch("orch-002")).to_have_attribute("aria-checked", "true")
    frozen = stage.orchestrator("orch-002")
    assert frozen["is_independent"] is True
    time.sleep(3 * HEARTBEAT_SECONDS + 1)
    still = stage.orchestrator("orch-002")
    assert still["last_seen"] == frozen["last_seen"]
    assert still["status"] == "independent"
    expect(stage.field("orch-002", "is_connected")).to_have_text("connected")
    expect(stage.field("orch-001", "last_seen")).to_have_text(re.compile(r"just now|[1-4] seconds? ago"))
    expect(stage.field("orch-002", "last_seen")).to_have_text(re.compile(r"([5-9]|\d\d) seconds ago"))
    assert session["is_independent"] is False
    stage.picture("console-independent", tmp_path)

    # Provisioning still reaches it.
    open_page_of(stage, "orch-002")
    page.get_by_label("Features").fill('{"cache": true}')
    with page.expect_navigation():
        page.get_by_role("button", name="Save and continue editing").click()
    stage.wait_live()
    expect(page.locator(".mo-facts").filter(has_text="Desired")).to_contain_text("push 2")
    expect(stage.field("orch-002", "config_status")).to_have_text("applied")
    expect(stage.field("orch-002", "status")).to_have_text("◆ Independent")

    # On again: active within one heartbeat.
    stage.switch("orch-002").click()
    expect(stage.field("orch-002", "status")).to_have_text("● Active")
    before = stage.seen("orch-002")
    page.wait_for_function(
        "before => document.querySelector('[data-of=orch-002][data-live=last_seen]').dateTime !== before", arg=before
    )
    page.goto(stage.server.url("/admin/orgs/auditentry/?q=independence"))
    rows = page.locator("#result_list tr.data-row")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("is_independent false → true")
    expect(rows.nth(0)).to_contain_text("is_independent true → false")
    expect(rows.nth(0)).to_contain_text("admin")


def test_undo_and_a_refusal(stage: Stage) -> None:
    page = stage.page
    stage.open(LIST)
    stage.switch("orch-001").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status").filter(has_text="orch-001 is managed again")).to_be_visible()
    expect(stage.field("orch-001", "status")).to_have_text("○ Inactive")
    refusal = json.dumps({"success": False, "error": "database_unavailable", "detail": "The database does not answer."})
    page.route(
        "**/independence/", lambda route: route.fulfill(status=503, body=refusal, content_type="application/json")
    )
    stage.switch("orch-001").click()
    expect(page.get_by_text("orch-001 is unchanged. The database does not answer.")).to_be_visible()
    expect(stage.switch("orch-001")).to_have_attribute("aria-checked", "false")
    expect(stage.field("orch-001", "status")).to_have_text("○ Inactive")
    assert stage.orchestrator("orch-001")["is_independent"] is False
    stage.complaints.clear()  # the browser notes the 503 that this test made up


def test_an_organizations_switch_moves_its_orchestrators_live(stage: Stage) -> None:
    page = stage.page
    stage.open("/admin/orgs/organization/org-001/change/")
    stage.switch("org-001").click()
    expect(stage.field("orch-001", "status")).to_have_text("◆ Independent")
    expect(page.get_by_text("inherited from org-001")).to_be_visible()
    stage.switch("orch-001").click(force=True)  # it says that it is disabled, and why
    expect(page.get_by_text("orch-001 inherits its independence from org-001.")).to_be_visible()
    stage.switch("org-001").click()
    expect(stage.field("orch-001", "status")).to_have_text("○ Inactive")
    expect(stage.switch("orch-001")).to_have_attribute("aria-checked", "false")


FIRES = """
from django.utils import timezone
from monitoring.models import Alert
from orgs import events
now = timezone.now()
row = Alert.objects.create(dedup_key="k", alert_type="cpu", severity="critical", title="Busy",
                           organization_id="org-001", started_at=now, last_seen_at=now)
events.record("alert.fired", organization_id="org-001", data={"alert_id": row.alert_id})
"""


def test_the_dashboard_is_live_and_a_task_is_followed_to_its_end(stage: Stage, tmp_path: Path) -> None:
    follow_the_fleet(stage)
    task_walk.walk(stage, tmp_path)


def follow_the_fleet(stage: Stage) -> None:
    page = stage.page
    page.set_viewport_size({"width": 390, "height": 800})
    stage.open("/admin/")
    expect(page.get_by_text("No open alerts")).to_be_visible()
    stage.installation.manage("shell", "-c", FIRES)
    expect(page.locator(".mo-alert-count")).to_have_text(re.compile(r"Critical\s+1"))
    assert not stage.has_overflow()
    counts = {name: page.locator(f"[data-fleet={name}]") for name in ("total", "connected", "active", "inactive")}
    expect(counts["total"]).to_have_text("2")
    expect(counts["connected"]).to_have_text("0")
    client = stage.client("orch-001")
    expect(counts["connected"]).to_have_text("1")
    expect(counts["active"]).to_have_text("1")
    expect(page.get_by_text("orch-001 connected from 127.0.0.1")).to_be_visible()
    expect(page.locator("[data-chart=heartbeats] canvas")).to_be_visible()
    page.wait_for_function("Number(document.querySelector('[data-heartbeat-rate]').textContent) > 0", timeout=30_000)
    client.end()
    expect(page.get_by_text("orch-001 disconnected: goodbye")).to_be_visible()
    expect(counts["inactive"]).to_have_text("2")


def test_a_restarted_server_is_found_again(stage: Stage) -> None:
    stage.open("/admin/")
    stage.server.terminate()
    expect(stage.page.locator(".mo-live")).to_have_text("Reconnecting…")
    stage.server.start()
    expect(stage.page.locator(".mo-live")).to_have_text("Live", timeout=30_000)
    stage.complaints.clear()  # the browser notes the refused connections


def test_a_quiet_page_keeps_its_socket_and_shows_a_job_as_it_is(stage: Stage) -> None:
    page = stage.page
    sockets: list[str] = []
    pongs: list[Any] = []

    def listen(socket: WebSocket) -> None:
        sockets.append(socket.url)
        socket.on("framereceived", lambda frame: pongs.append(frame) if '"pong"' in str(frame) else None)

    page.on("websocket", listen)
    page.clock.install()
    stage.open("/admin/orchestrators/job/")
    page.evaluate("window.stillHere = true")
    stage.wait_live()
    sockets.clear()  # this page's, and maybe that of the page before
    for _ in range(3):
        told = len(pongs)
        page.clock.fast_forward(20_000)
        while len(pongs) == told:  # the page asks whether anybody is there
            page.wait_for_timeout(100)
        page.wait_for_timeout(300)
    expect(page.locator(".mo-live")).to_have_text("Live")
    assert sockets == []

    # Nobody is connected: the stage waits.
    body = {"config": {"features": {"a": True}}, "stages": [{"percent": 50}], "stage_timeout_seconds": 600}
    rollout = stage.api("/api/v1/orchestrators/org-001/config/rollouts", body)
    line = page.get_by_role("link", name="Roll out a configuration").first
    expect(page.locator(".mo-events").get_by_text("running")).to_be_visible()
    with page.expect_navigation():
        line.click()
    stage.wait_live()
    page.evaluate("window.stillHere = true")
    stage.api(f"/api/v1/orchestrators/org-001/config/rollouts/{rollout['id']}/cancel", {})
    expect(page.locator(".mo-job")).to_contain_text("cancelled")
    assert page.evaluate("window.stillHere") is True


def test_signing_out_elsewhere_ends_the_live_view(stage: Stage) -> None:
    stage.open("/admin/")
    other = stage.page.context.new_page()
    other.goto(stage.server.url("/admin/orgs/user/"))
    other.evaluate("""() => {
        const form = document.querySelector("form[action*=logout]");
        setTimeout(() => form.submit());
    }""")
    expect(stage.page.locator(".mo-live")).to_have_text("Signed out")
    expect(stage.page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_key_made_in_the_console_connects_an_orchestrator(stage: Stage) -> None:
    page = stage.page
    page.goto(stage.server.url("/admin/orgs/apikey/add/?organization=org-001"))
    page.get_by_label("Name").fill("edge fleet")
    page.get_by_role("button", name="Save", exact=True).click()
    secret = page.locator("#secret").inner_text().strip()
    assert secret.startswith("mk_")
    stage.open("/admin/")
    stage.client("edge-001", "--name", "Edge Berlin", key=secret)
    expect(stage.field("edge-001", "status")).to_have_text("● Active", timeout=30_000)
    expect(page.get_by_text("edge-001 registered for the first time")).to_be_visible()


def test_a_message_reaches_the_orchestrator_and_the_page_follows(stage: Stage) -> None:
    page = stage.page
    stage.client("orch-001")
    open_page_of(stage, "orch-001")
    expect(stage.field("orch-001", "is_connected")).to_have_text("connected", timeout=30_000)
    page.get_by_label("Type").fill("reload_prompts")
    page.get_by_label("Content (JSON)").fill('{"scope": "all"}')
    page.get_by_role("button", name="Send message").click()
    expect(page.locator("#messages .mo-events")).to_contain_text("delivered")
    expect(page.locator("[data-columns] canvas")).to_be_visible(timeout=30_000)


def test_a_narrow_screen_never_scrolls_sideways(stage: Stage) -> None:
    stage.page.set_viewport_size({"width": 400, "height": 800})
    paths = ["/admin/", LIST, "/admin/orgs/organization/", "/admin/orgs/auditentry/"]
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for path, scheme in product(paths, schemes):
        stage.page.emulate_media(color_scheme=scheme)
        stage.page.goto(stage.server.url(path))
        expect(stage.page.locator("html.dark")).to_have_count(1 if scheme == "dark" else 0)
        assert not stage.has_overflow(), (path, scheme)


LABELLED = """
from orchestrators import independence, instances
from orchestrators.models import Instance
from orgs.models import Organization
acme = Organization.objects.get(pk="org-001")
for number in range(20):
    labels = {"env": "canary", "region": "eu-central"} if number % 3 else {}
    instances.create(f"demo-{number:04}", organization=acme, name=f"Demo {number}", acting_user=None, labels=labels)
independence.set_instance("demo-0000", is_independent=True, acting_user=None, reason="test")
Instance.objects.filter(orchestrator_id="demo-0001").update(status="degraded", is_connected=True)
"""


def test_the_list_fits_beside_the_sidebar_and_its_last_row_is_not_covered(stage: Stage) -> None:
    page = stage.page
    stage.installation.manage("shell", "-c", LABELLED)
    page.set_viewport_size({"width": 1280, "height": 900})
    stage.open(LIST)
    expect(page.locator("[data-list-changed]")).to_be_hidden()  # history is no news
    table = page.locator("#result_list")
    assert table.evaluate("table => table.scrollWidth - table.parentElement.clientWidth") <= 0
    rows = page.locator("#result_list tr.data-row")
    page.locator("input.action-select").first.check()
    rows.first.hover()
    page.mouse.wheel(0, 10_000)
    expect(page.locator("#changelist-actions")).to_be_visible()
    page.wait_for_function(
        """() => {
            const row = [...document.querySelectorAll("#result_list tr.data-row")].at(-1).getBoundingClientRect();
            return row.bottom <= document.querySelector("#changelist-actions").getBoundingClientRect().top;
        }"""
    )


def test_a_composed_message_is_followed_to_delivered_and_a_cancelled_one_sent_again(stage: Stage) -> None:
    page = stage.page
    open_page_of(stage, "orch-001")
    with page.expect_navigation():
        page.get_by_role("link", name="Send a message").click()
    page.get_by_label("Type").fill("reload_prompts")
    page.get_by_role("textbox", name="Content").fill('{"scope": ')
    page.get_by_role("button", name="Send message").click()
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    page.get_by_role("textbox", name="Content").fill('{"scope": "all"}')
    page.get_by_label("Expires after").fill("600")
    with page.expect_navigation():
        page.get_by_role("button", name="Send message").click()
    stage.wait_live()
    badge = page.locator(".mo-head [data-show=status]")
    expect(badge).to_have_text("pending")
    expect(page.locator("#timeline")).to_contain_text("Waits until the orchestrator is connected")

    page.get_by_role("button", name="Cancel").click()
    expect(badge).to_have_text("failed")
    expect(page.locator("#timeline")).to_contain_text("Failed: cancelled in the console")
    with page.expect_navigation():
        page.get_by_role("button", name="Send again").click()
    stage.wait_live()
    expect(badge).to_have_text("pending")

    # From here on nobody touches the page.
    page.evaluate("window.wasNotLoadedAnew = true")
    stage.client("orch-001")
    expect(badge).to_have_text("delivered", timeout=30_000)
    expect(page.locator("#timeline")).to_contain_text("Delivered")
    assert page.evaluate("window.wasNotLoadedAnew") is True

    stage.open("/admin/orchestrators/message/")
    expect(page.get_by_text("There are newer messages.")).to_be_hidden()
    body = {"message_type": "rotate_logs", "message_content": {}}
    stage.api("/api/v1/internal/orchestrators/orch-002/messages", body)
    expect(page.get_by_text("There are newer messages.")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="Show them").click()
    stage.wait_live()
    row = page.locator("#result_list tr").filter(has_text="rotate_logs")
    expect(row.locator("[data-show=status]")).to_have_text("pending")
    stage.client("orch-002")
    expect(row.locator("[data-show=status]")).to_have_text("delivered", timeout=30_000)
    expect(row.locator("[data-show=attempts]")).to_have_text("1")
