"""A real server with the demo organizations, real reference clients, and a browser that is signed in."""

import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from moolai.testing.processes import Process
from moolai.testing.product import PROJECT, Installation, ServerProcess, copy_sqlite

PASSWORD = "a password for the browser"
TOKEN = "browser-tests-superadmin-token"
HEARTBEAT_SECONDS = 2
ENVIRONMENT = {
    "MOOLAI_ADMIN_PASSWORD": PASSWORD,
    "DEV_BEARER_TOKEN": TOKEN,
    "HEARTBEAT_INTERVAL_SEC": str(HEARTBEAT_SECONDS),
    "HEARTBEAT_TTL_SEC": "20",
}
PREPARE = "from moolai import bootstrap; bootstrap.ensure_superuser(); bootstrap.ensure_demo()"


def prepare(installation: Installation) -> None:
    """Make the superuser, the demo organizations and their keys."""
    installation.manage("shell", "-c", PREPARE)


def copy(source: Installation, target: Installation) -> None:
    """Give an installation on SQLite the database and the files of another that does not run."""
    paths = [Path(one.env["DATABASE_URL"].removeprefix("sqlite:///")) for one in (source, target)]
    copy_sqlite(*paths)
    shutil.copytree(source.data_dir, target.data_dir, dirs_exist_ok=True)


class Stage:
    """One installation with a web process, its clients and a page in the browser."""

    def __init__(self, installation: Installation, page: Page) -> None:
        """Serve an installation that has the superuser and the demo organizations."""
        self.installation = installation
        self.server: ServerProcess = installation.serve()
        self.clients: list[Process] = []
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: self._check_address(request.url))

    def _check_address(self, url: str) -> None:
        is_ours = re.match(rf"(https?|wss?)://127\.0\.0\.1:{self.server.port}/", url) or url.startswith(
            ("data:", "blob:")
        )
        if not is_ours:
            self.complaints.append(f"asked {url}, which is somebody else's")

    def client(self, orchestrator_id: str, *arguments: str, key: str = "") -> Process:
        """Start the reference client of a demo orchestrator, with the key bound to it (or with `key`)."""
        secret = key or (self.installation.data_dir / f"demo_{orchestrator_id}.key").read_text().strip()
        process = Process(
            [
                sys.executable, "-m", "orchestrators.client", "--id", orchestrator_id, "--url", self.server.ws_url(),
                "--metrics-interval", "2", *arguments,
            ],
            log_path=self.installation.data_dir / f"{orchestrator_id}.log",
            env={**os.environ, "MOOLAI_API_KEY": secret},
            cwd=PROJECT,
        )  # fmt: skip
        process.spawn()
        self.clients.append(process)
        return process

    def close(self) -> None:
        """End the clients; the server ends with its installation."""
        for process in self.clients:
            process.kill()

    def api(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API as the superadmin and return `data`."""
        request = urllib.request.Request(
            self.server.url(path),
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def orchestrator(self, orchestrator_id: str) -> dict[str, Any]:
        """Return the row of an orchestrator as the API shows it."""
        row: dict[str, Any] = self.api(f"/api/v1/controller/orchestrators/{orchestrator_id}")
        return row

    # --- the browser ------------------------------------------------------------------------------------------------

    def sign_in(self) -> None:
        """Sign in, which leads to the dashboard."""
        self.page.goto(self.server.url("/admin/"))
        self.page.get_by_label("Username").fill("admin")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page).to_have_url(self.server.url("/admin/"))

    def open(self, path: str) -> None:
        """Open a page and wait until it is live."""
        self.page.goto(self.server.url(path))
        self.wait_live()

    def wait_live(self) -> None:
        """Wait until the page says that it is live."""
        expect(self.page.locator(".mo-live").first).to_have_text("Live")

    def field(self, orchestrator_id: str, name: str) -> Locator:
        """Return the element that shows a field of an orchestrator (the first, when several do)."""
        return self.page.locator(f'[data-of="{orchestrator_id}"][data-live="{name}"]').first

    def switch(self, orchestrator_id: str) -> Locator:
        """Return an orchestrator's independence switch."""
        return self.page.get_by_role("switch", name=f"Independence of {orchestrator_id}")

    def seen(self, orchestrator_id: str) -> str:
        """Return the exact last-seen time on the page."""
        return self.field(orchestrator_id, "last_seen").get_attribute("datetime") or ""

    def has_overflow(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def picture(self, name: str, directory: Path) -> None:
        """Take a picture into `directory`, or into MOOLAI_SCREENSHOTS when that is set (docs/images for the README)."""
        folder = Path(os.environ.get("MOOLAI_SCREENSHOTS") or directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")
