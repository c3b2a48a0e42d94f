"""`manage.py orchestrator` and `manage.py demo_fleet`, as processes against a fake controller."""

import argparse
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

from orchestrators.client import cli, rehearsal
from orchestrators.client.fleet import Fleet
from orchestrators.client.frames import Frame
from orchestrators.client.rehearsal import Rehearsal
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


@pytest.mark.once
async def test_the_command_refuses_and_recommends_when_asked(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        answers.append(await peer.configure(1, config={"features": {"beta": True}}))
        answers.append(await peer.configure(2, config={"features": {}}))
        await attend(peer)

    answers: list[Frame] = []
    async with FakeController(script) as controller:
        options = ["--id", "orch-001", "--url", controller.url, "--metrics-interval", "0"]
        options += ["--refuse-config", '"beta": true', "--recommend", '{"suggested_config": {"features": {}}}']
        async with manage("orchestrator", *options, data=tmp_path) as process:
            await until(lambda: len(answers) == 2, seconds=20)
            printed = await leave(process)
        frames = controller.peers[0].frames
    assert [answer["status"] for answer in answers] == ["failed", "applied"], printed
    assert 'refused, for it contains "beta": true' in answers[0]["error"]
    assert [frame["content"] for frame in frames if frame["type"] == "recommendation"] == [
        {"suggested_config": {"features": {}}}
    ]


@pytest.mark.once
async def test_each_of_a_fleet_refuses_and_does_tasks_and_the_first_recommends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rehearsal, "TASK_SECONDS", (0.02, 0.03))

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.configure(1, config={"features": {"beta": True}})
        await peer.send(type="task", message_id="m1", task_id="t1", task_type="bugfix", payload={}, lease_seconds=60)
        await attend(peer)

    def told(peer: Peer, kind: str) -> list[Frame]:
        return [frame for frame in peer.frames if frame["type"] == kind]

    async with FakeController(script) as controller:
        rehearsed = Rehearsal("beta", {"title": "t"}, rehearsal.words("bugfix, deployment"))
        fleet = Fleet(controller.url, 3, api_key="mk_secret", rehearsed=rehearsed)
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, as_json=True))
        await until(lambda: sum(len(told(peer, "config_status")) == 2 for peer in controller.peers) == 3, seconds=20)
        await until(lambda: sum(len(told(peer, "recommendation")) for peer in controller.peers) == 1)
        await until(lambda: sum(len(told(peer, "task_result")) for peer in controller.peers) == 3)
        stop.set()
        await running
        assert controller.peers[0].registered["capabilities"] == ["config", "messages", "bugfix", "deployment"]
        assert {told(peer, "task_result")[0]["success"] for peer in controller.peers} == {True}
        assert [frame["progress"] for frame in told(controller.peers[0], "task_progress")][-2:] == [87.5, 100.0]
        assert {told(peer, "config_status")[-1]["status"] for peer in controller.peers} == {"failed"}


@pytest.mark.once
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_recommendation_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="JSON"):
        rehearsal.content(text)


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
