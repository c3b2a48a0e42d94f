"""`manage.py orchestrator` and `manage.py demo_fleet`, as processes against a fake controller."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from orchestrators.client import cli
from orchestrators.management.commands import demo_fleet
from orgs import keys, organizations
from orgs.models import ApiKey, AuditEntry

from .fake_controller import FakeController, Peer, attend, until

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


@contextlib.asynccontextmanager
async def manage(*arguments: str, data: Path, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command with a key in the environment; nothing of it stays."""
    environment = {**os.environ, "MOOLAI_API_KEY": "mk_secret", "DATA_DIR": str(data), **variables}
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


async def test_a_fleet_that_cannot_connect_says_where_and_why_and_ends_with_1(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        async with manage("demo_fleet", "1", data=tmp_path, HOST="127.0.0.1", PORT=port) as process:
            assert process.stdout is not None
            header = await asyncio.wait_for(process.stdout.readline(), 20)
            await asyncio.sleep(1.5)
            printed = await leave(process)
    assert header.decode().rstrip().endswith(f"connect to ws://127.0.0.1:{port}/ws")
    assert process.returncode == 1, printed
    assert f"None connected to ws://127.0.0.1:{port}/ws: cannot connect" in printed


@pytest.mark.django_db(transaction=True)
def test_a_fleets_own_key_ends_with_it_and_expires_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOOLAI_API_KEY", raising=False)
    organizations.create("initech", name="Initech", acting_user=None)
    with demo_fleet.credential("initech") as secret:
        row = ApiKey.objects.get()
        assert keys.digest(secret) == row.secret_hash
        assert row.revoked_at is None
        assert row.expires_at is not None
        assert timedelta(hours=23) < row.expires_at - timezone.now() <= timedelta(hours=24)
    assert ApiKey.objects.get().revoked_at is not None
    trail = AuditEntry.objects.filter(target_type="api_key").order_by("id")
    assert [(entry.action, entry.actor) for entry in trail] == [
        ("api_key.create", "command demo_fleet"),
        ("api_key.revoke", "command demo_fleet"),
    ]


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "ws://127.0.0.1:8000/ws"),
        ({"PORT": "8190"}, "ws://127.0.0.1:8190/ws"),
        ({"HOST": "0.0.0.0", "CONTROLLER_PORT": "81"}, "ws://127.0.0.1:81/ws"),
        ({"HOST": "::1", "TLS_ENABLED": "true"}, "wss://[::1]:8000/ws"),
    ],
)
def test_the_default_url_is_the_controllers(environment: dict[str, str], url: str) -> None:
    assert cli.url_from(environment) == url
