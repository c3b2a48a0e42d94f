"""The stage of the browser tests."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from moolai.testing.product import Installation
from moolai.testing.world import World
from tests.browser.stage import ENVIRONMENT, Stage, copy, prepare

expect.set_options(timeout=15_000)  # a crowded machine is slow, and that says nothing about what is tested


@pytest.fixture(scope="session")
def prepared(world: World) -> Iterator[Installation]:
    """An installation with the superuser and the demo organizations, made once; the stages are copies of it."""
    with world.installation(ENVIRONMENT) as made:
        prepare(made)
        yield made


@pytest.fixture
def stage(prepared: Installation, installation: Callable[..., Installation], chromium_page: Page) -> Iterator[Stage]:
    """A server, signed in to, with nobody connected yet; whatever the browser complained about fails the test."""
    own = installation(ENVIRONMENT)
    copy(prepared, own)
    made = Stage(own, chromium_page)
    try:
        made.sign_in()
        yield made
        assert made.complaints == []
    finally:
        made.close()
