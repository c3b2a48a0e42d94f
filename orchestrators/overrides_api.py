"""REST doors of what one orchestrator has on top of its organization's configuration: versions and the way back.

It is written with the orchestrator's other columns (`orchestrators/instances_api.py`).
"""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrators import instances
from orchestrators.configuration import override_versions
from orchestrators.configuration_api import ChangeRow, Target
from orchestrators.instances_api import fleet
from orchestrators.models import Instance, OverrideVersion
from orgs import access, rest


class OverrideRow(serializers.ModelSerializer[OverrideVersion]):
    """A version without its content: who made it, when, why, and what it changed."""

    orchestrator_id = serializers.CharField(source="orchestrator.orchestrator_id")
    changes = ChangeRow(many=True)

    class Meta:
        model = OverrideVersion
        fields = ["orchestrator_id", "version", "comment", "source", "author", "created_at", "changes"]


class OverrideDocument(OverrideRow):
    """A version with its content."""

    override = serializers.DictField(source="content")

    class Meta(OverrideRow.Meta):
        fields = ["override", *OverrideRow.Meta.fields]


def _one(request: Request, orchestrator_id: str) -> Instance:
    row: Instance = access.get(request, fleet(), orchestrator_id=orchestrator_id)
    return row


class Versions(rest.View):
    """`/api/v1/controller/orchestrators/{id}/config/versions`."""

    @rest.operation(OverrideRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, orchestrator_id: str) -> Response:
        """List the versions of its own part, newest first, each with what it changed."""
        rows = override_versions.listed(_one(request, orchestrator_id))
        return rest.page(request, rows, OverrideRow)


class Version(rest.View):
    """`/api/v1/controller/orchestrators/{id}/config/versions/{version}`."""

    @rest.operation(OverrideDocument)
    def get(self, request: Request, orchestrator_id: str, version: str) -> Response:
        """Return one version of its own part, with its content."""
        row = override_versions.get(_one(request, orchestrator_id), int(version))
        return rest.answer(OverrideDocument(row).data)


class Rollback(rest.View):
    """`/api/v1/controller/orchestrators/{id}/config/rollback`."""

    @rest.operation(OverrideDocument, body=Target)
    def post(self, request: Request, orchestrator_id: str) -> Response:
        """Give it what an older version of its own part had, as a new version."""
        row = _one(request, orchestrator_id)
        who = access.require_admin(request, row.organization_id)
        wish = rest.body(request, Target)
        row = instances.roll_back(row, wish["version"], acting_user=who.user, comment=wish.get("comment", ""))
        return rest.answer(OverrideDocument(override_versions.current(row)).data)
