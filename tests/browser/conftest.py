"""The stage of the browser tests."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from moolai.testing.product import Installation
from tests.browser.stage import ENVIRONMENT, Stage


@pytest.fixture
def stage(installation: Callable[..., Installation], chromium_page: Page) -> Iterator[Stage]:
    """A server, signed in to, with nobody connected yet; whatever the browser complained about fails the test."""
    made = Stage(installation(ENVIRONMENT), chromium_page)
    try:
        made.sign_in()
        yield made
        assert made.complaints == []
    finally:
        made.close()
