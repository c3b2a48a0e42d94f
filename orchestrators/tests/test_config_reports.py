"""What orchestrators say of their configuration: a report that arrived counts, and a failure stays one."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from orchestrators import configuration, instances
from orchestrators.configuration import Report
from orchestrators.models import Instance
from orchestrators.session import Session
from orchestrators.tests.held import Held, holding
from orgs import organizations
from orgs.models import Event

Socket = asyncio.Queue[dict[str, Any]]


@pytest.fixture
async def held(transactional_db: None) -> AsyncIterator[Held]:
    async with holding() as found:
        yield found


@sync_to_async
def row(name: str) -> Instance:
    return Instance.objects.get(orchestrator_id=name)


async def becomes(name: str, status: str) -> bool:
    return await comes(name, config_status=status)


async def comes(name: str, **columns: Any) -> bool:
    for _ in range(300):
        found = await row(name)
        if all(getattr(found, column) == value for column, value in columns.items()):
            return True
        await asyncio.sleep(0.01)
    return False


async def report(socket: Socket, name: str, status: str) -> None:
    """Put a `config_status` on the socket, and let it be read."""
    frame = {"type": "config_status", "config_hash": (await row(name)).config_hash, "status": status}
    if status == "failed":
        frame["error"] = "no"
    await socket.put({"type": "websocket.receive", "text": json.dumps(frame)})
    await asyncio.sleep(0.05)


def serve(session: Session) -> tuple[Socket, "asyncio.Task[None]"]:
    socket: Socket = asyncio.Queue()
    return socket, asyncio.create_task(session.run(socket.get))


@pytest.mark.parametrize("status", ["applying", "applied", "failed"])
async def test_a_report_counts_when_the_line_is_cut_right_behind_it(held: Held, status: str) -> None:
    other, leaving = await held.open("other", is_current=False), await held.open("leaving", is_current=False)
    (its_socket, its_task), (socket, task) = serve(other), serve(leaving)
    desk_is_free = threading.Event()
    held.hub._desk.submit(desk_is_free.wait)  # a slow moment of the database
    await report(its_socket, "other", "applied")
    await report(socket, "leaving", status)  # waits for the batch behind the other's
    await socket.put({"type": "websocket.disconnect", "code": 1006})
    await task
    held.hub.remove(leaving)
    await asyncio.sleep(0.01)
    desk_is_free.set()
    assert await becomes("other", "applied")
    assert await becomes("leaving", status)
    assert leaving.unsettled == 0
    await its_socket.put({"type": "websocket.disconnect", "code": 1006})
    await its_task


@pytest.fixture
async def failed(held: Held) -> Instance:
    """An orchestrator that could not take the desired configuration, and left."""
    session = await held.open("a", is_current=False)
    socket, task = serve(session)
    await report(socket, "a", "failed")
    assert await becomes("a", "failed")
    await socket.put({"type": "websocket.disconnect", "code": 1006})
    await task
    held.hub.remove(session)
    assert await comes("a", is_connected=False)
    return await row("a")


@sync_to_async
def change(name: str) -> None:
    instances.update(Instance.objects.get(orchestrator_id=name), acting_user=None, features={"n": 1})


async def test_a_failure_stays_one_when_its_orchestrator_comes_back_with_what_it_ran_before(
    held: Held, failed: Instance
) -> None:
    session = await held.open("a", is_current=False, config_hash="sha256:before")
    again = await row("a")
    assert (again.config_status, again.config_error, again.config_hash) == ("failed", "no", failed.config_hash)
    assert again.config_reported_hash == "sha256:before"
    socket, task = serve(session)
    await report(socket, "a", "applying")
    await report(socket, "a", "applied")
    assert await becomes("a", "applied"), "until it reports otherwise"
    assert (await row("a")).config_error == ""
    await socket.put({"type": "websocket.disconnect", "code": 1006})
    await task


async def test_a_failure_is_over_when_something_else_is_desired(held: Held, failed: Instance) -> None:
    await change("a")
    assert ((await row("a")).config_status, (await row("a")).config_error) == ("pending", "")
    await held.open("a", is_current=False, config_hash="sha256:before")
    assert (await row("a")).config_status == "pending"


async def test_a_failure_is_over_when_the_desired_changes_with_the_registration(held: Held, failed: Instance) -> None:
    await held.open("a", is_current=False, name="Another name")
    again = await row("a")
    assert again.config_hash != failed.config_hash
    assert (again.config_status, again.config_error) == ("pending", "")


async def test_a_failure_is_over_when_it_comes_back_with_the_desired_hash(held: Held, failed: Instance) -> None:
    await held.open("a", is_current=True)
    assert ((await row("a")).config_status, (await row("a")).config_error) == ("applied", "")


async def test_of_a_client_that_answers_nothing_no_failure_is_kept(held: Held, failed: Instance) -> None:
    await held.open("a", is_current=False, is_legacy=True)
    assert ((await row("a")).config_status, (await row("a")).config_error) == ("unknown", "")


# --- repeated and out of order --------------------------------------------------------------------------------------


@pytest.fixture
def instance(transactional_db: None) -> Instance:
    home = organizations.create("acme", name="Acme", acting_user=None)
    found = instances.create("a", organization=home, acting_user=None)
    Instance.objects.update(is_acknowledging=True, config_status="pending")
    Event.objects.all().delete()
    return found


@pytest.mark.parametrize("is_one_batch", [True, False])
@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("applied", "applying"), "applied", ["applied"]),
        (("failed", "applying", "applying"), "failed", ["failed"]),
        (("applying", "applying", "failed", "failed"), "failed", ["applying", "failed"]),
        (("applied", "applied", "applying", "applied"), "applied", ["applied"]),
        (("failed", "applied"), "applied", ["failed", "applied"]),
    ],
)
def test_reports_that_come_twice_or_too_late_change_nothing(
    instance: Instance, words: tuple[str, ...], status: str, told: list[str], is_one_batch: bool
) -> None:
    reports = [
        Report(instance.pk, "a", "acme", instance.config_hash, word, "no" * (word == "failed")) for word in words
    ]
    for batch in [reports] if is_one_batch else [[report] for report in reports]:
        assert configuration.store(batch) == [None] * len(batch)
    instance.refresh_from_db()
    assert (instance.config_status, instance.config_error) == (status, "no" * (status == "failed"))
    assert instance.config_reported_hash == instance.config_hash
    kinds = Event.objects.filter(orchestrator_id="a", kind__startswith="config.").order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == [f"config.{word}" for word in told]
