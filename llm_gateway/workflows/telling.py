"""Telling: runs, batches and types as callers see them; what they cost is the sum of their calls in the ledger."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from llm_gateway.models import Call, WorkflowCall, WorkflowRun, WorkflowStep, WorkflowTemplate
from llm_gateway.workflows import contents, runs
from llm_gateway.workflows.kinds import KINDS
from orgs import spending
from orgs.models import Organization

DELIVERED: Final = "Delivered once, and deleted: the organization's calls are private."
GONE: Final = "Not kept any more."
WITHHELD: Final = "The organization's calls are private: only who may run workflows is given the result, once."
NOTHING: Final[dict[str, Any]] = {
    "usd_micros": 0, "calls": 0, "repairs": 0, "cached": 0, "model": "", "call_id": "", "characters": 0,
}  # fmt: skip
Status = WorkflowRun.Status


def costs(run_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return {step's pk: {usd_micros, calls, repairs, cached, model, call_id, characters}} of runs; two queries.

    The last three are of the newest call: `characters` is how much of its answer has come.
    A call whose process died before it could write down what it cost counts with what the ledger says.
    """
    rows = list(WorkflowCall.objects.filter(step__run__in=run_ids))
    unsaid = [row.call_id for row in rows if row.cost_usd_micros is None]
    ledger = dict(Call.objects.filter(pk__in=unsaid).values_list("pk", "cost_usd_micros")) if unsaid else {}
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row.step_id, dict(NOTHING))
        micros = row.cost_usd_micros
        one["usd_micros"] += ledger.get(row.call_id, 0) if micros is None else micros
        one["calls"] += 1
        one["repairs"] += row.is_repair
        one["cached"] += row.is_cached
        one["model"] = row.model or one["model"]
        one["call_id"], one["characters"] = row.pk, row.characters
    return found


def costs_of_runs(run_ids: Collection[int]) -> dict[int, int]:
    """Return {run's pk: micro-dollars}; three queries."""
    run_of = dict(WorkflowStep.objects.filter(run__in=run_ids).values_list("pk", "run_id"))
    found: dict[int, int] = {}
    for step_id, one in costs(run_ids).items():
        found[run_of[step_id]] = found.get(run_of[step_id], 0) + int(one["usd_micros"])
    return found


def brief(run: WorkflowRun) -> dict[str, Any]:
    """Return a run without its steps."""
    return {
        "workflow_id": run.workflow_id,
        "workflow_type": run.workflow_type,
        "organization_id": run.organization_id,
        "status": run.status,
        "progress": run.progress,
        "priority": run.priority,
        "batch_id": run.batch_id or None,
        "user_id": run.user_id or None,
        "cached": run.is_cached,
        "error": run.error,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
    }


def whole(run: WorkflowRun, *, may_take: bool, now: datetime) -> dict[str, Any]:
    """Return a run with its steps, cost and result; a private result is handed out once, to who `may_take` it."""
    run = runs.reconcile(run, now=now)
    steps = list(run.steps.all())
    spent = costs([run.pk])
    result, note = _result(run, may_take=may_take, now=now)
    micros = sum(one["usd_micros"] for one in spent.values())
    return {
        **brief(run),
        "cost_usd": spending.usd(micros) or 0.0,
        "steps": [told_step(step, spent.get(step.pk, NOTHING)) for step in steps],
        "result": result,
        "result_note": note,
        "errors": [
            {"step": step.name, "error": step.error} for step in steps if step.error and step.status in FAULTY
        ],
        "workflows": None,
    }  # fmt: skip


FAULTY: Final = (WorkflowStep.Status.FAILED, WorkflowStep.Status.SKIPPED)


def told_step(step: WorkflowStep, spent: dict[str, Any]) -> dict[str, Any]:
    """Return a step of a run, and what `costs` says of it."""
    took = (step.completed_at - step.started_at).total_seconds() if step.completed_at and step.started_at else None
    return {
        "name": step.name,
        "type": step.kind,
        "status": step.status,
        "progress": step.progress,
        "model": spent["model"] or None,
        "error": step.error,
        "calls": spent["calls"],
        "repairs": spent["repairs"],
        "cost_usd": spending.usd(spent["usd_micros"]) or 0.0,
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "duration_ms": None if took is None else round(took * 1000),
    }


@transaction.atomic
def _result(run: WorkflowRun, *, may_take: bool, now: datetime) -> tuple[Any, str]:
    if run.status not in (Status.COMPLETED, Status.PARTIAL):
        return None, ""
    if not run.is_private:
        found = contents.read(run, contents.RESULT, now=now)
        return found, "" if found is not None else GONE
    if not may_take:
        return None, WITHHELD
    row = WorkflowRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    found = contents.read(row, contents.RESULT, now=now)
    if found is None:
        return None, DELIVERED if row.is_delivered else GONE
    contents.forget(row)
    WorkflowRun.objects.filter(pk=row.pk).update(is_delivered=True)
    return found, DELIVERED


def batch(batch_id: str, found: Sequence[WorkflowRun], *, now: datetime) -> dict[str, Any]:
    """Return a batch in the shape of a run: how far all of it is, and each of its runs in brief."""
    rows = [runs.reconcile(run, now=now) for run in found]
    spent = costs([run.pk for run in rows])
    ends = [run.completed_at for run in rows if run.completed_at]
    begins = [run.started_at for run in rows if run.started_at]
    is_over = all(run.is_over for run in rows)
    return {
        "workflow_id": batch_id,
        "workflow_type": "batch",
        "organization_id": rows[0].organization_id,
        "status": _status(rows),
        "progress": sum(100 if run.is_over else run.progress for run in rows) // len(rows),
        "priority": max(run.priority for run in rows),
        "batch_id": batch_id,
        "user_id": None,
        "cached": all(run.is_cached for run in rows),
        "error": "; ".join(f"{run.workflow_id}: {run.error}" for run in rows if run.error)[:300],
        "created_at": min(run.created_at for run in rows),
        "started_at": min(begins) if begins else None,
        "completed_at": max(ends) if is_over and ends else None,
        "cost_usd": spending.usd(sum(one["usd_micros"] for one in spent.values())) or 0.0,
        "steps": [],
        "result": None,
        "result_note": "",
        "errors": [{"step": run.workflow_id, "error": run.error} for run in rows if run.error],
        "workflows": [brief(run) for run in rows],
    }


def _status(rows: Iterable[WorkflowRun]) -> str:
    states = {run.status for run in rows}
    if len(states) == 1:
        return str(states.pop())
    if states & {Status.QUEUED, Status.RUNNING}:
        return str(Status.RUNNING)
    return str(Status.PARTIAL if states & {Status.COMPLETED, Status.PARTIAL} else Status.FAILED)


def types(organization: Organization | None) -> list[dict[str, Any]]:
    """Return the types that everybody has, and an organization's own."""
    found = [
        {
            "workflow_type": kind.name, "description": kind.description, "is_template": False,
            "inputs": dict(kind.inputs), "outputs": list(kind.outputs), "steps": [],
        }
        for kind in KINDS.values()
    ]  # fmt: skip
    rows = WorkflowTemplate.objects.filter(organization=organization).order_by("name") if organization else []
    return found + [
        {
            "workflow_type": row.name, "description": row.description, "is_template": True, "inputs": {},
            "outputs": [step["name"] for step in row.steps],
            "steps": [{"name": step["name"], "type": step["type"], "after": step["after"]} for step in row.steps],
        }
        for row in rows
    ]  # fmt: skip
