"""The gateway without a web process: the plane in this one, a database of its own, and a provider-shaped server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings

from llm_gateway.plane import inside
from llm_gateway.tests import desks, provider
from llm_gateway.tests.provider import Provider
from llm_gateway.tests.stage import ANTHROPIC_KEY, OPENAI_KEY
from moolai.testing.world import World
from orchestrators.tests.live import orm_at


@contextmanager
def staged(world: World, blocker: Any) -> Iterator[Provider]:
    """Point this process's rows and calls at an installation of their own; every write is a committed one."""
    with ExitStack() as stack:
        behind = stack.enter_context(provider.running())
        installation = stack.enter_context(world.installation({"SECRET_KEY": settings.SECRET_KEY}))
        stack.enter_context(blocker.unblock())
        stack.enter_context(orm_at(installation, pool_size=12))
        stack.enter_context(desks.own())
        before = settings.LLM_ENVIRONMENT
        settings.LLM_ENVIRONMENT = {
            "openai": ("openai", f"{behind.url}/v1", OPENAI_KEY, False),
            "anthropic": ("anthropic", behind.url, ANTHROPIC_KEY, False),
        }
        inside.shut_down()
        try:
            yield behind
        finally:
            inside.shut_down()
            settings.LLM_ENVIRONMENT = before
