"""REST doors of an organization's templates of workflows; they are run by their name (`workflow_type`)."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import WorkflowTemplate
from llm_gateway.workflows import plans, templates
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization

STEPS = "Done in this order where one refers to another, else side by side."


class TemplateStep(serializers.Serializer[Any]):
    """One step; which fields it has goes by its type."""

    name = serializers.RegexField(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$", required=False, help_text="The type without.")
    type = serializers.ChoiceField(choices=plans.KINDS_OF_STEPS)
    input = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=plans.MAX_PROMPT,
        help_text="What it works on, with {{text}}, {{input.…}} and {{steps.…}} in it; the run's text without.",
    )  # fmt: skip
    model = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=plans.TEXTS["model"], help_text="Or an alias."
    )
    after = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Steps before it that have to be over first."
    )
    prompt = serializers.CharField(required=False, max_length=plans.MAX_PROMPT, help_text="prompt: what is asked.")
    system = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=plans.MAX_PROMPT, help_text="prompt."
    )
    schema = serializers.DictField(required=False, help_text="prompt: the JSON Schema that the answer keeps to.")
    max_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=plans.MAX_TOKENS, help_text="prompt: of the answer."
    )
    temperature = serializers.FloatField(required=False, min_value=0, max_value=2, help_text="prompt.")
    categories = serializers.ListField(
        child=serializers.JSONField(), required=False, allow_null=True, help_text="classification: the labels."
    )
    multi_label = serializers.BooleanField(required=False, help_text="classification.")
    instructions = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=plans.TEXTS["instructions"],
        help_text="classification, meeting_intelligence.",
    )  # fmt: skip
    outputs = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="meeting_intelligence: those that are wanted."
    )

    def to_internal_value(self, data: Any) -> Any:
        """Leave the checks to the room, which names what is wrong by its place."""
        return data

    def to_representation(self, instance: Any) -> Any:
        """Return the step as it is kept."""
        return instance


class TemplateRow(serializers.ModelSerializer[WorkflowTemplate]):
    """A template."""

    organization_id = serializers.CharField()
    steps = serializers.ListField(child=TemplateStep())

    class Meta:
        model = WorkflowTemplate
        fields = ["template_id", "organization_id", "name", "description", "steps", "created_at", "updated_at"]


class TemplateChange(serializers.Serializer[Any]):
    """The body that changes a template."""

    name = serializers.CharField(required=False, max_length=50, help_text="What `workflow_type` calls it by.")
    description = serializers.CharField(required=False, allow_blank=True, max_length=500)
    steps = serializers.ListField(
        child=TemplateStep(), required=False, min_length=1, max_length=plans.MAX_STEPS, help_text=STEPS
    )


class NewTemplate(TemplateChange):
    """The body that makes a template, or replaces one."""

    name = serializers.CharField(max_length=50, help_text="What `workflow_type` calls it by.")
    steps = serializers.ListField(child=TemplateStep(), min_length=1, max_length=plans.MAX_STEPS, help_text=STEPS)


class Templates(rest.View):
    """`/api/v1/orchestrators/{organization_id}/workflow-templates`."""

    @rest.operation(TemplateRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's types of workflow."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return rest.page(request, _rows(organization.pk).order_by("name"), TemplateRow)

    @rest.operation(TemplateRow, body=NewTemplate, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Make a type of workflow."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row = templates.create(organization, acting_user=who.user, **rest.body(request, NewTemplate))
        return rest.answer(TemplateRow(row).data, status=201)


class OneTemplate(rest.View):
    """`/api/v1/orchestrators/{organization_id}/workflow-templates/{template_id}`."""

    @rest.operation(TemplateRow)
    def get(self, request: Request, organization_id: str, template_id: str) -> Response:
        """Return one template."""
        return rest.answer(TemplateRow(_found(request, organization_id, template_id)).data)

    @rest.operation(TemplateRow, body=NewTemplate, errors=("conflict",))
    def put(self, request: Request, organization_id: str, template_id: str) -> Response:
        """Replace a template; runs that are queued keep the steps they were made with."""
        row, who = _administered(request, organization_id, template_id)
        wish = {"description": "", **rest.body(request, NewTemplate)}
        return rest.answer(TemplateRow(templates.update(row, acting_user=who.user, **wish)).data)

    @rest.operation(TemplateRow, body=TemplateChange, errors=("conflict",))
    def patch(self, request: Request, organization_id: str, template_id: str) -> Response:
        """Change what the body names; runs that are queued keep the steps they were made with."""
        row, who = _administered(request, organization_id, template_id)
        wish = rest.body(request, TemplateChange)
        return rest.answer(TemplateRow(templates.update(row, acting_user=who.user, **wish)).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, organization_id: str, template_id: str) -> Response:
        """Delete a template; runs that are queued are still done."""
        row, who = _administered(request, organization_id, template_id)
        templates.delete(row, acting_user=who.user)
        return Response(status=204)


def _rows(organization_id: str) -> QuerySet[WorkflowTemplate]:
    return WorkflowTemplate.objects.filter(organization=organization_id)


def _found(request: Request, organization_id: str, template_id: str) -> WorkflowTemplate:
    return access.get(request, _rows(organization_id), template_id=template_id)


def _administered(request: Request, organization_id: str, template_id: str) -> tuple[WorkflowTemplate, Caller]:
    row = _found(request, organization_id, template_id)
    return row, access.require_admin(request, organization_id)
