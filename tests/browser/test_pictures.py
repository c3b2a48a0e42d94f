"""The README's pictures: a small fleet with every status, as it looks.

`MOOLAI_SCREENSHOTS=docs/images pytest tests/browser` renews them; otherwise they go to a temporary directory.
"""

import json
import os
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.sync.client import ClientConnection, connect

from tests.browser.stage import Stage

pytestmark = [pytest.mark.once, pytest.mark.browser, pytest.mark.services]
FLEET = {
    "atlas-eu-1": ("org-001", "Atlas Frankfurt"),
    "atlas-us-1": ("org-001", "Atlas Virginia"),
    "care-01": ("org-002", "Care Lisbon"),
    "ledger-01": ("initech", "Ledger"),
}
ENLARGE = """
from orchestrators import instances
from orgs import keys, organizations
from orgs.models import Organization
organizations.create("initech", name="Initech Finance", acting_user=None)
by_id = Organization.objects.in_bulk()
instances.create("ledger-02", organization=by_id["initech"], name="Ledger standby", acting_user=None)
print("KEYS", {pk: keys.create(row, name="fleet " + pk, acting_user=None, scopes=["orchestrator"])[1]
    for pk, row in by_id.items()})
"""


def fill(stage: Stage) -> str:
    """Connect the fleet; return the key of the organization that stays for the ailing one."""
    printed = stage.installation.manage("shell", "-c", ENLARGE).stdout
    keys = json.loads(printed.split("KEYS ")[1].splitlines()[0].replace("'", '"'))
    for orchestrator_id in ("orch-001", "orch-002"):
        stage.client(orchestrator_id)
    for orchestrator_id, (organization_id, name) in FLEET.items():
        stage.client(orchestrator_id, "--name", name, key=keys[organization_id])
    return str(keys["org-002"])


def ail(socket: ClientConnection, seconds: float) -> None:
    """Let an orchestrator go on telling that it is not well."""
    health = {"status": "degraded", "reason": "the vector store answers slowly"}
    for _ in range(int(seconds / 2) + 1):
        socket.send(json.dumps({"type": "i_am_alive", "health": health}))
        time.sleep(2)


def take_dashboard(stage: Stage, directory: Path, socket: ClientConnection) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 1130})
    stage.open("/admin/")
    expect(page.locator("[data-fleet=connected]")).to_have_text("7", timeout=40_000)
    ail(socket, 2)
    expect(stage.field("care-02", "status")).to_have_text("✖ Error · degraded")
    ail(socket, 75 if os.environ.get("MOOLAI_SCREENSHOTS") else 4)  # so that the chart has something to show
    stage.switch("orch-002").click()
    expect(page.locator("[data-fleet=independent]")).to_have_text("1")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("orch-002 became independent")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    stage.picture("console-dashboard", directory)
    page.emulate_media(color_scheme="dark")
    stage.open("/admin/")
    expect(page.locator("html.dark")).to_have_count(1)
    ail(socket, 2)
    stage.picture("console-dashboard-dark", directory)
    page.emulate_media(color_scheme="light")


def take_list(stage: Stage, directory: Path) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 800})
    stage.open("/admin/orchestrators/instance/")
    stage.switch("atlas-us-1").click()
    expect(page.get_by_text("atlas-us-1 is now independent")).to_be_visible()
    time.sleep(1)
    stage.picture("console-orchestrators", directory)


def take_one(stage: Stage, directory: Path) -> None:
    page = stage.page
    page.set_viewport_size({"width": 1280, "height": 1010})
    with page.expect_navigation():
        page.get_by_role("link", name="orch-001").first.click()
    stage.wait_live()
    page.get_by_label("Content (JSON)").fill('{"scope": "all"}')
    page.get_by_label("Type").fill("reload_prompts")
    page.get_by_role("button", name="Send message").click()
    expect(page.locator("#messages .mo-events")).to_contain_text("delivered")
    expect(page.locator("[data-columns] canvas")).to_be_visible(timeout=30_000)
    page.evaluate("scrollTo(0, 0)")
    time.sleep(1)
    stage.picture("console-orchestrator", directory)


def take_narrow(stage: Stage, directory: Path) -> None:
    stage.page.set_viewport_size({"width": 400, "height": 860})
    stage.open("/admin/")
    assert not stage.has_overflow()
    expect(stage.page.locator("[data-chart=heartbeats] canvas")).to_be_visible()
    time.sleep(1)
    stage.picture("console-narrow", directory)


def test_pictures_of_a_fleet_with_every_status(stage: Stage, tmp_path: Path) -> None:
    key = fill(stage)
    with connect(stage.server.ws_url(), additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        opening = {"type": "register", "orchestrator_id": "care-02", "name": "Care Porto", "version": "1.3.2"}
        socket.send(json.dumps(opening))
        take_dashboard(stage, tmp_path, socket)
        take_list(stage, tmp_path)
    take_one(stage, tmp_path)
    take_narrow(stage, tmp_path)
