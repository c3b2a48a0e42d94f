"""Making: runs are queued as tasks of the one queue, several of them in as few statements as one.

What can be looked at before is looked at outside of the transaction that writes them: SQLite has one writer.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
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
from moolai.errors import Conflict, InvalidInput
from orchestrators import work
from orchestrators.work import priorities
from orchestrators.work.board import Details
from orgs import audit
from orgs.models import Organization, User

TASK_TYPE: Final = "workflow"
CACHE_SECONDS: Final = 3_600
GUARDS_SECONDS: Final = 5  # after which every process keeps to new guardrails
MAX_BATCH: Final = 100
UNKNOWN: Final = (
    "There is no such type. There are {}, and templates of your own (GET /v1/ai-orchestration/workflows/types)."
)
Status = WorkflowRun.Status


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


@dataclass(frozen=True, slots=True)
class Planned:
    """A wish that can be run: its steps, and what equal ones have in common ("" where nothing may stay)."""

    wish: Wish
    plan: Plan = field(repr=False)
    content_hash: str = ""

    def is_same(self, workflow_type: str, content_hash: str) -> bool:
        """Whether a run of this type and content is what is wished for, as far as that is known."""
        is_equal = not (content_hash and self.content_hash) or content_hash == self.content_hash
        return workflow_type == self.wish.workflow_type and is_equal


def create(organization: Organization, wish: Wish, *, asked: Asked, batch_id: str = "") -> WorkflowRun:
    """Queue a run, or return the one that has its `workflow_id` already, or one with the result of an hour ago.

    Raises `invalid_field` for what cannot be run, and `conflict` for an id whose run was asked for something else.
    """
    plan = planned(wish, _templates(organization, [wish]))
    return _queue(organization, [wish], [plan], asked=asked, batch_id=batch_id)[0]


def create_many(organization: Organization, wishes: Sequence[Wish], *, asked: Asked) -> tuple[str, list[WorkflowRun]]:
    """Queue several runs as a batch: all of them, or none; return the batch's id too. Raises as `create` does."""
    found: list[Plan] = []
    wrong: dict[str, str] = {}
    templates = _templates(organization, wishes)
    for number, wish in enumerate(wishes):
        try:
            found.append(planned(wish, templates))
        except InvalidInput as problem:
            wrong |= {f"workflows.{number}.{name}": text for name, text in problem.fields.items()}
    if wrong:
        raise InvalidInput(fields=wrong)
    batch_id = f"wfb_{secrets.token_hex(12)}"
    return batch_id, _queue(organization, wishes, found, asked=asked, batch_id=batch_id)


def _templates(organization: Organization, wishes: Sequence[Wish]) -> dict[str, Any]:
    """Return {name: steps} of the organization's templates among what is wished for."""
    names = {wish.workflow_type for wish in wishes} - set(KINDS)
    rows = WorkflowTemplate.objects.filter(organization=organization, name__in=names)
    return dict(rows.values_list("name", "steps")) if names else {}


def check_type(organization: Organization, workflow_type: str) -> None:
    """Raise `invalid_field` unless there is such a type, or a run of one that was deleted; "" is any."""
    rows = (
        WorkflowTemplate.objects.filter(name=workflow_type),
        WorkflowRun.objects.filter(workflow_type=workflow_type),
    )
    if (
        not workflow_type
        or workflow_type in KINDS
        or any(row.filter(organization=organization).exists() for row in rows)
    ):
        return
    raise InvalidInput(fields={"workflow_type": UNKNOWN.format(", ".join(KINDS))})


def planned(wish: Wish, templates: Mapping[str, Any]) -> Plan:
    """Return the steps of a run; raises `invalid_field` for an unknown type, and for an input it cannot use."""
    priorities.parse(wish.priority)
    if wish.workflow_type in KINDS:
        plan = plans.of_kind(wish.workflow_type, wish.input_data)
    elif wish.workflow_type in templates:
        plan = plans.parse(templates[wish.workflow_type])
    else:
        raise InvalidInput(fields={"workflow_type": UNKNOWN.format(", ".join(KINDS))})
    plans.wanted(plan, wish.expected_outputs, kind=wish.workflow_type)
    given.text(wish.input_data, "model", most=plans.TEXTS["model"])
    return plan


def _hash(organization: Organization, wish: Wish, plan: Plan) -> str:
    """Return what equal runs of an organization have in common, under a key: nobody can try contents out on it."""
    said = [organization.pk, wish.workflow_type, plan, wish.input_data, sorted(wish.expected_outputs)]
    text = json.dumps(said, sort_keys=True, ensure_ascii=True)
    return hmac.new(settings.SECRET_KEY.encode(), f"workflow {text}".encode(), hashlib.sha256).hexdigest()


def _queue(
    organization: Organization, wishes: Sequence[Wish], found: Sequence[Plan], *, asked: Asked, batch_id: str
) -> list[WorkflowRun]:
    """Return the runs of wishes, in their order: known ones by their ids, and new ones."""
    is_private = policies.of(organization).is_private
    wanted = [
        Planned(wish, plan, "" if is_private else _hash(organization, wish, plan))
        for wish, plan in zip(wishes, found, strict=True)
    ]
    try:
        return _written(organization, wanted, asked=asked, batch_id=batch_id)
    except IntegrityError:  # an id was taken meanwhile
        return _written(organization, wanted, asked=asked, batch_id=batch_id)


@transaction.atomic
def _written(
    organization: Organization, wanted: Sequence[Planned], *, asked: Asked, batch_id: str
) -> list[WorkflowRun]:
    names = [one.wish.workflow_id or f"wf_{secrets.token_hex(12)}" for one in wanted]
    given_names = [one.wish.workflow_id for one in wanted if one.wish.workflow_id]
    rows = WorkflowRun.objects.filter(organization=organization, workflow_id__in=given_names) if given_names else ()
    known = {row.workflow_id: row for row in rows}
    new: dict[str, Planned] = {}
    for name, one in zip(names, wanted, strict=True):
        run, first = known.get(name), new.setdefault(name, one)
        if run is not None:
            del new[name]
        like = (run.workflow_type, run.content_hash) if run else (first.wish.workflow_type, first.content_hash)
        if not one.is_same(*like):
            raise Conflict(detail="There is a run of this workflow_id that was asked for something else.")
    found = known | {run.workflow_id: run for run in _made(organization, new, asked=asked, batch_id=batch_id)}
    return [found[name] for name in names]


def _made(organization: Organization, new: Mapping[str, Planned], *, asked: Asked, batch_id: str) -> list[WorkflowRun]:
    """Write new runs under their ids, with their steps; those that are not answered already get tasks."""
    if not new:
        return []
    now = timezone.now()
    found = WorkflowRun.objects.bulk_create(
        _run(organization, name, one, asked=asked, batch_id=batch_id, now=now) for name, one in new.items()
    )
    # A policy is set under the organization's lock, which this insert waited for: what it says now is final.
    if not all(run.is_private for run in found) and policies.of(organization).is_private:
        WorkflowRun.objects.filter(pk__in=[run.pk for run in found]).update(is_private=True, content_hash="")
        for run in found:
            run.is_private, run.content_hash = True, ""
    steps = zip(found, new.values(), strict=True)
    WorkflowStep.objects.bulk_create(step for run, one in steps for step in _steps(run, one))
    reused = _reused(organization, found, asked=asked, now=now)
    _enqueue(organization, [run for run in found if run.pk not in reused], new, asked=asked, now=now)
    return found


def _run(
    organization: Organization, name: str, one: Planned, *, asked: Asked, batch_id: str, now: datetime
) -> WorkflowRun:
    return WorkflowRun(
        workflow_id=name,
        organization=organization,
        workflow_type=one.wish.workflow_type,
        priority=priorities.parse(one.wish.priority)[0],
        plan=[{"name": step["name"], "type": step["type"], "after": step["after"]} for step in one.plan],
        expected_outputs=list(one.wish.expected_outputs),
        batch_id=batch_id,
        user_id=one.wish.user_id,
        content_hash=one.content_hash,
        is_private=not one.content_hash,
        orchestrator_id=asked.orchestrator_id,
        creator=asked.creator,
        created_by=audit.actor(asked.user)[:200],
        created_at=now,
    )


def _steps(run: WorkflowRun, one: Planned) -> list[WorkflowStep]:
    names = plans.wanted(one.plan, one.wish.expected_outputs, kind=one.wish.workflow_type)
    wanted, waits = plans.needed(one.plan, names), WorkflowStep.Status.PENDING
    return [
        WorkflowStep(
            run=run, number=number, name=step["name"], kind=step["type"],
            status=waits if step["name"] in wanted else WorkflowStep.Status.SKIPPED,
        )
        for number, step in enumerate(one.plan)
    ]  # fmt: skip


def _enqueue(
    organization: Organization, left: Sequence[WorkflowRun], new: Mapping[str, Planned], *, asked: Asked, now: datetime
) -> None:
    """Keep what runs are given, and make their tasks."""
    if not left:
        return
    wishes = {run.workflow_id: new[run.workflow_id] for run in left}
    more = {"name": asked.name, "is_fresh": not asked.may_reuse}
    documents = [{"plan": one.plan, "input": one.wish.input_data, **more} for one in wishes.values()]
    contents.keep_inputs(list(zip(left, documents, strict=True)), now=now)
    payloads = [{"workflow_id": run.workflow_id, "workflow_type": run.workflow_type} for run in left]
    tasks = work.create_steps(
        organization,
        task_type=TASK_TYPE,
        wanted=list(zip(payloads, [one.wish.priority for one in wishes.values()], strict=True)),
        acting_user=asked.user,
        creator=asked.creator,
        details=Details(source="ai-orchestration"),
    )
    for run, task in zip(left, tasks, strict=True):
        run.task = task
    WorkflowRun.objects.bulk_update(left, ["task"])


def _reused(organization: Organization, found: Sequence[WorkflowRun], *, asked: Asked, now: datetime) -> set[int]:
    """Give runs the results of equal ones of the last hour, of the same organization; return which, by their pks.

    One that was asked for before the guardrails were set does not count: it did not have to pass them.
    """
    hashes = {run.content_hash for run in found if run.content_hash}
    if not asked.may_reuse or not hashes or not _may_call_all(organization, asked):
        return set()
    since = now - timedelta(seconds=CACHE_SECONDS)
    rows = WorkflowRun.objects.filter(organization=organization, content_hash__in=hashes, is_cached=False)
    if (guards := guarding.of(organization)).updated_at is not None:
        rows = rows.filter(created_at__gt=guards.updated_at + timedelta(seconds=GUARDS_SECONDS))
    rows = rows.filter(status=Status.COMPLETED, completed_at__gte=since).order_by("completed_at")
    sources = {row.content_hash: row.pk for row in rows}  # the newest of equal ones
    results = contents.results(sources.values(), now=now) if sources else {}
    answered = [(run, results[pk]) for run in found if (pk := sources.get(run.content_hash)) in results]
    if not answered:
        return set()
    contents.keep_results(answered)
    for run, _ in answered:
        run.status, run.is_cached, run.progress = Status.COMPLETED, True, 100
        run.started_at = run.completed_at = now
    pks, over = {run.pk for run, _ in answered}, {"progress": 100, "started_at": now, "completed_at": now}
    WorkflowRun.objects.filter(pk__in=pks).update(status=Status.COMPLETED, is_cached=True, **over)
    pending = WorkflowStep.objects.filter(run__in=pks, status=WorkflowStep.Status.PENDING)
    pending.update(status=WorkflowStep.Status.COMPLETED, **over)
    return pks


def _may_call_all(organization: Organization, asked: Asked) -> bool:
    """Whether whoever asks may call every model: a result does not say which of them made it."""
    kind, _, key_id = asked.creator.partition(":")
    return kind != "key" or not limits.load(organization.pk, key_id=key_id).models
