"""The client as a process, where only the standard library, `websockets` and psutil can be imported; and the fleet."""

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from orchestrators.client.fleet import Fleet
from orchestrators.client.metrics import Sampler

from .fake_controller import FakeController, Peer, attend, until

pytestmark = pytest.mark.once

CLIENT = Path(__file__).resolve().parents[1] / "client"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a folder with the client, `websockets` and psutil in it, and nothing else."""
    for name in ("websockets", "psutil"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        (tmp_path / name).symlink_to(Path(spec.origin).parent)
    (tmp_path / "orchestrators").mkdir()
    (tmp_path / "orchestrators" / "__init__.py").touch()
    (tmp_path / "orchestrators" / "client").symlink_to(CLIENT)
    return tmp_path


def python(bare: Path, *arguments: str, key: str = "mk_secret") -> Awaitable[asyncio.subprocess.Process]:
    """Start this interpreter without site-packages."""
    pipe = asyncio.subprocess.PIPE
    environment = {"PYTHONPATH": str(bare), "MOOLAI_API_KEY": key, "PATH": os.environ.get("PATH", "")}
    return asyncio.create_subprocess_exec(
        sys.executable, "-S", "-s", *arguments, cwd=bare, env=environment, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )


async def output(process: asyncio.subprocess.Process) -> str:
    """Return everything the process printed, once it has ended."""
    text, _ = await asyncio.wait_for(process.communicate(), 15)
    return text.decode()


@pytest.mark.parametrize("leave", [signal.SIGTERM, signal.SIGINT])
async def test_the_client_lives_a_whole_session_without_django(bare: Path, leave: signal.Signals) -> None:
    seen: dict[str, Any] = {}
    process: asyncio.subprocess.Process

    async def script(peer: Peer) -> None:
        await peer.welcome(session_id="session-42")
        await peer.expect("i_am_alive")
        seen["config"] = await peer.configure(3, kind="provisioning")
        seen["message"] = await peer.message("m1", "restart", when="now")
        metrics = await peer.expect("monitoring")
        await peer.send(type="ack", message_id=metrics["message_id"], success=True)
        seen["metrics"] = metrics["metrics"]
        process.send_signal(leave)
        await peer.expect("goodbye")
        await peer.close(1000)

    async with FakeController(script) as controller:
        options = ["--id", "orch-007", "--url", controller.url, "--organization", "org-001", "--name", "Seven"]
        process = await python(bare, "-m", "orchestrators.client", *options, "--metrics-interval", "0.5")
        printed = await output(process)
        registered = controller.peers[0].registered
    assert process.returncode == 0, printed
    assert (registered["orchestrator_id"], registered["organization_id"]) == ("orch-007", "org-001")
    assert seen["config"]["status"] == "applied"
    assert seen["message"]["result"] == {"handled": "restart"}
    assert 0 <= seen["metrics"]["memory_percent"] <= 100
    for line in ("connected, session session-42", "config v3 applied", "message restart received"):
        assert line in printed
    assert "mk_secret" not in printed


async def test_nothing_else_can_be_imported_there(bare: Path) -> None:
    for name in ("django", "orjson", "aiohttp", "moolai"):
        process = await python(bare, "-c", f"import {name}")
        assert "ModuleNotFoundError" in await output(process)


async def test_the_client_and_its_imports_stay_small(bare: Path) -> None:
    code = (
        "import asyncio, sys; from orchestrators.client import cli, metrics; metrics.Sampler().sample();"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('django', 'moolai', 'orgs')];"
        "import psutil; print(psutil.Process().memory_info().rss // 2**20)"
    )
    process = await python(bare, "-c", code)
    assert int(await output(process)) <= 40


async def test_a_bad_id_or_url_ends_with_2_and_one_clear_line(bare: Path) -> None:
    for options, reason in ((["--id", "live"], "not an orchestrator id"), (["--id", "a", "--url", "http://x"], "URI")):
        process = await python(bare, "-m", "orchestrators.client", *options)
        printed = await output(process)
        assert (process.returncode, reason in printed, "Traceback" in printed) == (2, True, False), printed


@pytest.mark.parametrize(
    ("error", "code", "key", "words"),
    [
        ("unauthenticated", 4401, "mk_old", "refused the key in MOOLAI_API_KEY for orch-1 (4401 unauthenticated)"),
        ("forbidden", 4403, "mk_other", "refused the key in MOOLAI_API_KEY for orch-1 (4403 forbidden)"),
        ("unauthenticated", 4401, "", "refused a session without MOOLAI_API_KEY for orch-1 (4401 unauthenticated)"),
    ],
)
async def test_a_refused_command_ends_with_1_and_says_why(
    bare: Path, error: str, code: int, key: str, words: str
) -> None:
    async with FakeController(lambda peer: peer.refuse(error, code)) as controller:
        options = ["--id", "orch-1", "--url", controller.url, "--metrics-interval", "0"]
        process = await python(bare, "-m", "orchestrators.client", *options, key=key)
        printed = await output(process)
    assert (process.returncode, words in printed, len(controller.peers)) == (1, True, 1), printed


@pytest.mark.parametrize(("error", "options"), [("unauthenticated", ["--keep-trying"]), ("organization_suspended", [])])
async def test_a_daemon_or_a_suspended_organizations_command_keeps_trying(
    bare: Path, error: str, options: list[str]
) -> None:
    async with FakeController(lambda peer: peer.refuse(error, 4403)) as controller:
        options = [*options, "--id", "orch-1", "--url", controller.url, "--metrics-interval", "0"]
        process = await python(bare, "-m", "orchestrators.client", *options)
        assert process.stdout is not None
        async with asyncio.timeout(15):
            while b"next attempt in" not in await process.stdout.readline():
                assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        await output(process)
    assert process.returncode == 0


async def test_a_fleet_connects_answers_and_leaves_with_goodbyes(capsys: pytest.CaptureFixture[str]) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.configure(1, kind="provisioning")
        await peer.message("m1")
        await attend(peer)

    async with FakeController(script) as controller:
        fleet = Fleet(controller.url, 30, api_key="mk_secret", organization_id="org-001", prefix="demo")
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, as_json=True))
        await until(lambda: fleet.progress().messages == 30)
        stop.set()
        final = await asyncio.wait_for(running, 10)
        goodbyes = [peer.frames[-1]["type"] for peer in controller.peers]
        ids = sorted(peer.registered["orchestrator_id"] for peer in controller.peers)
    assert (final.connected, final.configs_applied, final.messages, final.reconnects) == (30, 30, 30, 0)
    assert goodbyes == ["goodbye"] * 30
    assert (ids[0], ids[-1]) == ("demo-0001", "demo-0030")


def test_samples_carry_the_columns_of_the_metrics_table_and_are_shared_while_fresh() -> None:
    sampler = Sampler(reuse_seconds=60)
    sampler._at -= 1
    row = sampler.sample()
    expected = {"cpu_usage_percent", "cpu_load_1min", "memory_usage_mb", "memory_percent", "storage_percent"}
    expected |= {"network_in_mb_s", "process_count", "thread_count", "timestamp", "collection_duration_ms"}
    assert expected <= set(row)
    assert all(value >= 0 for name, value in row.items() if name != "timestamp")
    assert sampler.sample() is row
