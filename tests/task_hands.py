"""Processes that do tasks for `test_faults_tasks.py`: `python -m tests.task_hands worker | orchestrator URL ID`.

What a task asks for stands in its payload: `ms` to take, and whether it is `poison`. The result is a token that no
other run has, written to the file RUNS before the task is over.
"""

import asyncio
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any


class Broken(Exception):
    """The task is poison."""


def begin(number: str) -> str:
    """Note a run of a task, and return its token."""
    token = secrets.token_hex(8)
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{number} {token}\n")
    return token


def end(payload: dict[str, Any], token: str) -> dict[str, str]:
    """Return the result of a run; raises Broken for poison."""
    if payload.get("poison"):
        raise Broken("poison")
    return {"token": token}


def work() -> None:
    """Be a worker of the product that has two handlers."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")
    import django
    from django.core.management import call_command

    django.setup()
    from orchestrators.models import Task
    from orchestrators.work import handlers

    def run(task: Task, report: handlers.Report) -> dict[str, str]:
        token = begin(task.payload["id"])
        report(50)
        time.sleep(task.payload["ms"] / 1000)
        return end(task.payload, token)

    handlers.install({"desk": run, "both": run})
    call_command("worker")


async def orchestrate(url: str, orchestrator_id: str) -> None:
    """Be an orchestrator that does tasks of two types."""
    from orchestrators.client import OrchestratorClient

    async def run(task_type: str, payload: dict[str, Any]) -> dict[str, str]:
        token = begin(payload["id"])
        await asyncio.sleep(payload["ms"] / 1000)
        return end(payload, token)

    key = os.environ["MOOLAI_API_KEY"]
    await OrchestratorClient(url, orchestrator_id, api_key=key, on_task=run, task_types=("field", "both")).run()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work()
    else:
        asyncio.run(orchestrate(sys.argv[2], sys.argv[3]))
