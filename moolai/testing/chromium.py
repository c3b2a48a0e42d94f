"""Debian's Chromium, driven by Playwright: found, never downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
MISSING = "no Chromium on this machine (apt-get install chromium, or set MOOLAI_CHROMIUM to its path)"


def executable() -> str | None:
    """Return the path of the browser: `MOOLAI_CHROMIUM`, else the first of the usual names, else None."""
    named = os.environ.get("MOOLAI_CHROMIUM")
    candidates = (named,) if named else NAMES
    return next((path for path in map(shutil.which, filter(None, candidates)) if path), None)


@contextmanager
def running() -> Iterator[Browser]:
    """Give a browser of its own; raises RuntimeError when there is none.

    While it runs, this thread has a running event loop: keep the ORM and async tests away from it.
    """
    path = executable()
    if path is None:
        raise RuntimeError(MISSING)
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
