"""REST doors of an organization's configuration: read, write, check, its versions and the way back (API §6)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import AppError
from orchestrators import configuration
from orchestrators.configuration import versions
from orchestrators.models import ConfigVersion
from orgs import access, rest
from orgs.models import Organization

MAX_VERSION_DIGITS = 9


class ChangeRow(serializers.Serializer[Any]):
    """One place that differs; what is absent on one side has no such member."""

    path = serializers.CharField()
    before = serializers.JSONField(required=False)
    after = serializers.JSONField(required=False)


class VersionRow(serializers.ModelSerializer[ConfigVersion]):
    """A version without its content: who made it, when, why, and what it changed."""

    organization_id = serializers.CharField()
    changes = ChangeRow(many=True)

    class Meta:
        model = ConfigVersion
        fields = [
            "organization_id", "version", "config_hash", "comment", "source", "author", "created_at", "released_at",
            "changes",
        ]  # fmt: skip


class VersionDocument(VersionRow):
    """A version with its content."""

    has_etag = True  # for the OpenAPI document: see `answer`
    config = serializers.DictField(source="content")

    class Meta(VersionRow.Meta):
        fields = ["config", *VersionRow.Meta.fields]


class NewConfig(serializers.Serializer[Any]):
    """The body that publishes a configuration."""

    config = serializers.DictField()
    comment = serializers.CharField(required=False, allow_blank=True, max_length=500)


class Candidate(serializers.Serializer[Any]):
    """The body that has a configuration checked."""

    config = serializers.JSONField()


class ProblemRow(serializers.Serializer[Any]):
    """What is wrong, and where."""

    path = serializers.CharField(allow_blank=True)
    problem = serializers.CharField()


class Verdict(serializers.Serializer[Any]):
    """What a check says."""

    valid = serializers.BooleanField()
    errors = ProblemRow(many=True)  # type: ignore[assignment]  # a field, not the errors of this form


class Target(serializers.Serializer[Any]):
    """The body that goes back to a version."""

    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=500)
    force = serializers.BooleanField(required=False)


def administered(request: Request, organization_id: str) -> tuple[Organization, Any]:
    """Return the organization and who administers it, or refuse."""
    organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
    return organization, access.require_admin(request, organization_id)


def version_in(request: Request) -> int | None:
    """Return the version that If-Match names, None without one; raises `precondition_failed` for what names none."""
    text = request.headers.get("If-Match", "").strip()
    if not text or text == "*":
        return None
    tag = text.removeprefix("W/").strip('"')
    if not tag.isascii() or not tag.isdigit() or len(tag) > MAX_VERSION_DIGITS:
        raise AppError("precondition_failed", 'If-Match takes one ETag of this configuration, such as "7".')
    return int(tag)


def answer(row: ConfigVersion) -> Response:
    """Answer a version with its ETag."""
    response = rest.answer(VersionDocument(row).data)
    response["ETag"] = f'"{row.version}"'
    return response


class Config(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config`."""

    @rest.operation(VersionDocument)
    def get(self, request: Request, organization_id: str) -> Response:
        """Return the configuration that every orchestrator starts from; an orchestrator's key may read its own."""
        own = "orchestrators__orchestrator_id"
        rows = Organization.objects.all()
        return answer(versions.current(access.get(request, rows, field="pk", own=own, pk=organization_id)))

    @rest.operation(VersionDocument, body=NewConfig, errors=("conflict", "precondition_failed"))
    def put(self, request: Request, organization_id: str) -> Response:
        """Publish a configuration and push it; `If-Match` keeps from writing over what another one just wrote."""
        organization, who = administered(request, organization_id)
        wish = rest.body(request, NewConfig)
        row = configuration.publish(
            organization,
            wish["config"],
            acting_user=who.user,
            comment=wish.get("comment", ""),
            expected=version_in(request),
        )
        return answer(row)


class Validation(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/validate`."""

    @rest.operation(Verdict, body=Candidate)
    def post(self, request: Request, organization_id: str) -> Response:
        """Say what is wrong with a configuration, without publishing it."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        found = configuration.validate(rest.body(request, Candidate)["config"], organization)
        return rest.answer(Verdict({"valid": not found, "errors": found}).data)


class Versions(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/versions`."""

    @rest.operation(VersionRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the versions, newest first, each with what it changed."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return rest.page(request, organization.config_versions.defer("document"), VersionRow)


class Version(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/versions/{version}`."""

    @rest.operation(VersionDocument)
    def get(self, request: Request, organization_id: str, version: str) -> Response:
        """Return one version with its content."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return answer(versions.get(organization, int(version)))


class Rollback(rest.View):
    """`/api/v1/orchestrators/{organization_id}/config/rollback`."""

    @rest.operation(VersionDocument, body=Target, errors=("conflict", "precondition_failed"))
    def post(self, request: Request, organization_id: str) -> Response:
        """Publish the content of an older version as a new one; one that was halted only with `force`.

        `If-Match` keeps from undoing what another one just wrote.
        """
        organization, who = administered(request, organization_id)
        wish = rest.body(request, Target)
        row = configuration.rollback(
            organization,
            wish["version"],
            acting_user=who.user,
            comment=wish.get("comment", ""),
            is_forced=wish.get("force", False),
            expected=version_in(request),
        )
        return answer(row)
