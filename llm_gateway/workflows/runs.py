"""Runs: made as tasks of the one queue, found again by the caller's own id, cancelled, and settled once."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from llm_gateway import guarding, policies
from llm_gateway.models import WorkflowRun, WorkflowStep, WorkflowTemplate
from llm_gateway.money import limits
from llm_gateway.workflows import contents, given, plans
from llm_gateway.workflows.kinds import KINDS
from llm_gateway.workflows.plans import Plan
from moolai.errors import AppError, Conflict, InvalidInput
from orchestrators import work
from orchestrators.models import Task
from orchestrators.work import priorities
from orchestrators.work.board import Details
from orgs import audit
from orgs.models import Organization, User

TASK_TYPE: Final = "workflow"
CACHE: Final = "X-Moolai-Cache"  # "off": nothing that was answered before counts, neither here nor in the calls
CACHE_SECONDS: Final = 3_600
GUARDS_SECONDS: Final = 5  # after which every process keeps to new guardrails
MAX_BATCH: Final = 100
Status = WorkflowRun.Status
OPEN: Final = (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for runs: the caller's id, whose limits hold and whose budget is spent, and the name for the ledger."""

    creator: str
    name: str
    user: User | None = None
    orchestrator_id: str = ""
    may_reuse: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """What one run is to do."""

    workflow_type: str
    input_data: dict[str, Any] = field(repr=False)
    expected_outputs: tuple[str, ...] = ()
    priority: Any = priorities.NORMAL
    workflow_id: str = ""
    user_id: str = ""


def create(organization: Organization, wish: Wish, *, asked: Asked, batch_id: str = "") -> WorkflowRun:
    """Queue a run, or return the one that has its `workflow_id` already, or one with the result of an hour ago.

    Raises `invalid_field` for what cannot be run, and `conflict` for an id whose run was asked for something else.
    """
    plan = planned(organization, wish)
    is_private = policies.of(organization).is_private
    content_hash = "" if is_private else _hash(organization, wish, plan)
    if (known := _known(organization, wish, content_hash)) is not None:
        return known
    try:
        with transaction.atomic():
            return _made(organization, wish, plan, asked=asked, batch_id=batch_id, content_hash=content_hash)
    except IntegrityError:
        known = _known(organization, wish, content_hash)
        if known is None:
            raise
        return known


@transaction.atomic
def create_many(organization: Organization, wishes: Sequence[Wish], *, asked: Asked) -> tuple[str, list[WorkflowRun]]:
    """Queue several runs as a batch: all of them, or none; return the batch's id too. Raises as `create` does."""
    wrong: dict[str, str] = {}
    for number, wish in enumerate(wishes):
        try:
            planned(organization, wish)
        except InvalidInput as problem:
            wrong |= {f"workflows.{number}.{name}": text for name, text in problem.fields.items()}
    if wrong:
        raise InvalidInput(fields=wrong)
    batch_id = f"wfb_{secrets.token_hex(12)}"
    return batch_id, [create(organization, wish, asked=asked, batch_id=batch_id) for wish in wishes]


def planned(organization: Organization, wish: Wish) -> Plan:
    """Return the steps of a run; raises `invalid_field` for an unknown type, and for an input it cannot use."""
    priorities.parse(wish.priority)
    if wish.workflow_type in KINDS:
        plan = plans.of_kind(wish.workflow_type, wish.input_data)
    else:
        rows = WorkflowTemplate.objects.filter(organization=organization)
        template = rows.filter(name=wish.workflow_type).first()
        if template is None:
            known = ", ".join([*KINDS, *rows.order_by("name").values_list("name", flat=True)[:20]])
            raise InvalidInput(fields={"workflow_type": f"There is no such type; there are {known}."})
        plan = plans.parse(template.steps)
    plans.wanted(plan, wish.expected_outputs, kind=wish.workflow_type)
    given.text(wish.input_data, "model", most=plans.TEXTS["model"])
    return plan


def _hash(organization: Organization, wish: Wish, plan: Plan) -> str:
    """Return what equal runs of an organization have in common, under a key: nobody can try contents out on it."""
    said = [organization.pk, wish.workflow_type, plan, wish.input_data, sorted(wish.expected_outputs)]
    text = json.dumps(said, sort_keys=True, ensure_ascii=True)
    return hmac.new(settings.SECRET_KEY.encode(), f"workflow {text}".encode(), hashlib.sha256).hexdigest()


def _known(organization: Organization, wish: Wish, content_hash: str) -> WorkflowRun | None:
    if not wish.workflow_id:
        return None
    known = WorkflowRun.objects.filter(organization=organization, workflow_id=wish.workflow_id).first()
    if known is None:
        return None
    is_same = known.workflow_type == wish.workflow_type and (
        not (known.content_hash and content_hash) or known.content_hash == content_hash
    )
    if not is_same:
        raise Conflict(detail="There is a run of this workflow_id that was asked for something else.")
    return known


def _made(
    organization: Organization, wish: Wish, plan: Plan, *, asked: Asked, batch_id: str, content_hash: str
) -> WorkflowRun:
    now = timezone.now()
    run = WorkflowRun.objects.create(
        workflow_id=wish.workflow_id or f"wf_{secrets.token_hex(12)}",
        organization=organization,
        workflow_type=wish.workflow_type,
        priority=priorities.parse(wish.priority)[0],
        plan=[{"name": step["name"], "type": step["type"], "after": step["after"]} for step in plan],
        expected_outputs=list(wish.expected_outputs),
        batch_id=batch_id,
        user_id=wish.user_id,
        content_hash=content_hash,
        is_private=not content_hash,
        orchestrator_id=asked.orchestrator_id,
        creator=asked.creator,
        created_by=audit.actor(asked.user)[:200],
        created_at=now,
    )
    # A policy is set under the organization's lock, which this insert waited for: what it says now is final.
    if not run.is_private and policies.of(organization).is_private:
        run.is_private, run.content_hash = True, ""
        run.save(update_fields=["is_private", "content_hash"])
    wanted = plans.needed(plan, plans.wanted(plan, wish.expected_outputs, kind=wish.workflow_type))
    WorkflowStep.objects.bulk_create(
        WorkflowStep(
            run=run, number=number, name=step["name"], kind=step["type"],
            status=WorkflowStep.Status.PENDING if step["name"] in wanted else WorkflowStep.Status.SKIPPED,
        )
        for number, step in enumerate(plan)
    )  # fmt: skip
    if asked.may_reuse and run.content_hash and _may_call_all(organization, asked) and _reused(run, now=now):
        return run
    document = {"plan": plan, "input": wish.input_data, "name": asked.name, "is_fresh": not asked.may_reuse}
    contents.keep_input(run, document, now=now)
    run.task = work.create(
        organization,
        task_type=TASK_TYPE,
        payload={"workflow_id": run.workflow_id, "workflow_type": run.workflow_type},
        priority=wish.priority,
        acting_user=asked.user,
        creator=asked.creator,
        details=Details(source="ai-orchestration"),
        is_step=True,
    )
    run.save(update_fields=["task"])
    return run


def _may_call_all(organization: Organization, asked: Asked) -> bool:
    """Whether whoever asks may call every model: a result does not say which of them made it."""
    kind, _, key_id = asked.creator.partition(":")
    return kind != "key" or not limits.load(organization.pk, key_id=key_id).models


def _reused(run: WorkflowRun, *, now: datetime) -> bool:
    """Give a run the result of an equal one of the last hour, of the same organization; return whether there is one.

    One that was asked for before the guardrails were set does not count: it did not have to pass them.
    """
    since = now - timedelta(seconds=CACHE_SECONDS)
    rows = WorkflowRun.objects.filter(organization=run.organization, content_hash=run.content_hash, is_cached=False)
    if (guards := guarding.of(run.organization)).updated_at is not None:
        rows = rows.filter(created_at__gt=guards.updated_at + timedelta(seconds=GUARDS_SECONDS))
    source = rows.filter(status=Status.COMPLETED, completed_at__gte=since).order_by("-completed_at").first()
    result = contents.read(source, contents.RESULT, now=now) if source is not None else None
    if result is None:
        return False
    contents.keep_result(run, result, now=now)
    run.status, run.is_cached, run.progress = Status.COMPLETED, True, 100
    run.started_at = run.completed_at = now
    run.save(update_fields=["status", "is_cached", "progress", "started_at", "completed_at"])
    run.steps.filter(status=WorkflowStep.Status.PENDING).update(
        status=WorkflowStep.Status.COMPLETED, progress=100, started_at=now, completed_at=now
    )
    return True


# --- the end ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def cancel(run: WorkflowRun, *, acting_user: User | None) -> WorkflowRun:
    """Stop a run, between its steps and inside them; a cancelled one stays so. Raises `conflict` when it is over."""
    if run.task_id is not None:
        task = Task.objects.select_for_update(of=("self",), no_key=True).get(pk=run.task_id)
        if not task.is_over:
            work.cancel(task, acting_user=acting_user, reason="the workflow was cancelled")
    row = WorkflowRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    if row.status == Status.CANCELLED:
        return row
    if row.is_over:
        raise Conflict(detail=f"A run that is {row.status} cannot be cancelled.")
    end(row, Status.CANCELLED, now=timezone.now(), error="cancelled")
    return row


def end(run: WorkflowRun, status: str, *, now: datetime, error: str = "", result: Any = None) -> bool:
    """Settle an open run for good, in the running transaction; return whether it was open still.

    What it was given and what its steps came to go; a result stays as long as `contents` says.
    """
    changed: dict[str, Any] = {"status": status, "completed_at": now, "error": error[:300]}
    if status in (Status.COMPLETED, Status.PARTIAL):
        changed["progress"] = 100
    if result is not None and _is_private(run):
        changed |= {"is_private": True, "content_hash": ""}
    if not WorkflowRun.objects.filter(pk=run.pk, status__in=OPEN).update(**changed):
        return False
    for name, value in changed.items():
        setattr(run, name, value)
    left = WorkflowStep.objects.filter(run=run)
    left.filter(status=WorkflowStep.Status.PENDING).update(status=WorkflowStep.Status.SKIPPED)
    left.filter(status=WorkflowStep.Status.RUNNING).update(status=WorkflowStep.Status.CANCELLED, completed_at=now)
    contents.forget(run)
    if result is not None:
        contents.keep_result(run, result, now=now)
    return True


def _is_private(run: WorkflowRun) -> bool:
    """Whether nothing of a run may stay, as it is now: a policy is set under the organization's lock, taken here."""
    locked = Organization.objects.select_for_update(no_key=True).filter(pk=run.organization_id).first()
    was_private = WorkflowRun.objects.filter(pk=run.pk, is_private=True).exists()
    return was_private or (locked is not None and policies.of(locked).is_private)


@transaction.atomic
def reconcile(run: WorkflowRun, *, now: datetime) -> WorkflowRun:
    """End a run whose task is over, or gone, by other doors: cancelled, dead, settled by hand."""
    if run.is_over:
        return run
    task = run.task
    if task is not None and not task.is_over:
        return run
    status = Status.CANCELLED if task is not None and task.status == Task.Status.CANCELLED else Status.FAILED
    text = (task.error or f"its task is {task.status}") if task is not None else "its task is gone"
    end(run, status, now=now, error=text)
    return run


def sweep(*, now: datetime, limit: int = 200) -> int:
    """End runs whose task ended without them; return how many."""
    rows = WorkflowRun.objects.filter(status__in=OPEN).exclude(task__completed_at__isnull=True, task__isnull=False)
    found = list(rows.select_related("task").order_by("pk")[:limit])
    for run in found:
        reconcile(run, now=now)
    return len(found)


def require(found: WorkflowRun | None) -> WorkflowRun:
    """Return a run, or raise `not_found`."""
    if found is None:
        raise AppError("not_found")
    return found
