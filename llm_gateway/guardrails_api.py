"""REST door of an organization's guardrails."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import guarding
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.guardrails.rules import ACTIONS, MAX_NAME, MAX_RULES, MAX_WORDS, SIDES
from orgs import access, rest
from orgs.models import Organization


class GuardrailRule(serializers.Serializer[Any]):
    """One rule: `redact` finds secrets and personal data, `deny` words and phrases."""

    name = serializers.CharField(max_length=MAX_NAME, help_text="Who is blocked is told it.")
    kind = serializers.ChoiceField(choices=["redact", "deny"])
    on = serializers.ListField(child=serializers.ChoiceField(choices=SIDES), required=False)
    detect = serializers.ListField(child=serializers.ChoiceField(choices=list(DETECTORS)), required=False)
    action = serializers.ChoiceField(choices=ACTIONS, required=False)
    words = serializers.ListField(child=serializers.CharField(), required=False, max_length=MAX_WORDS)

    def to_internal_value(self, data: Any) -> Any:
        """Leave the checks to the room, which names what is wrong by its place."""
        return data


class GuardrailsWish(serializers.Serializer[Any]):
    """The body that sets the guardrails."""

    rules = serializers.ListField(child=GuardrailRule(), max_length=MAX_RULES)


class GuardrailsState(serializers.Serializer[Any]):
    """The rules that hold."""

    organization_id = serializers.CharField()
    rules = serializers.ListField(child=GuardrailRule())


class Guardrails(rest.View):
    """`/api/v1/orchestrators/{organization_id}/guardrails`."""

    @rest.operation(GuardrailsState)
    def get(self, request: Request, organization_id: str) -> Response:
        """Show the rules that the organization's requests and answers have to pass."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return _answer(organization.pk, guarding.of(organization).rules)

    @rest.operation(GuardrailsState, body=GuardrailsWish)
    def put(self, request: Request, organization_id: str) -> Response:
        """Replace the rules. They hold within two seconds."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row = guarding.put(organization, acting_user=who.user, **rest.body(request, GuardrailsWish))
        return _answer(organization.pk, row.rules)


def _answer(organization_id: str, rules: list[Any]) -> Response:
    return rest.answer({"organization_id": organization_id, "rules": rules})
