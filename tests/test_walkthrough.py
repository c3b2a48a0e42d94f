"""docs/walkthrough.md runs as it stands: its calls, in order, by curl, against the product with its demo fleet."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moolai.testing.product import PROJECT, Installation, ServerProcess

pytestmark = pytest.mark.once
TEXT = (PROJECT / "docs" / "walkthrough.md").read_text()
BLOCKS = re.findall(r"```sh run\n(.*?)```(?:\s*```(?:json|text) (\d+)\n(.*?)```)?", TEXT, re.DOTALL)
TOKEN = "a-superadmin-token-for-the-walkthrough"
LIMITS = {  # as the product has them; tests lift them elsewhere
    "TASKS_CREATE": "10/minute", "TASKS_READ": "30/minute", "TASKS_UPDATE": "10/minute", "EVENTS": "20/minute",
    "APPROVALS": "5/minute", "STATS": "30/minute",
}  # fmt: skip
WRAPPER = 'curl() { command curl -D "$OUT/headers" "$@"; }\n'


def script(out: Path) -> str:
    """Return all calls as one script that keeps each block's output and the head of its last answer."""
    parts = [f"{{ {block}\n}} > $OUT/{number}.out\ncp $OUT/headers $OUT/{number}.headers 2>/dev/null || true\n"
             for number, (block, _, _) in enumerate(BLOCKS)]  # fmt: skip
    return f"set -eu\nOUT={out}\ncd $OUT\n{WRAPPER}" + "".join(parts)


def assert_like(shown: Any, answered: Any, path: str = "answer") -> None:
    """Compare an answer with the one that is shown: the same fields, the same values where none is `…`."""
    if isinstance(shown, dict) and "…" in shown:
        assert isinstance(answered, dict), path
        assert answered, path
    elif isinstance(shown, dict):
        assert isinstance(answered, dict), path
        assert set(shown) == set(answered), path
        for name in shown:
            assert_like(shown[name], answered[name], f"{path}.{name}")
    elif isinstance(shown, list):
        assert len(shown) == len(answered), path
        for index, item in enumerate(shown):
            assert_like(item, answered[index], f"{path}[{index}]")
    elif isinstance(shown, str) and "…" in shown:
        assert re.fullmatch(re.escape(shown).replace("…", "(?s:.+)"), answered), f"{path}: {answered}"
    elif type(shown) is int and path.endswith((".id", "total_items", "total_pages")):
        assert type(answered) is int, path
    else:
        assert shown == answered, path


def assert_limited(block: str, head: str) -> None:
    """Compare the limit that an answer tells with the one of its route, where that has one of its own."""
    last = re.findall(r"\$MOOLAI/(tasks|events|approvals|stats)\b(\S*)", block)
    if not last or "cat " in block:
        return
    (route, rest), method = last[-1], "PATCH" if "PATCH" in block else "POST" if " -d " in block else "GET"
    name = {"tasks": {"POST": "TASKS_CREATE", "GET": "TASKS_READ", "PATCH": "TASKS_UPDATE"}[method]}.get(route, route)
    told = dict(re.findall(r"(?im)^(x-ratelimit-\w+): (\d+)", head.lower()))
    assert told["x-ratelimit-limit"] == LIMITS[name.upper()].partition("/")[0], block + rest
    assert int(told["x-ratelimit-remaining"]) < int(told["x-ratelimit-limit"])


def wait_for_the_demo_fleet(up: ServerProcess) -> None:
    """Return once two orchestrators are connected, and the worker and beat have said that they live."""
    for _ in range(600):
        live = ask(up, "/api/v1/controller/orchestrators/live")
        if live["total_items"] == 2 and ask(up, "/api/v1/controller/health")["status"] == "healthy":
            return
        time.sleep(0.1)
    pytest.fail("the demo fleet did not connect")


def ask(up: ServerProcess, path: str) -> Any:
    """Return the data of an answer."""
    request = urllib.request.Request(up.url(path), headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["data"]


@pytest.mark.parametrize(
    ("shown", "answered"),
    [({"a": 1}, {"a": 1, "b": 2}), ({"a": "x…"}, {"a": "y"}), ({"a": None}, {"a": ""}), ([1], []), ({"…": "…"}, {})],
)
def test_the_comparison_can_fail(shown: Any, answered: Any) -> None:
    with pytest.raises(AssertionError):
        assert_like(shown, answered)


@pytest.mark.services
def test_every_call_answers_as_shown(installation: Callable[..., Installation], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    home = installation({"DEV_BEARER_TOKEN": TOKEN} | {f"RATE_LIMIT_{name}": rate for name, rate in LIMITS.items()})
    up = home.process("up", "--demo").start()
    env = {"MOOLAI": f"http://127.0.0.1:{up.port}", "DEV_BEARER_TOKEN": TOKEN, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    wait_for_the_demo_fleet(up)
    done = subprocess.run(
        ["bash", "-c", script(tmp_path)], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    checked = 0
    for number, (block, status, shown) in enumerate(BLOCKS):
        if not status:
            continue
        assert_limited(block, (tmp_path / f"{number}.headers").read_text())
        said = (tmp_path / f"{number}.out").read_text()
        code = (tmp_path / f"{number}.headers").read_text().split()[1]
        assert code == status, f"{block}{said}"
        if shown.strip():
            assert_like(json.loads(shown), json.loads(said.strip().splitlines()[-1]), block)
        else:
            assert said == "", block
        checked += 1
    assert checked >= 30
