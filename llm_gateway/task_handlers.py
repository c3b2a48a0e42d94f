"""What workers do of the gateway: tasks of the types `prompt` and `workflow`, over the data plane of their process."""

import logging
import time
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from llm_gateway import policies, retrying
from llm_gateway.models import Prompt
from llm_gateway.plane import inside, people, refusals
from llm_gateway.prompts import asking, book
from llm_gateway.prompts.book import Asking
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.prompts.rows import PromptWish
from llm_gateway.prompts.running import Plan, Run
from moolai import errors
from moolai.errors import AppError, Conflict, InvalidInput
from orchestrators.models import Agent, Task
from orchestrators.work.handlers import Checks, Handlers, Refused, Report
from orgs import spending
from orgs.models import Organization

logger = logging.getLogger(__name__)
REPORT_SECONDS: Final = 5.0
BUSY: Final = "database_unavailable: the database took too long for the prompt's record."
PRIVATE: Final = "The organization is private, and a task's parameters and result are stored: send the prompt itself."


def prompt(task: Task, report: Report) -> dict[str, Any]:
    """Run a prompt with a task's parameters, those of `POST …/prompts`, on behalf of who made the task.

    Return its answer and numbers. Raises Refused where another attempt would not help, Lost, and AppError otherwise.
    """
    organization = task.organization
    if policies.of(organization).is_private:
        raise Refused(PRIVATE)
    try:
        stands = people.standing(task.creator or "task", organization_id=organization.pk, name=task.created_by)
        asked = asking.document(organization, _wish(task))
    except AppError as error:
        raise Refused(error.detail) from None
    row = book.create(organization, asked=asked, how=Asking(stands.name, task_id=task.task_id))
    if row.is_private:
        row.delete()
        raise Refused(PRIVATE)
    report(0)
    connections.close_all()  # none is held while a model answers
    try:
        outcome = _run(Plan(row.prompt_id, stands, asked=asked), report)
    except TimeoutError:
        raise AppError("database_unavailable", BUSY) from None
    is_private = policies.of(organization).is_private  # it may have become so meanwhile
    told = _told(row, outcome, is_private=is_private)
    return told | {"response": ""} if is_private else told


def check_prompt(organization: Organization, payload: Any) -> None:
    """Refuse what would be stored of a private organization (`conflict`), and what is no prompt (`invalid_field`).

    Locks the organization, as who sets its policy does: what becomes private meanwhile is either seen, or emptied.
    """
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    if policies.of(organization).is_private:
        raise Conflict(detail=PRIVATE)
    _checked(payload)


def check_workflow(organization: Organization, payload: Any) -> None:
    """Refuse them: such a task is made with its run; raises `conflict` (`orchestrators.work.handlers.Check`)."""
    raise Conflict(detail="A task of a workflow is made with its run: start one (POST /v1/ai-orchestration/workflows).")


def workflow(task: Task, report: Report) -> Any:
    """Run a workflow (`llm_gateway/workflows/running.py`)."""
    from llm_gateway.workflows import running  # the plane's libraries cost memory that a process without runs can spare

    return running.run(task, report)


TASK_HANDLERS: Final[Handlers] = {"prompt": prompt, "workflow": workflow}
TASK_CHECKS: Final[Checks] = {"prompt": check_prompt, "workflow": check_workflow}
WORKERS_ONLY: Final = frozenset(TASK_HANDLERS)  # they spend the creator's budget, under the gateway's rules


def _wish(task: Task) -> dict[str, Any]:
    """Return what the task asks, by its agent unless it names one."""
    try:
        wish = _checked(task.payload)
    except InvalidInput as problem:
        raise Refused(" ".join(f"{name}: {text}" for name, text in problem.fields.items())) from None
    agents = Agent.objects.filter(organization=task.organization, status=Agent.Status.ACTIVE)
    if "agent_id" not in wish and agents.filter(agent_id=task.assigned_agent).exists():
        wish["agent_id"] = task.assigned_agent
    return wish


def _checked(payload: Any) -> dict[str, Any]:
    """Return a task's parameters as `POST …/prompts` takes them; raises `invalid_field`, which names each."""
    form = PromptWish(data=payload)
    if not form.is_valid():
        raise InvalidInput(fields=errors.flatten(form.errors))
    if unknown := sorted(set(payload) - set(form.fields)):
        raise InvalidInput(
            fields={unknown[0][:50]: f"A prompt has no such parameter; it has {', '.join(form.fields)}."}
        )
    return dict(form.validated_data)


def _run(plan: Plan, report: Report) -> Outcome | None:
    """Run a prompt as calls from inside are, and report meanwhile; one whose task is lost is cut off."""
    run = Run(plan)
    return inside.wait_for(
        run.run(), leave=run.leave, look=partial(_tell, report, time.monotonic()), every_seconds=REPORT_SECONDS
    )


def _tell(report: Report, began_at: float) -> None:
    """Report; what the database does not take is not reported this time, and the call, which is paid for, goes on."""
    share = (time.monotonic() - began_at) / settings.LLM_TOTAL_SECONDS
    try:
        report(min(99, round(100 * share)))
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the progress of a prompt could not be stored: %s", error)
    finally:
        connections.close_all()


def _told(row: Prompt, outcome: Outcome | None, *, is_private: bool) -> dict[str, Any]:
    if outcome is None:
        raise Refused("The prompt was run elsewhere.")
    if (problem := outcome.problem) is not None:
        code = refusals.own_code(problem)
        message = errors.CODES[code][1] if is_private else problem.message  # a provider's may quote the prompt
        if outcome.is_final or not retrying.may_help(problem.code or "", status=problem.status):
            raise Refused(f"{code}: {message}")
        raise AppError(code, message)
    return {
        "prompt_id": row.prompt_id, "response": outcome.text, "model": outcome.model, "provider": outcome.provider,
        "tokens_used": outcome.tokens_used, "cost": spending.usd(outcome.cost_usd_micros) or 0.0,
        "latency_ms": outcome.latency_ms,
    }  # fmt: skip
