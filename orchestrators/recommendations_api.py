"""REST doors of recommendations, `/api/v1/orchestrators/{organization_id}/recommendations`; the ids are integers."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden
from orchestrators import recommendations
from orchestrators.models import Recommendation
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization, Role


class ReviewRow(serializers.Serializer[Any]):
    """What became of a recommendation."""

    status = serializers.CharField()
    reason = serializers.CharField()
    applied = serializers.DictField(allow_null=True)
    actor = serializers.CharField()
    reviewed_at = serializers.DateTimeField()


class RecommendationRow(serializers.ModelSerializer[Recommendation]):
    """A recommendation; `status` is new, read, accepted or dismissed."""

    orchestrator_id = serializers.CharField(source="orchestrator.orchestrator_id")
    organization_id = serializers.CharField(source="orchestrator.organization_id")
    content = serializers.JSONField(source="message_content")
    status = serializers.CharField(source="state")
    suggested_config = serializers.DictField(source="suggestion", allow_null=True)
    review = serializers.SerializerMethodField()

    class Meta:
        model = Recommendation
        fields = [
            "id", "message_id", "organization_id", "orchestrator_id", "content", "suggested_config", "status", "review",
            "created_at",
        ]  # fmt: skip

    def get_review(self, row: Recommendation) -> dict[str, Any] | None:
        """Return the review, None as long as nobody read it."""
        review = getattr(row, "review", None)
        return dict(ReviewRow(review).data) if review else None


class Acceptance(rest.Reason):
    """The body that accepts one; without a target, the narrower configuration that can hold the suggestion."""

    target = serializers.ChoiceField(recommendations.TARGETS, required=False)


class Recommendations(rest.View):
    """`/api/v1/orchestrators/{organization_id}/recommendations`."""

    @rest.operation(
        RecommendationRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(list(recommendations.STATES)),
            "orchestrator_id": rest.Parameter("Only this orchestrator's."),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List recommendations, newest first."""
        access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        rows = recommendations.listed(state=self.query["status"] or "")
        rows = rows.filter(orchestrator__organization_id=organization_id)
        if orchestrator_id := self.query["orchestrator_id"]:
            rows = rows.filter(orchestrator__orchestrator_id=orchestrator_id)
        return rest.page(request, rows.order_by("-id"), RecommendationRow)


def _one(request: Request, organization_id: str, pk: str) -> Recommendation:
    rows = recommendations.rows().filter(orchestrator__organization_id=organization_id)
    return access.get(request, rows, field="orchestrator__organization_id", pk=int(pk))


def _operator(request: Request, organization_id: str) -> Caller:
    who = access.caller(request)
    if not who.is_superadmin and who.roles.get(organization_id) not in (Role.ADMIN, Role.OPERATOR):
        raise Forbidden
    return who


class OneRecommendation(rest.View):
    """`…/recommendations/{id}`."""

    @rest.operation(RecommendationRow)
    def get(self, request: Request, organization_id: str, pk: str) -> Response:
        """Return one; reading it this way does not mark it."""
        return rest.answer(RecommendationRow(_one(request, organization_id, pk)).data)


class Reading(rest.View):
    """`…/recommendations/{id}/read`."""

    @rest.operation(RecommendationRow, body=rest.Reason, body_may_be_empty=True)
    def post(self, request: Request, organization_id: str, pk: str) -> Response:
        """Mark it as read."""
        row = _one(request, organization_id, pk)
        who = _operator(request, organization_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        row = recommendations.read(row, acting_user=who.user, reason=wish.get("reason", ""))
        return rest.answer(RecommendationRow(row).data)


class Dismissal(rest.View):
    """`…/recommendations/{id}/dismiss`."""

    @rest.operation(RecommendationRow, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, pk: str) -> Response:
        """Turn it down."""
        row = _one(request, organization_id, pk)
        who = _operator(request, organization_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        row = recommendations.dismiss(row, acting_user=who.user, reason=wish.get("reason", ""))
        return rest.answer(RecommendationRow(row).data)


class Accepting(rest.View):
    """`…/recommendations/{id}/accept`."""

    @rest.operation(RecommendationRow, body=Acceptance, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, pk: str) -> Response:
        """Apply what it suggests as a new configuration."""
        row = _one(request, organization_id, pk)
        who = access.require_admin(request, organization_id)
        wish = rest.body(request, Acceptance, may_be_empty=True)
        row = recommendations.accept(
            row, acting_user=who.user, target=wish.get("target", ""), reason=wish.get("reason", "")
        )
        return rest.answer(RecommendationRow(row).data)
