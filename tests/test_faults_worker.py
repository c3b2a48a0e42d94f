"""Faults of the worker: killed in the middle of a bulk action, whose rest another one does, nothing twice."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from moolai.testing.processes import wait_until
from moolai.testing.product import Installation

COUNT = 6_000
LEASE_SECONDS = 15
FILL = f"""
from orchestrators import bulk
from orchestrators.models import Instance
from orgs import organizations
home = organizations.create("big", name="Big", acting_user=None)
Instance.objects.bulk_create(
    [Instance(orchestrator_id=f"o-{{n}}", organization=home, name="o") for n in range({COUNT})], batch_size=500)
bulk.start("message", selector={{"all": True}}, parameters={{"message_type": "reload"}}, acting_user=None)
"""
LOOK = """
import json
from orchestrators.models import Job, Message
from orgs.models import AuditEntry, Event
job = Job.objects.get()
print(json.dumps({"status": job.status, "done": job.done, "messages": Message.objects.count(),
    "receivers": Message.objects.values("orchestrator").distinct().count(),
    "events": Event.objects.filter(kind="message.queued").count(),
    "audit": AuditEntry.objects.filter(action="bulk.message").count()}))
"""


def look(place: Installation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.manage("shell", "--no-imports", "-c", LOOK).stdout.splitlines()[-1])
    return found


@pytest.mark.faults
def test_a_bulk_action_survives_its_worker_and_nobody_is_told_twice(installation: Callable[..., Installation]) -> None:
    place = installation(env={})
    place.manage("shell", "--no-imports", "-c", FILL)
    worker, _ = place.worker(), place.beat()
    assert wait_until(lambda: look(place)["done"] > 0, timeout_seconds=60)
    worker.kill()
    killed = time.monotonic()
    before = look(place)
    assert before["messages"] == before["done"] == before["events"]  # a piece is whole, or never happened
    place.worker()
    if before["status"] == "running":
        began = LEASE_SECONDS + 5 + 10  # the lease, the sweep, and a slow machine
        assert wait_until(lambda: look(place)["done"] > before["done"], timeout_seconds=began)
        print(f"went on {time.monotonic() - killed:.1f} s after the kill, from {before['done']}")  # noqa: T201
    assert wait_until(lambda: look(place)["status"] == "completed", timeout_seconds=120)
    after = look(place)
    assert (after["done"], after["messages"], after["receivers"], after["events"]) == (COUNT,) * 4
    assert after["audit"] == 1
