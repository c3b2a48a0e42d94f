"""REST doors of rollouts: begin one, watch it, pause, resume, cancel (API §6)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import InvalidInput
from orchestrators.configuration import pace, progress, rollouts, versions
from orchestrators.configuration_api import administered
from orchestrators.models import ConfigVersion, Rollout
from orgs import access, rest
from orgs.models import Organization


class ProgressRow(serializers.Serializer[Any]):
    """The members of a rollout, by what became of them."""

    members = serializers.IntegerField()
    applied = serializers.IntegerField()
    sent = serializers.IntegerField()
    waiting = serializers.IntegerField()
    failed = serializers.IntegerField()
    lost = serializers.IntegerField()
    offline = serializers.IntegerField()


class RolloutRow(serializers.ModelSerializer[Rollout]):
    """A rollout; `stage` counts from 1."""

    organization_id = serializers.CharField()
    version = serializers.IntegerField()
    previous_version = serializers.IntegerField(allow_null=True)
    stages = serializers.ListField(child=serializers.DictField())
    stage = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    job_id = serializers.CharField(source="job.job_id", allow_null=True, default=None)

    class Meta:
        model = Rollout
        fields = [
            "id", "organization_id", "version", "previous_version", "is_staged", "status", "stages", "stage",
            "max_failed_percent", "max_failed", "stage_timeout_seconds", "soak_seconds", "progress", "job_id",
            "reason", "started_by", "started_at", "stage_started_at", "finished_at",
        ]  # fmt: skip

    def get_stage(self, row: Rollout) -> int:
        """Count from 1."""
        return row.stage + 1

    def get_progress(self, row: Rollout) -> ProgressRow:
        """Count the members."""
        return ProgressRow(progress.of(row).as_dict()).data  # type: ignore[return-value]


class RolloutDetail(RolloutRow):
    """A rollout with those that failed."""

    failures = serializers.SerializerMethodField()

    class Meta(RolloutRow.Meta):
        fields = [*RolloutRow.Meta.fields, "failures"]

    def get_failures(self, row: Rollout) -> list[dict[str, str]]:
        """Name some of them, with what they said."""
        return progress.failures(row)


class NewRollout(serializers.Serializer[Any]):
    """The body that begins a rollout: of `config`, or of an older `version`."""

    config = serializers.DictField(required=False)
    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=500)
    stages = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=20)
    max_failed_percent = serializers.IntegerField(required=False, min_value=0, max_value=100)
    max_failed = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=2**31 - 1)
    stage_timeout_seconds = serializers.IntegerField(required=False, min_value=1, max_value=pace.MAX_SECONDS)
    soak_seconds = serializers.IntegerField(required=False, min_value=0, max_value=pace.MAX_SECONDS)


def _document(organization: Organization, wish: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Take what is to be rolled out out of a body; return it and where it comes from."""
    if ("config" in wish) == ("version" in wish):
        raise InvalidInput(fields={"config": "Send either config or version."})
    if "config" in wish:
        return wish.pop("config"), ConfigVersion.Source.EDIT
    return versions.get(organization, wish.pop("version")).content, ConfigVersion.Source.ROLLBACK


class Rollouts(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/rollouts`."""

    @rest.operation(RolloutRow, shape=rest.Shape.PAGE, parameters={"status": rest.one_of(Rollout.Status.values)})
    def get(self, request: Request, organization_id: str) -> Response:
        """List the rollouts, newest first; a version that was released at once has one, too."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        big = ("target__document", "target__changes", "previous__document", "previous__changes")
        rows = organization.rollouts.select_related("target", "previous", "job").defer(*big)
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        return rest.page(request, rows, RolloutRow)

    @rest.operation(RolloutDetail, body=NewRollout, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Begin a staged rollout; the stage of everybody is added when it is missing."""
        organization, who = administered(request, organization_id)
        wish = rest.body(request, NewRollout)
        document, source = _document(organization, wish)
        wanted = wish.pop("stages")
        row = rollouts.start(organization, document, wanted=wanted, source=source, acting_user=who.user, **wish)
        return rest.answer(RolloutDetail(row).data, status=201)


class OneRollout(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/rollouts/{id}`."""

    @rest.operation(RolloutDetail)
    def get(self, request: Request, organization_id: str, rollout_id: str) -> Response:
        """Return one rollout, with its progress and those that failed."""
        return rest.answer(RolloutDetail(_row(request, organization_id, rollout_id)).data)


class _Steering(rest.View):
    def steer(self, request: Request, organization_id: str, rollout_id: str, change: Any) -> Response:
        row = _row(request, organization_id, rollout_id)
        who = access.require_admin(request, organization_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        row = change(row, acting_user=who.user, reason=wish.get("reason", ""))
        return rest.answer(RolloutDetail(row).data)


class Pause(_Steering):
    """`/api/v1/orchestrators/{organization_id}/config/rollouts/{id}/pause`."""

    @rest.operation(RolloutDetail, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, rollout_id: str) -> Response:
        """Stop at the running stage; too many failures still take the fleet back."""
        return self.steer(request, organization_id, rollout_id, rollouts.pause)


class Resume(_Steering):
    """`/api/v1/orchestrators/{organization_id}/config/rollouts/{id}/resume`."""

    @rest.operation(RolloutDetail, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, rollout_id: str) -> Response:
        """Go on; the stage's time-out begins anew."""
        return self.steer(request, organization_id, rollout_id, rollouts.resume)


class Cancel(_Steering):
    """`/api/v1/orchestrators/{organization_id}/config/rollouts/{id}/cancel`."""

    @rest.operation(RolloutDetail, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, rollout_id: str) -> Response:
        """End it and take its members back; a version that was released at once stays."""
        return self.steer(request, organization_id, rollout_id, rollouts.cancel)


def _row(request: Request, organization_id: str, rollout_id: str) -> Rollout:
    rows = Rollout.objects.select_related("target", "previous", "organization", "job")
    return access.get(request, rows, organization_id=organization_id, pk=int(rollout_id))
