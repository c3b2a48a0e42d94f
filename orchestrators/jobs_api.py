"""REST doors of bulk actions and of jobs: `/api/v1/internal/bulk`, `/api/v1/internal/jobs`."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden, InvalidInput
from orchestrators import bulk, jobs
from orchestrators.models import Job
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Role


class JobRow(serializers.ModelSerializer[Job]):
    """A job with its progress; `percent` is 0 to 100."""

    percent = serializers.IntegerField()

    class Meta:
        model = Job
        fields = [
            "job_id", "kind", "organization_id", "status", "total", "done", "failed", "percent", "errors", "result",
            "request", "actor", "created_at", "started_at", "finished_at",
        ]  # fmt: skip


class BulkWish(serializers.Serializer[Any]):
    """The body of a bulk action; docs/bulk.md has the selectors and the parameters of each action."""

    action = serializers.ChoiceField(list(bulk.ACTIONS))
    selector = serializers.DictField()
    parameters = serializers.DictField()


class Nothing(serializers.Serializer[Any]):
    """A body without fields."""


def _require(who: Caller, role: str, organization_id: str) -> None:
    """Raise Forbidden unless the caller may do in the organization (empty: in all) what takes `role`."""
    allowed = (Role.ADMIN,) if role == Role.ADMIN else (Role.ADMIN, Role.OPERATOR)
    if not who.is_superadmin and who.roles.get(organization_id) not in allowed:
        raise Forbidden


class Bulk(rest.View):
    """`/api/v1/internal/bulk`."""

    @rest.operation(JobRow, body=BulkWish, status=202, errors=("reserved_message_type",))
    def post(self, request: Request) -> Response:
        """Do something to many orchestrators; answers the job that does it."""
        who = access.caller(request)
        wish = rest.body(request, BulkWish)
        organization_id = self._organization(request, who, wish["selector"])
        _require(who, bulk.ACTIONS[wish["action"]].role, organization_id)
        job = bulk.start(
            wish["action"],
            selector=wish["selector"],
            parameters=wish["parameters"],
            acting_user=who.user,
            organization_id=organization_id,
        )
        return rest.answer(JobRow(job).data, status=202)

    def _organization(self, request: Request, who: Caller, selector: dict[str, Any]) -> str:
        """Return the scope: what the selector names, else the header, else the caller's only organization."""
        wanted = selector.get("organization_id") or access.chosen(request)
        if isinstance(wanted, str) and wanted:
            access.check(request, wanted)
            return wanted
        if who.is_superadmin:
            return ""
        if not who.roles:
            raise Forbidden
        if len(who.roles) > 1:
            raise InvalidInput(fields={"selector.organization_id": "Name one of your organizations."})
        return next(iter(who.roles))


class Jobs(rest.View):
    """`/api/v1/internal/jobs`."""

    @rest.operation(
        JobRow,
        shape=rest.Shape.PAGE,
        parameters={
            "organization_id": rest.Parameter("Only this organization's."),
            "status": rest.one_of(Job.Status.values),
            "kind": rest.Parameter("Only of this kind, such as bulk.message."),
        },
    )
    def get(self, request: Request) -> Response:
        """List jobs, newest first."""
        rows = access.narrow(request, Job.objects.defer("targets"))
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        if kind := self.query["kind"]:
            rows = rows.filter(kind=kind)
        return rest.page(request, rows.order_by("-id"), JobRow)


class OneJob(rest.View):
    """`/api/v1/internal/jobs/{id}`."""

    @rest.operation(JobRow)
    def get(self, request: Request, job_id: str) -> Response:
        """Return one job, with how far it got."""
        return rest.answer(JobRow(access.get(request, Job.objects.defer("targets"), job_id=job_id)).data)


class Cancellation(rest.View):
    """`/api/v1/internal/jobs/{id}/cancel`."""

    @rest.operation(JobRow, body=Nothing, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, job_id: str) -> Response:
        """Stop a job between two pieces; what it did stays done."""
        job = access.get(request, Job.objects.all(), job_id=job_id)
        who = access.caller(request)
        action = bulk.ACTIONS.get(job.request.get("action", ""))
        _require(who, action.role if action else Role.ADMIN, job.organization_id)
        rest.body(request, Nothing, may_be_empty=True)
        return rest.answer(JobRow(jobs.cancel(job, acting_user=who.user)).data)
