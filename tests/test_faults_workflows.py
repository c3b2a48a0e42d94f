"""Faults under workflows: workers killed in the middle of long steps; what was answered and kept is not asked again."""

import json
import random
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llm_gateway.models import Call, WorkflowCall, WorkflowContent, WorkflowRun, WorkflowStep
from llm_gateway.tests import flowing, provider
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from orchestrators.models import Task
from orchestrators.tests.live import orm_at

pytestmark = pytest.mark.faults
KILLS = 6
BETWEEN = 5  # answers from one kill to the next
KEEPING_SECONDS = 1.5
"""How long it may take from a provider's answer to the row that keeps it, with a machine under load."""
ENVIRONMENT = {"TASK_LEASE_SEC": "4", "TASK_MAX_ATTEMPTS": "20", "OPENAI_API_KEY": "sk-of-the-fault-tests-0123456789"}
MODEL = "openai/gpt-4o-mini"
LABELS = ["bug", "other"]
DOCUMENTS = 240  # in calls of twenty
CHAIN = [{"name": "s0", "type": "prompt", "prompt": "[slow] {{text}}", "system": "[echo]"}] + [
    {"name": f"s{n}", "type": "prompt", "prompt": f"[slow] {n} {{{{steps.s{n - 1}.text}}}}", "system": "[echo]"}
    for n in range(1, 6)
]
TRANSCRIPT = "[slow] Ann: we ship on Monday.\n" + "\n".join(f"[slow] Cid: item {n} is long." for n in range(3000))


def documents(number: int) -> list[dict[str, str]]:
    """Return a run's documents; every third does not crash."""
    return [
        {"id": f"{number}.{n}", "text": f"[slow] {number}.{n} {'crash' if n % 3 else 'fine'}"} for n in range(DOCUMENTS)
    ]


def wishes() -> list[dict[str, Any]]:
    """Return a batch: four sets of documents, a chain of steps, and a meeting."""
    found = [
        ("classification", {"documents": documents(number), "categories": LABELS, "model": MODEL})
        for number in range(4)
    ]
    found.append(("hybrid", {"text": "begin", "steps": CHAIN, "model": MODEL}))
    found.append(("meeting_intelligence", {"transcript": TRANSCRIPT, "model": MODEL}))
    return [{"workflow_type": kind, "input_data": data} for kind, data in found]


@dataclass
class Answers:
    """What the provider answered, and when: {what was asked: moments}."""

    at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def script(self, body: dict[str, Any]) -> str | None:
        """Answer as `flowing` does, and note it."""
        self.at[json.dumps(body["messages"])].append(time.monotonic())
        return flowing.script(body)

    def count(self) -> int:
        """Return how often anything was answered."""
        return sum(map(len, list(self.at.values())))

    def wasted(self, kills: list[float]) -> list[tuple[str, list[float]]]:
        """Return what was asked again though its answer was there long before any worker was killed."""

        def is_near(moment: float) -> bool:
            return any(-0.5 <= kill - moment <= KEEPING_SECONDS for kill in kills)

        return [(asked[-150:], at) for asked, at in self.at.items() if not all(map(is_near, at[:-1]))]


@pytest.fixture
def behind() -> Iterator[tuple[provider.Provider, Answers]]:
    answers = Answers()
    with provider.running() as found:
        found.script = answers.script
        yield found, answers


def key_of(place: Installation) -> str:
    """Make an organization and return the secret of an operator's key."""
    place.manage("create_organization", "org-001")
    done = place.manage("create_api_key", "--organization", "org-001", "--role", "operator")
    return done.stdout.strip().splitlines()[-1]


def call(url: str, key: str, body: Any = None) -> Any:
    """Call a door and return its `data`."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)["data"]


def is_over() -> bool:
    return not Task.objects.filter(completed_at__isnull=True).exists()


def check_results(runs: list[dict[str, Any]]) -> None:
    """Assert that every run came to what it was asked for, whole and in order."""
    assert {run["status"] for run in runs} == {"completed"}, [(run["status"], run["errors"]) for run in runs]
    for number, run in enumerate(runs[:4]):
        found = [(item["id"], item["label"]) for item in run["result"]["items"]]
        assert found == [(f"{number}.{n}", "bug" if n % 3 else "other") for n in range(DOCUMENTS)]
    assert set(runs[4]["result"]) == {step["name"] for step in CHAIN}
    assert runs[4]["result"]["s5"]["text"].endswith("begin")
    assert runs[5]["result"]["summary"] == "All of it."


def check_rows(runs: list[dict[str, Any]]) -> None:
    """Assert that nothing is left running or kept, and that each run costs what the ledger says of its calls."""
    for model in (WorkflowRun, WorkflowStep, Task):
        assert set(model.objects.values_list("status", flat=True)) == {"completed"}
    assert set(WorkflowContent.objects.values_list("name", flat=True)) == {"result"}
    ledger = dict(Call.objects.values_list("pk", "cost_usd_micros"))
    made = set(WorkflowCall.objects.values_list("pk", flat=True))
    assert set(ledger) <= made, "a call of no run"
    for run in runs:
        mine = WorkflowCall.objects.filter(step__run__workflow_id=run["workflow_id"]).values_list("pk", flat=True)
        assert round(run["cost_usd"] * 1_000_000) == sum(ledger.get(pk, 0) for pk in mine) > 0


def test_what_killed_workers_had_kept_is_not_asked_again(
    installation: Callable[..., Installation],
    behind: tuple[provider.Provider, Answers],
    django_db_blocker: Any,
) -> None:
    server, answers = behind
    place = installation(env={**ENVIRONMENT, "OPENAI_BASE_URL": f"{server.url}/v1"})
    key, web = key_of(place), place.serve()
    workers = [place.worker() for _ in range(2)]
    place.beat()
    root, kills, dice = web.url("/v1/ai-orchestration/workflows"), list[float](), random.Random(5)
    ids = [row["workflow_id"] for row in call(f"{root}/batch", key, {"workflows": wishes()})["workflows"]]
    for number in range(KILLS):
        goal = answers.count() + BETWEEN
        assert wait_until(lambda goal=goal: answers.count() >= goal, timeout_seconds=60)  # type: ignore[misc]
        time.sleep(dice.uniform(0, 1))
        for worker in workers if number % 2 else workers[:1]:  # by turns one that leaves its work to the other, and all
            worker.kill()
            kills.append(time.monotonic())
            worker.spawn()
        workers.reverse()
    with django_db_blocker.unblock(), orm_at(place):
        assert wait_until(is_over, timeout_seconds=150, interval_seconds=0.5)
        assert wait_until(lambda: not Call.objects.filter(status="running").exists(), timeout_seconds=90)
        runs = [call(f"{root}/{workflow_id}/status", key) for workflow_id in ids]
        attempts = sum(Task.objects.values_list("attempts", flat=True))
        lost = Call.objects.filter(status="lost").count()
        print(  # noqa: T201
            f"{KILLS} kills, {len(runs)} runs in {attempts} attempts, {len(answers.at)} things asked, "
            f"{answers.count()} times answered, {lost} calls lost"
        )
        check_results(runs)
        check_rows(runs)
        assert answers.wasted(kills) == []
