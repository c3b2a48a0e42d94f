"""What the tests of workflows share: a worker in this process, calls of the doors, and a model that plays its part."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.test import Client
from django.utils import timezone

from llm_gateway.models import Call, WorkflowCall
from llm_gateway.tests import within
from llm_gateway.tests.provider import Provider
from llm_gateway.workflows import running
from moolai.errors import Conflict
from moolai.testing.world import World
from orchestrators import work
from orchestrators.models import Task
from orchestrators.work.handlers import Again, Lost, Refused
from orgs import keys, organizations

ROOT = "/v1/ai-orchestration"
CHAT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"


@dataclass
class Flow:
    """The provider, and the key that calls are made with."""

    behind: Provider
    key: str

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> tuple[int, Any]:
        """Call a door; return the status, and what stands in `data` (or the error object)."""
        sent = {"HTTP_AUTHORIZATION": f"Bearer {key or self.key}", **headers}
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        answer = Client().generic(method, ROOT + path, **content, **sent)  # type: ignore[arg-type]
        told = json.loads(answer.content) if answer.content else {}
        return answer.status_code, told.get("data", told)

    def queue(self, workflow_type: str, input_data: Any, **more: Any) -> str:
        """Ask for a run; return its id."""
        headers = {name: more.pop(name) for name in list(more) if name in ("key", "HTTP_X_MOOLAI_CACHE")}
        body = {"workflow_type": workflow_type, "input_data": input_data, **more}
        status, told = self.call("POST", "/workflows", body, **headers)
        assert status == 202, told
        return str(told["workflow_id"])

    def status(self, workflow_id: str, **more: str) -> Any:
        """Return how a run is."""
        status, told = self.call("GET", f"/workflows/{workflow_id}/status", **more)
        assert status == 200, told
        return told

    def run(self, workflow_type: str, input_data: Any, **more: Any) -> Any:
        """Ask for a run, have a worker do it, and return what came of it."""
        workflow_id = self.queue(workflow_type, input_data, **more)
        work_off()
        return self.status(workflow_id)

    def asked(self, word: str) -> int:
        """Return how many calls the provider got that hold a word."""
        return len(self.behind.of(word))


@contextmanager
def playing(world: World, blocker: Any) -> Iterator[Flow]:
    """Set a provider with the script behind this process, and two organizations; give a key of acme's."""
    with within.staged(world, blocker) as behind:
        behind.script = script
        acme = organizations.create("acme", name="Acme", acting_user=None)
        organizations.create("beta", name="Beta", acting_user=None)
        yield Flow(behind, keys.create(acme, name="ci", acting_user=None, role="operator")[1])


def work_off(*, report: Callable[[Task], Callable[[int], None]] | None = None) -> None:
    """Do what waits, as a worker does it."""
    for task in work.take(work.Holder("worker", types=["workflow"]), now=timezone.now(), limit=50):
        attempt(task, (report or renewing)(task))
    connections.close_all()


def attempt(task: Task, report: Callable[[int], None]) -> None:
    """Make one attempt at a task."""
    try:
        work.finish(task, result=running.run(task, report))
    except Lost:
        return
    except Refused as refusal:
        work.fail(task, error=refusal.reason, is_final=True)
    except Again as problem:
        work.fail(task, error=problem.reason)


def renewing(task: Task) -> Callable[[int], None]:
    """Return what renews a task's lease."""

    def report(percent: int) -> None:
        try:
            work.progress(task, percent=percent)
        except Conflict:
            raise Lost from None

    return report


def ledger_usd(workflow_id: str) -> float:
    """Return what a run's calls cost by the ledger."""
    ids = WorkflowCall.objects.filter(step__run__workflow_id=workflow_id).values("pk")
    return sum(row.cost_usd_micros for row in Call.objects.filter(pk__in=ids)) / 1_000_000


# --- the model -------------------------------------------------------------------------------------------------------


def script(body: dict[str, Any]) -> str | None:
    """Answer as a model would that was asked for categories, for a meeting, or for anything else."""
    said, system = _flat(body["messages"][-1]["content"]), _system(body)
    everything = json.dumps(body)
    if "[poem]" in everything:
        return "I would rather write a poem."
    if "That is not what was asked for" in said:
        return '```json\n{"items": [{"index": 0, "labels": ["bug"], "confidence": 0.7, "reason": "it breaks"}]}\n```'
    if "texts into categories" in system:
        return _categories(said)
    if "summaries of the consecutive parts" in system:
        return '{"summary": "All of it."}'
    if "transcript of a meeting" in system:
        return _meeting(said, everything)
    return f"You said: {said}" if "[echo]" in system else None


def _system(body: dict[str, Any]) -> str:
    first = body.get("system") or body["messages"][0]["content"]
    return _flat(first)


def _flat(content: Any) -> str:
    """Return the text of a message, as OpenAI and as Anthropic write it."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _categories(said: str) -> str:
    texts = json.loads(said)["texts"]
    label = "unheard of" if "[invent]" in said else "bug"
    items = [
        {"index": text["index"], "labels": [label if "crash" in text["text"] else "other"], "confidence": 0.9,
         "reason": "as it says"}
        for text in texts
    ]  # fmt: skip
    found = json.dumps({"items": items})
    return f"Here you are:\n```json\n{found[:-1]},}}\n```\nAnything else?" if "[fenced]" in said else found


def _meeting(said: str, everything: str) -> str:
    wanted = everything.partition("JSON schema")[2]
    whole = {
        "summary": "They met.",
        "decisions": [{"decision": "Ship on Monday.", "by": "Ann"}],
        "action_items": [
            {"task": "Write the notes", "owner": "Bob Baker", "due": "by December 1st, 2026"},
            {"task": "Call the lawyer", "owner": "Zoe Invented", "due": "next Friday"},
        ],
        "topics": ["Release", "release."] + (["Budget"] if "part 2" in said else []),
    }
    return json.dumps({name: value for name, value in whole.items() if f'\\"{name}\\"' in wanted})
