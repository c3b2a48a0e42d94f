"""`manage.py orchestrator` and `manage.py demo_fleet`, as processes against a fake controller."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from .fake_controller import FakeController, Peer, attend, until

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


@contextlib.asynccontextmanager
async def manage(*arguments: str, data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command with a key in the environment; nothing of it stays."""
    environment = {**os.environ, "MOOLAI_API_KEY": "mk_secret", "DATA_DIR": str(data)}
    pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(MANAGE), *arguments, env=environment, stdout=pipe, stderr=out
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def leave(process: asyncio.subprocess.Process) -> str:
    """Ask for the end twice at once, as a terminal and a supervisor do, and return what was printed."""
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    text, _ = await asyncio.wait_for(process.communicate(), 15)
    return text.decode()


async def answer(peer: Peer) -> None:
    """Configure, send one message, and attend."""
    await peer.welcome()
    await peer.configure(1, kind="provisioning")
    await peer.message("m1")
    await attend(peer)


async def test_the_command_runs_one_orchestrator(tmp_path: Path) -> None:
    async with FakeController(answer) as controller:
        options = ["--id", "orch-001", "--url", controller.url, "--organization", "org-001", "--metrics-interval", "0"]
        async with manage("orchestrator", *options, data=tmp_path) as process:
            await until(lambda: bool(controller.peers) and len(controller.peers[0].frames) >= 4, seconds=20)
            printed = await leave(process)
        peer = controller.peers[0]
    assert (process.returncode, peer.frames[-1]["type"]) == (0, "goodbye"), printed
    assert (peer.headers["Authorization"], peer.registered["organization_id"]) == ("Bearer mk_secret", "org-001")


async def test_the_fleet_command_runs_many_and_counts(tmp_path: Path) -> None:
    async with FakeController(answer) as controller:
        options = ["5", "--url", controller.url, "--prefix", "load", "--heartbeat-interval", "1", "--json"]
        async with manage("demo_fleet", *options, data=tmp_path) as process:
            await until(lambda: len([p for p in controller.peers if len(p.frames) >= 4]) == 5, seconds=20)
            printed = await leave(process)
        last = [peer.frames[-1]["type"] for peer in controller.peers]
        ids = {peer.registered["orchestrator_id"] for peer in controller.peers}
    assert process.returncode == 0, printed
    assert ids == {f"load-000{n}" for n in range(1, 6)}
    assert last == ["goodbye"] * 5
    final = json.loads(printed.splitlines()[-1])["final"]
    assert (final["size"], final["connected"], final["configs_applied"], final["messages"]) == (5, 5, 5, 5)
