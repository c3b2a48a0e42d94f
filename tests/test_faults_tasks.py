"""Faults under tasks: 5,000 of them over four workers and four orchestrators, with twenty processes killed."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moolai.testing.processes import Process, wait_until
from moolai.testing.product import MANAGE, PROJECT, Installation
from orchestrators.models import Task
from orchestrators.tests.live import orm_at
from tests import task_ledger
from tests.fleet import TOKEN, organization_key

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
COUNT = int(os.environ.get("FAULTS_TASKS", "5000"))
KILLS = 20
HANDS = 4
ENVIRONMENT = {
    "DEV_BEARER_TOKEN": TOKEN,
    "TASK_LEASE_SEC": "6",
    "TASK_MAX_ATTEMPTS": "4",
    "RECONNECT_MAX_MS": "2000",
    "HEARTBEAT_TTL_SEC": "60",
}
FEED = """
import random, time
from orchestrators import work
from orgs.models import Organization
home, picked = Organization.objects.get(pk="org-001"), random.Random(7)
for number in range({count}):
    payload = {{"id": str(number), "ms": picked.randint(10, 150), "poison": number % 100 == 50}}
    kind = picked.choice(["field", "field", "desk", "desk", "both"])
    task = work.create(home, task_type=kind, payload=payload, priority=picked.randint(1, 10), acting_user=None)
    time.sleep({pause})
"""


class Scene:
    """A web process, a beat, four workers and four orchestrators that do tasks."""

    def __init__(self, place: Installation, runs: Path) -> None:
        runs.touch()
        self.place, self.runs = place, runs
        self.key = organization_key(place)
        self.web = place.serve()
        place.beat()
        self.hands = [self._hand(f"worker-{number}", "worker") for number in range(HANDS)]
        url = self.web.ws_url()
        self.hands += [self._hand(f"hand-{number}", "orchestrator", url, f"hand-{number}") for number in range(HANDS)]

    def _hand(self, name: str, *arguments: str) -> Process:
        env = {**os.environ, **self.place.env, "RUNS": str(self.runs), "MOOLAI_API_KEY": self.key, "LOG_FORMAT": "json"}
        command = [sys.executable, "-m", "tests.task_hands", *arguments]
        hand = Process(command, log_path=self.place.data_dir / f"{name}.log", env=env, cwd=PROJECT)
        hand.spawn()
        return hand

    def feed(self, *, seconds: float) -> "subprocess.Popen[bytes]":
        """Create the tasks in a process of its own, spread over so many seconds at least."""
        script = FEED.format(count=COUNT, pause=seconds / COUNT)
        command = [sys.executable, str(MANAGE), "shell", "--no-imports", "-c", script]
        return subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **self.place.env})

    def kill_one(self, number: int) -> str:
        """Kill -9 a process and start it again: by turns a worker, an orchestrator, and now and then the web."""
        if number % 5 == 4:
            self.web.kill()
            self.web.start()
            return "web"
        hand = random.choice(self.hands[:HANDS] if number % 2 else self.hands[HANDS:])
        hand.kill()
        hand.spawn()
        return hand.log_path.stem

    def close(self) -> None:
        for hand in self.hands:
            hand.kill()


def tokens(runs: Path) -> dict[str, set[str]]:
    """Return the tokens of every run, by task."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in runs.read_text().splitlines():
        name, _, token = line.partition(" ")
        found[name].add(token)
    return found


def open_tasks() -> int:
    return Task.objects.filter(completed_at__isnull=True).count()


def test_every_task_is_done_once_or_dead_with_its_reason_and_the_urgent_ones_come_first(
    installation: Callable[..., Installation], tmp_path: Path, django_db_blocker: Any
) -> None:
    place = installation(env=ENVIRONMENT)
    scene = Scene(place, tmp_path / "runs")
    try:
        feeder = scene.feed(seconds=COUNT / 100)
        killed: Counter[str] = Counter()
        for number in range(KILLS):
            time.sleep(random.uniform(1.0, 3.0))
            killed[scene.kill_one(number)] += 1
        assert feeder.wait(600) == 0
        with django_db_blocker.unblock(), orm_at(place):
            began = time.monotonic()
            settled = wait_until(lambda: open_tasks() == 0, timeout_seconds=400, interval_seconds=1)
            left = list(Task.objects.filter(completed_at__isnull=True).values_list("task_type", "status")[:20])
            assert settled, (open_tasks(), left)
            stories = task_ledger.read(Task.objects.all())
        by_status = Counter(story.row.status for story in stories)
        again = sum(story.row.lease > 1 for story in stories)
        print(  # noqa: T201
            json.dumps(killed), dict(by_status), f"{again} taken more than once,",
            f"settled {time.monotonic() - began:.0f} s after the last was made",
        )  # fmt: skip
        assert len(stories) == COUNT
        assert by_status["dead"] >= COUNT // 100
        task_ledger.check(stories, tokens(scene.runs))
        poison = [story.row.status for story in stories if story.row.payload["poison"]]
        assert set(poison) == {"dead"}
        assert task_ledger.overtaken(stories, ("field", "both"), taker="hand-") == []
        assert task_ledger.overtaken(stories, ("desk",), taker="worker ") == []
    finally:
        scene.close()
