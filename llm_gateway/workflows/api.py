"""REST doors of workflows, `/v1/ai-orchestration/` (API §9)."""

from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import WorkflowRun
from llm_gateway.workflows import advice, frames, making, runs, services, telling, watching
from llm_gateway.workflows.making import Asked, Wish
from llm_gateway.workflows.rows import (
    AdviceWish,
    BatchRow,
    BatchWish,
    RunDocument,
    RunRow,
    ServicesRow,
    TypesRow,
    WorkflowOptimizationRow,
    WorkflowWish,
)
from llm_gateway.workflows.watching import Plan, Watch
from moolai.errors import Forbidden
from orchestrators.work import priorities, scope
from orgs import access, authentication, rest
from orgs.authentication import Caller
from orgs.models import Organization

OWN: Final = "orchestrators__orchestrator_id"
BATCH: Final = "wfb_"
SLOT: Final = "moolai.workflow"  # where the ASGI scope takes the plan
DAYS: Final = 7
TOO_FEW: Final = "Not enough runs: nothing is concluded from fewer than {fewest} calls of one model for one type."


def _home(request: Request) -> Organization:
    """Return the organization that the call is about, for members and for orchestrators."""
    found = scope.organization(request)
    return access.get(request, Organization.objects.all(), field="pk", own=OWN, pk=found.pk)


def _may_run(who: Caller, organization_id: str) -> bool:
    """Whether the caller may have models called: as everywhere in the gateway, viewers may not."""
    if who.is_superadmin or who.roles.get(organization_id) in scope.WRITERS:
        return True
    is_machine = who.key is not None and not who.roles and who.key.may_register
    return is_machine and who.key is not None and who.key.organization_id == organization_id


def _runner(request: Request, organization_id: str) -> Caller:
    who = access.caller(request)
    if not _may_run(who, organization_id):
        raise Forbidden
    return who


def _asking(request: Request) -> tuple[Organization, Asked]:
    """Return where runs are to be made, and for whom."""
    who = access.caller(request)
    roles = set(who.roles.values())
    if roles and not who.is_superadmin and not roles & set(scope.WRITERS):
        raise Forbidden
    home = _home(request)
    who = _runner(request, home.pk)
    key = who.key
    may_reuse = request.headers.get(runs.CACHE, "").strip().lower() != "off"
    name = "" if key is not None else who.name
    return home, Asked(who.caller_id, name, who.user, key.orchestrator_id if key else "", may_reuse)


def _wish(body: dict[str, Any]) -> Wish:
    return Wish(
        body["workflow_type"],
        body["input_data"],
        tuple(body.get("expected_outputs", ())),
        body.get("priority", priorities.NORMAL),
        body.get("workflow_id", ""),
        body.get("user_id", ""),
    )


class Workflows(rest.View):
    """`/v1/ai-orchestration/workflows`."""

    @rest.operation(RunRow, body=WorkflowWish, status=202, errors=("conflict", "organization_required"))
    def post(self, request: Request) -> Response:
        """Queue a run; what it came to is at its status."""
        home, asked = _asking(request)
        run = making.create(home, _wish(rest.body(request, WorkflowWish)), asked=asked)
        return rest.answer(RunRow(telling.brief(run)).data, status=202)


class Batches(rest.View):
    """`/v1/ai-orchestration/workflows/batch`."""

    @rest.operation(BatchRow, body=BatchWish, status=202, errors=("conflict", "organization_required"))
    def post(self, request: Request) -> Response:
        """Queue several runs, all or none."""
        home, asked = _asking(request)
        wishes = [_wish(body) for body in rest.body(request, BatchWish)["workflows"]]
        batch_id, found = making.create_many(home, wishes, asked=asked)
        told = {"batch_id": batch_id, "total": len(found), "workflows": [telling.brief(run) for run in found]}
        return rest.answer(BatchRow(told).data, status=202)


def _rows(request: Request, workflow_id: str) -> QuerySet[WorkflowRun]:
    """Return where an id is looked for: a run's, which may be the caller's own, where such a run would be made."""
    rows = WorkflowRun.objects.select_related("task")
    wanted = access.chosen(request)
    if not wanted and not workflow_id.startswith(BATCH):
        wanted = scope.organization(request).pk
    return rows.filter(organization=wanted) if wanted else rows


def _found(request: Request, workflow_id: str) -> list[WorkflowRun]:
    """Return the run of an id, or the runs of a batch, the one that is asked for first."""
    rows = _rows(request, workflow_id)
    if not workflow_id.startswith(BATCH):
        return [access.get(request, rows, own="orchestrator_id", workflow_id=workflow_id)]
    first = access.get(request, rows, own="orchestrator_id", batch_id=workflow_id)
    rows = rows.filter(organization=first.organization_id, batch_id=workflow_id)
    return list(access.visible(request, rows, own="orchestrator_id").order_by("pk"))


class OneStatus(rest.View):
    """`…/workflows/{id}/status`."""

    @rest.operation(RunDocument, errors=("organization_required",))
    def get(self, request: Request, workflow_id: str) -> Response:
        """Tell how far a run or a batch is, and what it came to."""
        return rest.answer(_document(request, workflow_id))


def _document(request: Request, workflow_id: str) -> Any:
    found, now = _found(request, workflow_id), timezone.now()
    if workflow_id.startswith(BATCH):
        return RunDocument(telling.batch(workflow_id, found, now=now)).data
    may_take = request.method == "GET" and _may_run(access.caller(request), found[0].organization_id)
    return RunDocument(telling.whole(found[0], may_take=may_take, now=now)).data


class OneStream(rest.View):
    """`…/workflows/{id}/stream`."""

    @rest.operation(content_types=(frames.CONTENT_TYPE,), errors=("organization_required",))
    def get(self, request: Request, workflow_id: str) -> HttpResponse:
        """Follow a run or a batch, as server-sent events: first all as it is, then changes, to its end.

        `status` and `step` as in GET …/status, `progress` (characters of an answer so far) and `token` (text of a step
        without a schema) while models answer, `done` or `error` when it is over: both hold what GET …/status answers.
        `end` says why the stream ends before that. Nobody who leaves cancels anything.
        """
        found = _found(request, workflow_id)
        plan = _plan(request, workflow_id, found, Watch(request.headers.get("Last-Event-ID", "")))
        slot = getattr(request._request, "scope", {}).get(SLOT)
        states = watching.read(plan.pks, now=timezone.now())
        content = plan.first = frames.opening() + plan.watch.news(states)
        if all(state.is_over for state in states.values()):
            content += _last(request, workflow_id)
        elif slot is not None:
            slot.append(plan)
        return HttpResponse(content, content_type=frames.CONTENT_TYPE, headers=frames.HEADERS)


def _plan(request: Request, workflow_id: str, found: list[WorkflowRun], watch: Watch) -> Plan:
    def check() -> None:
        authentication.again(request)
        _found(request, workflow_id)

    def finish() -> bytes:
        authentication.again(request)
        return _last(request, workflow_id)

    return Plan(frozenset(run.pk for run in found), found[0].organization_id, watch, check=check, finish=finish)


def _last(request: Request, workflow_id: str) -> bytes:
    """Return the last event of what is over."""
    request_id = getattr(request._request, "request_id", "")
    return frames.over(dict(_document(request, workflow_id)), request_id=request_id)


class OneWorkflow(rest.View):
    """`…/workflows/{id}`."""

    @rest.operation(status=204, shape=rest.Shape.EMPTY, errors=("conflict", "organization_required"))
    def delete(self, request: Request, workflow_id: str) -> Response:
        """Cancel a run, or what of a batch is not over: it stops between its steps and inside them."""
        found = _found(request, workflow_id)
        who = _runner(request, found[0].organization_id)
        left = found if len(found) == 1 else [run for run in found if not run.is_over]
        for run in left:
            runs.cancel(run, acting_user=who.user)
        return Response(status=204)


class Types(rest.View):
    """`…/workflows/types`."""

    @rest.operation(TypesRow, errors=("organization_required",))
    def get(self, request: Request) -> Response:
        """List what can be run: what everybody has, and the organization's templates."""
        return rest.answer(TypesRow({"types": telling.types(_home(request))}).data)


class Optimization(rest.View):
    """`…/workflows/optimize`."""

    @rest.operation(WorkflowOptimizationRow, body=AdviceWish, body_may_be_empty=True, errors=("organization_required",))
    def post(self, request: Request) -> Response:
        """Recommend changes from what was measured of the organization's runs."""
        found = scope.organization(request)
        home = access.get(request, Organization.objects.all(), field="pk", pk=found.pk)
        wish = rest.body(request, AdviceWish, may_be_empty=True)
        days, now = wish.get("days", DAYS), timezone.now()
        kind = wish.get("workflow_type", "")
        making.check_type(home, kind)
        groups = advice.measured(home, now=now, days=days, workflow_type=kind)
        is_enough = any(group["calls"] >= advice.FEWEST for group in groups)
        told = {
            "days": days,
            "fewest_calls": advice.FEWEST,
            "runs": advice.repeated(home, now=now, days=days, workflow_type=kind),
            "measured": groups,
            "recommendations": advice.recommendations(groups),
            "note": "" if is_enough else TOO_FEW.format(fewest=advice.FEWEST),
        }
        return rest.answer(WorkflowOptimizationRow(told).data)


class ServicesHealth(rest.View):
    """`/v1/ai-orchestration/services/health`."""

    @rest.operation(ServicesRow, errors=("organization_required",))
    def get(self, request: Request) -> Response:
        """Tell how providers, queue and workers are."""
        found = scope.organization(request)
        home = access.get(request, Organization.objects.all(), field="pk", pk=found.pk)
        return rest.answer(ServicesRow(services.health(home, now=timezone.now())).data)
