"""The client in a session: register, heartbeat, configuration, goodbye, and junk."""

import asyncio
from typing import Any

import pytest

from orchestrators.client import ClientStoppedError, OrchestratorClient

from .fake_controller import Peer, Script, attend, polite, scripted, session, until

pytestmark = pytest.mark.once


async def test_registers_with_the_key_in_the_header_and_only_there() -> None:
    options = {"organization_id": "org-001", "name": "One", "version": "1.4.0", "metadata": {"zone": "eu"}}
    async with session(polite, **options) as (client, controller):
        await client.wait_connected()
        peer = controller.peers[0]
    assert peer.headers["Authorization"] == "Bearer mk_secret"
    registered = peer.registered
    assert "mk_secret" not in str(registered)
    assert registered["metadata"]["hostname"]
    assert registered["metadata"]["zone"] == "eu"
    del registered["metadata"]
    assert registered == {
        "type": "register",
        "orchestrator_id": "orch-001",
        "organization_id": "org-001",
        "name": "One",
        "version": "1.4.0",
        "capabilities": ["config", "messages"],
    }


@pytest.mark.parametrize("bad", ["live", "register", "-a", "", "a" * 51, "a/b", "a\n"])
def test_an_id_the_protocol_forbids_is_refused_before_connecting(bad: str) -> None:
    with pytest.raises(ValueError, match="not an orchestrator id"):
        OrchestratorClient("ws://127.0.0.1:1/ws", bad)


async def test_beats_at_the_interval_of_the_ack_with_rising_seq() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(heartbeat_interval=0.03)
        await attend(peer)

    async with session(script) as (client, controller):
        await asyncio.sleep(0.3)
        seqs = [frame["seq"] for frame in controller.peers[0].frames if frame["type"] == "i_am_alive"]
        assert client.connections == 1
    assert seqs == list(range(1, len(seqs) + 1))
    assert 5 <= len(seqs) <= 11


async def test_unanswered_heartbeats_make_it_connect_again() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.welcome(heartbeat_interval=0.05)
        while True:
            await peer.receive()

    async with session(deaf, polite) as (client, controller):
        await client.wait_connected()
        started = asyncio.get_running_loop().time()
        await until(lambda: len(controller.peers) == 2)
        took = asyncio.get_running_loop().time() - started
        assert len([f for f in controller.peers[0].frames if f["type"] == "i_am_alive"]) == 3
    assert 0.09 <= took <= 0.4


async def test_a_poke_is_answered_with_a_heartbeat() -> None:
    async def poke(peer: Peer) -> int:
        await peer.expect("i_am_alive")
        await peer.send(type="poke")
        return int((await peer.expect("i_am_alive"))["seq"])

    script, result = scripted(poke)
    async with session(script):
        assert await asyncio.wait_for(result, 2) == 2


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_configuration_is_applied_and_reported(is_async: bool) -> None:
    taken: list[Any] = []

    async def take(config: Any) -> None:
        taken.append(config)

    async def configure(peer: Peer) -> list[str]:
        await peer.send(type="provisioning", version=3, config_hash="sha256:3", config={"a": 1}, data={"a": 1})
        first, second = await peer.expect("config_status"), await peer.expect("config_status")
        assert {first["config_hash"], second["config_hash"]} == {"sha256:3"}
        return [first["status"], second["status"]]

    script, result = scripted(configure)
    async with session(script, on_config=take if is_async else taken.append) as (client, _):
        assert await asyncio.wait_for(result, 2) == ["applying", "applied"]
        assert (client.configuration.version, client.configuration.hash) == (3, "sha256:3")
    assert taken == [{"a": 1}]


async def test_a_failed_configuration_is_reported_and_its_hash_is_not_taken() -> None:
    async def refuse(config: Any) -> None:
        raise RuntimeError("no such model")

    script, result = scripted(lambda peer: peer.configure(3))
    async with session(script, on_config=refuse) as (client, _):
        status = await asyncio.wait_for(result, 2)
        assert (status["status"], status["error"]) == ("failed", "no such model")
        assert client.configuration.hash is None


async def test_an_older_configuration_never_follows_a_newer_one() -> None:
    taken: list[int] = []

    async def configure(peer: Peer) -> list[str]:
        return [(await peer.configure(version))["status"] for version in (5, 4, 5, 6)]

    async def take(config: Any) -> None:
        taken.append(config["number"])

    script, result = scripted(configure)
    async with session(script, on_config=take):
        assert await asyncio.wait_for(result, 2) == ["applied", "failed", "applied", "applied"]
    assert taken == [5, 6]


async def test_the_applied_hash_is_registered_after_a_reconnect() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.configure(7)
        peer.drop()

    async with session(first, polite) as (_, controller):
        await until(lambda: len(controller.peers) == 2 and bool(controller.peers[1].registered))
        assert "config_hash" not in controller.peers[0].registered
        assert controller.peers[1].registered["config_hash"] == "sha256:7"


async def test_stopping_answers_what_is_being_handled_then_says_goodbye() -> None:
    started = asyncio.Event()

    async def handle(kind: str, content: Any) -> None:
        started.set()
        await asyncio.sleep(0.1)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(type="restart", message_id="m1", content={})
        await attend(peer)

    async with session(script, on_message=handle) as (client, controller):
        await started.wait()
        await client.stop()
        assert [f["type"] for f in controller.peers[0].frames][-2:] == ["ack", "goodbye"]
        assert controller.peers[0].socket.close_code == 1000
        with pytest.raises(ClientStoppedError):
            await client.send("note", {})


async def test_stopping_while_nobody_listens_ends_at_once_and_fails_what_waits() -> None:
    client = OrchestratorClient("ws://127.0.0.1:1/ws", "orch-001")
    running = asyncio.create_task(client.run())
    waiting = asyncio.create_task(client.send("note", {}))
    await asyncio.sleep(0.05)
    await client.stop()
    await asyncio.wait_for(running, 1)
    with pytest.raises(ClientStoppedError):
        await waiting


async def test_junk_from_the_controller_is_survived() -> None:
    async def junk(peer: Peer) -> Any:
        for text in ("", "[]", "{", '{"type": 1}', '{"type": "new_thing"}', '{"type": "ack", "message_id": {}}'):
            await peer.socket.send(text)
        await peer.socket.send(b"\xff\xfe")
        await peer.send(type="provisioning", version="x", config=[1])
        assert (await peer.expect("config_status"))["status"] == "applying"
        assert (await peer.expect("config_status"))["status"] == "failed"
        return await peer.message("m1")

    script, result = scripted(junk)
    async with session(script, on_message=lambda kind, content: {"ok": True}) as (_, controller):
        assert (await asyncio.wait_for(result, 2))["result"] == {"ok": True}
        assert len(controller.peers) == 1


async def test_versions_start_anew_when_the_history_of_the_controller_does() -> None:
    def at(epoch: int, version: int) -> Script:
        async def script(peer: Peer) -> None:
            await peer.welcome(epoch=epoch)
            statuses.append((await peer.configure(version))["status"])
            peer.drop()

        return script

    statuses: list[str] = []
    async with session(at(7, 9), at(8, 5), at(1, 2), polite) as (client, _):
        await until(lambda: client.connections == 4)
        assert client.configuration.version == 2
    assert statuses == ["applied", "failed", "applied"]
