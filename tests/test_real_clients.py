"""Libraries nobody here wrote each live through PROTOCOL §1: Python's three common ones, and Node's `ws`."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websocket
import websockets.asyncio.client
from asgiref.sync import sync_to_async

from moolai.testing.world import World
from orchestrators import instances, messages
from orchestrators.models import Message
from orchestrators.tests.live import Live, eventually, running

pytestmark = pytest.mark.services
Frame = dict[str, Any]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found
        found.hang_up()


def opening(orchestrator_id: str) -> Frame:
    return {"type": "register", "orchestrator_id": orchestrator_id, "capabilities": ["config"], "version": "1.4.0"}


def prepare(live: Live, orchestrator_id: str) -> Message:
    """Make the orchestrator and queue a message before it was ever there."""
    instances.create(orchestrator_id, organization=live.organization(), acting_user=None)
    return messages.queue(orchestrator_id, message_type="order", content={"do": "this"}, acting_user=None)


def check(live: Live, orchestrator_id: str, order: Message) -> None:
    """Assert the rows that a whole life leaves."""
    assert eventually(lambda: not live.row(orchestrator_id).is_connected)
    row = live.row(orchestrator_id)
    assert (row.status, row.version, row.config_status) == ("inactive", "1.4.0", "applied")
    order.refresh_from_db()
    assert (order.status, order.result) == ("delivered", {"done": True})
    assert (
        Message.objects.filter(
            orchestrator__orchestrator_id=orchestrator_id, direction="inbound", message_id="up-1"
        ).count()
        == 1
    )


async def life(
    orchestrator_id: str, send: Callable[[Frame], Awaitable[None]], recv: Callable[[], Awaitable[Frame]]
) -> None:
    """Live a session from register to goodbye over any client."""
    await send(opening(orchestrator_id))
    ack = await recv()
    assert (ack["type"], ack["success"]) == ("handshake_ack", True), ack
    provisioning = await recv()
    assert provisioning["type"] == "provisioning"
    order = await recv()
    assert (order["type"], order["content"], order["attempt"]) == ("order", {"do": "this"}, 1)
    await send({"type": "ack", "message_id": order["message_id"], "success": True, "result": {"done": True}})
    await send({"type": "config_status", "config_hash": provisioning["config_hash"], "status": "applied"})
    await send({"type": "i_am_alive", "seq": 7})
    assert (await recv())["seq"] == 7
    await send({"type": "recommendation", "message_id": "up-1", "content": {"n": 1}})
    assert await recv() == {"type": "ack", "message_id": "up-1", "success": True, "duplicate": False}
    await send({"type": "monitoring", "message_id": "m-1", "metrics": {"cpu_usage_percent": 12.5}})
    assert (await recv())["message_id"] == "m-1"
    await send({"type": "goodbye"})


async def test_websockets(live: Live) -> None:
    order = await sync_to_async(prepare)(live, "orch-websockets")
    headers = {"Authorization": f"Bearer {await sync_to_async(live.key)()}"}
    url = live.server.ws_url()
    async with websockets.asyncio.client.connect(url, additional_headers=headers, proxy=None) as socket:

        async def send(frame: Frame) -> None:
            await socket.send(json.dumps(frame))

        async def recv() -> Frame:
            found: Frame = json.loads(await asyncio.wait_for(socket.recv(), 5))
            return found

        await life("orch-websockets", send, recv)
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 1000
    await sync_to_async(check)(live, "orch-websockets", order)


async def test_aiohttp(live: Live) -> None:
    order = await sync_to_async(prepare)(live, "orch-aiohttp")
    headers = {"Authorization": f"Bearer {await sync_to_async(live.key)()}"}
    async with aiohttp.ClientSession() as session, session.ws_connect(live.server.ws_url(), headers=headers) as socket:

        async def recv() -> Frame:
            found: Frame = await socket.receive_json(timeout=5)
            return found

        await life("orch-aiohttp", socket.send_json, recv)
        closing = await socket.receive(timeout=5)
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    await sync_to_async(check)(live, "orch-aiohttp", order)


def test_websocket_client(live: Live) -> None:
    order = prepare(live, "orch-websocket-client")
    socket = websocket.create_connection(
        live.server.ws_url(), header=[f"Authorization: Bearer {live.key()}"], timeout=5, suppress_origin=False
    )

    async def send(frame: Frame) -> None:
        socket.send(json.dumps(frame))

    async def recv() -> Frame:
        found: Frame = json.loads(socket.recv())
        return found

    asyncio.run(life("orch-websocket-client", send, recv))
    opcode, data = socket.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (8, 1000)
    socket.shutdown()  # type: ignore[no-untyped-call]
    check(live, "orch-websocket-client", order)


NODE_LIFE = """
const WebSocket = require("ws");
const [url, key, id] = process.argv.slice(2);
const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${key}` } });
const say = (frame) => socket.send(JSON.stringify(frame));
const seen = [];
socket.on("open", () => say({ type: "register", orchestrator_id: id, capabilities: ["config"], version: "1.4.0" }));
socket.on("message", (data) => {
  const frame = JSON.parse(data);
  seen.push(frame.type);
  if (frame.type === "provisioning")
    say({ type: "config_status", config_hash: frame.config_hash, status: "applied" });
  if (frame.type === "order") {
    say({ type: "ack", message_id: frame.message_id, success: true, result: { done: true } });
    say({ type: "i_am_alive", seq: 7 });
  }
  if (frame.type === "heartbeat_ack") say({ type: "recommendation", message_id: "up-1", content: { n: 1 } });
  if (frame.type === "ack") say({ type: "goodbye" });
});
socket.on("error", (error) => { console.error(String(error)); process.exit(1); });
socket.on("close", (code) => console.log(JSON.stringify({ seen, code })));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with Node's `ws` in it."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is missing: Node's `ws` is not tried")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "ws@8"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        pytest.skip("npm install ws did not end within 60 s: Node's `ws` is not tried")
    if done.returncode != 0:
        pytest.skip("npm install ws failed (no registry?): Node's `ws` is not tried")
    (folder / "life.js").write_text(NODE_LIFE)
    return folder


def test_node_ws(live: Live, node: Path) -> None:
    order = prepare(live, "orch-node")
    command = ["node", "life.js", live.server.ws_url(), live.key(), "orch-node"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, cwd=node, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == {"seen": ["handshake_ack", "provisioning", "order", "heartbeat_ack", "ack"], "code": 1000}
    check(live, "orch-node", order)
