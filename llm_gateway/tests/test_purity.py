import pkgutil
import subprocess
import sys

import pytest

from llm_gateway import dialects, surfaces

pytestmark = pytest.mark.once


def modules() -> list[str]:
    found = [f"llm_gateway.{name}" for name in ("canonical", "problems", "reading", "shapes", "sse", "usage")]
    for package in (dialects, surfaces):
        found += [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return found


def test_dialects_and_surfaces_load_neither_django_nor_a_socket_library() -> None:
    code = f"import sys, {', '.join(modules())}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "orjson" in loaded
    forbidden = {"django", "channels", "rest_framework", "moolai", "orgs", "orchestrators", "monitoring"}
    assert not loaded & (forbidden | {"aiohttp", "httpx", "socket", "asyncio", "openai", "anthropic"})
