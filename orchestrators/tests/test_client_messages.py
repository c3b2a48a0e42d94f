"""Messages up and down and tasks: handled once, answered always, sent again until acknowledged."""

import asyncio
import logging
import time
from typing import Any

import pytest

from orchestrators.client import FrameError, FrameTooLargeError, MessageConflictError, MessageError, OrchestratorClient
from orchestrators.client.tasks import Tasks

from .fake_controller import Peer, attend, polite, scripted, session

pytestmark = pytest.mark.once


async def test_messages_are_handled_in_order_and_acknowledged_with_their_results() -> None:
    async def handle(kind: str, content: Any) -> Any:
        if kind == "fail":
            raise ValueError("cannot")
        await asyncio.sleep(0.02 / content["n"])
        return {"n": content["n"]}

    async def converse(peer: Peer) -> list[Any]:
        for n in (1, 2, 3):
            await peer.send(type="restart", message_id=f"m{n}", content={"n": n}, attempt=1)
        await peer.send(type="fail", message_id="m4", content={}, attempt=1)
        return [await peer.expect("ack") for _ in range(4)]

    script, result = scripted(converse)
    async with session(script, on_message=handle):
        acks = await asyncio.wait_for(result, 2)
    assert [ack["message_id"] for ack in acks] == ["m1", "m2", "m3", "m4"]
    assert [ack.get("result") for ack in acks] == [{"n": 1}, {"n": 2}, {"n": 3}, None]
    assert acks[3] == {"type": "ack", "message_id": "m4", "success": False, "error": "cannot"}


async def test_a_repeated_message_is_answered_again_but_handled_once_also_after_a_reconnect() -> None:
    handled: list[str] = []

    async def handle(kind: str, content: Any) -> Any:
        handled.append(kind)
        return {"count": len(handled)}

    async def first(peer: Peer) -> None:
        await peer.welcome()
        assert (await peer.message("m1"))["result"] == {"count": 1}
        assert (await peer.message("m1"))["result"] == {"count": 1}
        peer.drop()

    script, result = scripted(lambda peer: peer.message("m1"))
    async with session(first, script, on_message=handle):
        assert (await asyncio.wait_for(result, 2))["result"] == {"count": 1}
    assert handled == ["restart"]


async def test_the_memory_of_answers_is_bounded() -> None:
    async def many(peer: Peer) -> None:
        for n in range(1100):
            await peer.message(f"m{n}")

    script, result = scripted(many)
    async with session(script, on_message=lambda kind, content: None) as (client, _):
        await asyncio.wait_for(result, 10)
        assert len(client.messages._answers) <= 1024


async def test_without_a_handler_a_message_is_refused_not_swallowed() -> None:
    script, result = scripted(lambda peer: peer.message("m1"))
    async with session(script):
        assert (await asyncio.wait_for(result, 2))["success"] is False


async def test_sending_returns_the_ack() -> None:
    async with session(polite) as (client, controller):
        assert (await client.recommend({"text": "scale"}))["duplicate"] is False
        await client.send("note", {"a": 1}, message_id="mine")
        await client.report_metrics({"cpu_usage_percent": 1.0})
        frames = [frame for frame in controller.peers[0].frames if "message_id" in frame]
    assert [frame["type"] for frame in frames] == ["recommendation", "message", "monitoring"]
    assert (frames[1]["message_id"], frames[1]["message_type"]) == ("mine", "note")


async def test_what_was_dropped_before_its_ack_is_sent_again_with_the_same_id() -> None:
    async def dropping(peer: Peer) -> None:
        await peer.welcome()
        await peer.expect("recommendation")
        peer.drop()

    async with session(dropping, dropping, polite) as (client, controller):
        await asyncio.wait_for(client.recommend({"text": "scale"}), 3)
        ids = {f["message_id"] for p in controller.peers for f in p.frames if f["type"] == "recommendation"}
        assert (len(controller.peers), len(ids)) == (3, 1)
        assert len(client.outbox) == 0


async def test_what_is_not_acknowledged_in_time_is_sent_again_in_the_same_session() -> None:
    async def forgetful(peer: Peer) -> None:
        await peer.welcome()
        first, second = await peer.expect("message"), await peer.expect("message")
        assert first == second
        await peer.send(type="ack", message_id=second["message_id"], success=True, duplicate=True)
        await attend(peer)

    async with session(forgetful, resend_seconds=0.05) as (client, controller):
        assert (await asyncio.wait_for(client.send("note", {}), 2))["duplicate"] is True
        assert len(controller.peers) == 1


@pytest.mark.parametrize(
    ("code", "expected"), [("message_id_conflict", MessageConflictError), ("invalid_field", MessageError)]
)
async def test_a_message_the_controller_refuses_raises(code: str, expected: type[MessageError]) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.expect("message")
        await peer.send(type="error", success=False, error=code, detail="why", ref=frame["message_id"], fatal=False)
        await attend(peer)

    async with session(refusing) as (client, controller):
        with pytest.raises(expected) as caught:
            await asyncio.wait_for(client.send("note", {}), 2)
        assert type(caught.value) is expected
        assert (caught.value.code, caught.value.detail, len(controller.peers)) == (code, "why", 1)


async def test_a_rate_limited_message_waits_as_long_as_it_is_told() -> None:
    times: list[float] = []

    async def limiting(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(2):
            frame = await peer.expect("message")
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                wish = {"error": "rate_limited", "ref": frame["message_id"], "retry_after_ms": 120, "fatal": False}
                await peer.send(type="error", success=False, detail="slow down", **wish)
        await peer.send(type="ack", message_id=frame["message_id"], success=True)
        await attend(peer)

    async with session(limiting) as (client, _):
        await asyncio.wait_for(client.send("note", {}), 2)
    assert 0.1 <= times[1] - times[0] <= 0.5


async def test_a_burst_stays_below_the_flood_limit() -> None:
    async with session(polite) as (client, controller):
        await client.wait_connected()
        began = time.monotonic()
        sends = [asyncio.create_task(client.send("note", {"n": n})) for n in range(70)]
        await asyncio.sleep(0.3)
        notes = [f["content"]["n"] for f in controller.peers[0].frames if f["type"] == "message"]
        assert notes == list(range(len(notes)))
        assert 45 <= len(notes) <= 55 + 20 * (time.monotonic() - began)
        await asyncio.wait_for(asyncio.gather(*sends), 5)


async def test_a_full_outbox_makes_the_next_sender_wait() -> None:
    client = OrchestratorClient("ws://127.0.0.1:1/ws", "orch-001", outbox_limit=1)
    first = asyncio.create_task(client.send("note", {}))
    second = asyncio.create_task(client.send("note", {}))
    await asyncio.sleep(0.02)
    assert len(client.outbox) == 1
    first.cancel()
    await asyncio.sleep(0.02)
    assert (len(client.outbox), second.done()) == (1, False)
    second.cancel()


async def test_what_cannot_be_sent_is_refused_here() -> None:
    async with session(polite) as (client, controller):
        await client.wait_connected()
        with pytest.raises(FrameTooLargeError):
            await client.send("note", {"text": "é" * (128 * 1024)})
        for bad in (float("nan"), "\ud800", object()):
            with pytest.raises(FrameError):
                await client.send("note", {"value": bad})
        await client.send("note", {"text": "é" * (127 * 1024)})
        assert len(controller.peers) == 1


async def test_a_task_runs_and_its_result_and_progress_are_reported() -> None:
    async def work(kind: str, payload: Any) -> Any:
        await client.report_progress(40)
        return {"sum": payload["a"] + 1}

    async def assign(peer: Peer) -> tuple[Any, ...]:
        task = {"type": "task", "task_id": "t1", "task_type": "add", "payload": {"a": 1}, "lease_seconds": 60}
        await peer.send(message_id="m1", **task)
        ack, progress = await peer.expect("ack"), await peer.expect("task_progress")
        result = await peer.expect("task_result")
        await peer.send(message_id="m2", **task)
        await peer.expect("ack")
        return ack["success"], progress["progress"], result, await peer.expect("task_result")

    script, result = scripted(assign)
    async with session(script, on_task=work) as (client, controller):
        success, progress, first, again = await asyncio.wait_for(result, 2)
        assert "tasks" in controller.peers[0].registered["capabilities"]
    assert (success, progress) == (True, 40)
    want = {"type": "task_result", "task_id": "t1", "success": True, "result": {"sum": 2}}
    assert (first, again) == (want | {"message_id": "m1"}, want | {"message_id": "m2"})


async def test_a_long_task_keeps_its_lease_and_ends_when_cancelled() -> None:
    async def work(kind: str, payload: Any) -> None:
        await asyncio.sleep(60)

    async def assign(peer: Peer) -> Any:
        await peer.send(type="task", message_id="m1", task_id="t1", task_type="x", payload={}, lease_seconds=0.15)
        for _ in range(2):
            await peer.expect("task_progress")
        await peer.send(type="task_cancel", task_id="t1")
        return await peer.expect("task_result")

    script, result = scripted(assign)
    async with session(script, on_task=work):
        assert (await asyncio.wait_for(result, 2))["error"] == "cancelled"


async def test_a_result_finished_while_offline_is_sent_in_the_next_session() -> None:
    gate = asyncio.Event()

    async def work(kind: str, payload: Any) -> Any:
        await gate.wait()

    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(type="task", message_id="m1", task_id="t1", task_type="x", payload={}, lease_seconds=60)
        await peer.expect("ack")
        peer.drop()

    async def late(seconds: float) -> None:
        gate.set()
        await asyncio.sleep(0.05)

    script, result = scripted(lambda peer: peer.expect("task_result"))
    async with session(first, script, on_task=work, sleep=late):
        assert (await asyncio.wait_for(result, 2))["success"] is True


async def test_at_most_32_messages_are_under_way_unacknowledged() -> None:
    async def silent(peer: Peer) -> None:
        await peer.welcome()
        while True:
            await peer.receive()

    async with session(silent) as (client, controller):
        sends = [asyncio.create_task(client.send("note", {"n": n})) for n in range(40)]
        await asyncio.sleep(0.2)
        assert len([f for f in controller.peers[0].frames if f["type"] == "message"]) == 32
        for send in sends:
            send.cancel()


async def test_a_task_sent_twice_while_it_runs_is_acknowledged_twice_and_run_once() -> None:
    runs: list[str] = []

    async def work(kind: str, payload: Any) -> None:
        runs.append(kind)
        await asyncio.sleep(0.1)

    async def assign(peer: Peer) -> Any:
        for message_id in ("m1", "m1", "m2"):
            await peer.send(type="task", message_id=message_id, task_id="t1", task_type="x", payload={})
            assert (await peer.expect("ack"))["success"] is True
        return await peer.expect("task_result")

    script, result = scripted(assign)
    async with session(script, on_task=work):
        assert (await asyncio.wait_for(result, 2))["success"] is True
    assert runs == ["x"]


async def test_a_task_above_the_limit_is_refused_not_passed_over() -> None:
    sent: list[Any] = []

    async def send(frame: Any) -> bool:
        sent.append(frame)
        return True

    async def work(kind: str, payload: Any) -> None:
        await asyncio.sleep(10)

    tasks = Tasks(handler=work, send=send, log=logging.LoggerAdapter(logging.getLogger("t")), concurrent=1)
    for number in (1, 2):
        await tasks.receive({"task_id": f"t{number}", "message_id": f"m{number}", "task_type": "x", "payload": {}})
    await tasks.close()
    assert [(one["type"], one["message_id"], one["success"]) for one in sent] == [
        ("ack", "m1", True), ("ack", "m2", False),
    ]  # fmt: skip
