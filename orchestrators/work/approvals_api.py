"""The flat doors of approvals: `/approvals` (API §7)."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import InvalidInput
from orchestrators.models import Approval
from orchestrators.work import approvals, scope
from orchestrators.work.flat_api import ORGANIZATION, WITHIN, FlatView, assigned
from orchestrators.work.rows import ApprovalRow
from orgs import access, rest
from orgs.authentication import Caller

FIELD = "task__organization_id"
PENDING_AT_ONCE = 1000
DECIDING = {
    "reason": rest.Parameter("Why, for the timeline and the audit trail; in the body, too.", most_characters=500),
    "organization_id": WITHIN,
}


class Pending(serializers.Serializer[Any]):
    """What waits, the most urgent first."""

    success = serializers.BooleanField()
    count = serializers.IntegerField(help_text=f"How many wait; the {PENDING_AT_ONCE:,} most urgent are listed.")
    approvals = ApprovalRow(many=True)


class History(serializers.Serializer[Any]):
    """What was decided, newest first."""

    success = serializers.BooleanField()
    count = serializers.IntegerField()
    history = ApprovalRow(many=True)


class One(serializers.Serializer[Any]):
    """An approval."""

    success = serializers.BooleanField()
    approval = ApprovalRow()


class Decision(serializers.Serializer[Any]):
    """What was decided."""

    success = serializers.BooleanField()
    approval_id = serializers.CharField()
    task_id = serializers.CharField()
    status = serializers.ChoiceField(Approval.Status.choices)
    message = serializers.CharField()


def _visible(request: Request, organization_id: str | None) -> QuerySet[Approval]:
    """Return the caller's approvals; a superadmin's are those of one organization (API §7)."""
    rows = access.narrow(request, Approval.objects.select_related("task"), field=FIELD)
    who = access.caller(request)
    if who.is_superadmin and not organization_id and not access.chosen(request):
        return rows.filter(**{FIELD: settings.DEFAULT_ORGANIZATION_ID})
    return rows


class PendingApprovals(FlatView):
    """`/approvals/pending`."""

    rate = "APPROVALS"

    @rest.operation(Pending, shape=rest.Shape.FLAT, parameters={"organization_id": ORGANIZATION})
    def get(self, request: Request) -> Response:
        """List what waits for a person."""
        rows = _visible(request, self.query["organization_id"]).filter(status=Approval.Status.PENDING)
        found = ApprovalRow(rows.order_by("-task__priority", "id")[:PENDING_AT_ONCE], many=True).data
        count = len(found) if len(found) < PENDING_AT_ONCE else rows.count()
        return Response({"success": True, "count": count, "approvals": found})


class ApprovalHistory(FlatView):
    """`/approvals/history`."""

    rate = "APPROVALS"

    @rest.operation(
        History,
        shape=rest.Shape.FLAT,
        parameters={
            "organization_id": ORGANIZATION,
            "limit": rest.Parameter("How many.", "integer", default=100, maximum=1000),
        },
    )
    def get(self, request: Request) -> Response:
        """List what was decided, expired or withdrawn."""
        rows = _visible(request, self.query["organization_id"]).filter(decided_at__isnull=False)
        found = ApprovalRow(rows.order_by("-decided_at", "-id")[: self.query["limit"]], many=True).data
        return Response({"success": True, "count": len(found), "history": found})


def _one(request: Request, approval_id: str, wanted: str | None) -> Approval:
    rows = scope.within(request, Approval.objects.select_related("task"), wanted, field=FIELD)
    return access.get(request, rows, field=FIELD, approval_id=approval_id)


class OneApproval(FlatView):
    """`/approvals/{id}`."""

    rate = "APPROVALS"

    @rest.operation(One, shape=rest.Shape.FLAT, parameters={"organization_id": WITHIN})
    def get(self, request: Request, approval_id: str) -> Response:
        """Return one approval."""
        return Response(
            {"success": True, "approval": ApprovalRow(_one(request, approval_id, self.query["organization_id"])).data}
        )


def _reason(request: Request, said: str) -> str:
    """Return why, `said` in the query or in the body; raises `invalid_field` where the two disagree."""
    wish = {} if _is_empty_form(request) else rest.body(request, rest.Reason, may_be_empty=True)
    written = str(wish.get("reason", ""))
    if said and written and said != written:
        raise InvalidInput(fields={"reason": "The query says something else: send one of the two."})
    return written or said


def _is_empty_form(request: Request) -> bool:
    """Whether the body is a form without fields, as some clients send where there is nothing to say."""
    sent = request._request
    is_form = sent.content_type in ("multipart/form-data", "application/x-www-form-urlencoded")
    return is_form and not sent.POST and not sent.FILES


class Deciding(FlatView):
    """What approving and rejecting have in common."""

    rate = "APPROVALS"

    def asked(self, request: Request, approval_id: str) -> tuple[Approval, Caller, str]:
        """Return what is to be decided, by whom, and why."""
        row = _one(request, approval_id, self.query["organization_id"])
        who = scope.require_operator(request, row.task.organization_id)
        return row, who, _reason(request, self.query["reason"] or "")


class Approving(Deciding):
    """`/approvals/{id}/approve`."""

    @rest.operation(
        Decision,
        body=rest.Reason,
        body_may_be_empty=True,
        shape=rest.Shape.FLAT,
        parameters=DECIDING,
        errors=("conflict",),
    )
    def post(self, request: Request, approval_id: str) -> Response:
        """Let the task run; one's own only where the organization does not forbid that."""
        row, who, reason = self.asked(request, approval_id)
        row = approvals.approve(row, acting_user=who.user, caller_id=who.caller_id, reason=reason)
        return _decided(row, f"Task approved{assigned(row.task)}")


class Rejecting(Deciding):
    """`/approvals/{id}/reject`."""

    @rest.operation(
        Decision,
        body=rest.Reason,
        body_may_be_empty=True,
        shape=rest.Shape.FLAT,
        parameters=DECIDING,
        errors=("conflict",),
    )
    def post(self, request: Request, approval_id: str) -> Response:
        """Turn the task down, which cancels it."""
        row, who, reason = self.asked(request, approval_id)
        row = approvals.reject(row, acting_user=who.user, reason=reason)
        return _decided(row, "Task rejected")


def _decided(row: Approval, message: str) -> Response:
    told = {"approval_id": row.approval_id, "task_id": row.task.task_id, "status": row.status}
    return Response({"success": True, **told, "message": message})
