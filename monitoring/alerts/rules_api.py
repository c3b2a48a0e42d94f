"""REST doors of alert rules: everywhere (superadmin), and an organization's own in their place."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.alerts import probes, rules
from monitoring.models import Rule, Severity
from moolai.errors import Forbidden, InvalidInput
from orgs import access, rest


class RuleRow(serializers.ModelSerializer[Rule]):
    """A rule; `organization_id` is "" where it holds everywhere."""

    is_default = serializers.SerializerMethodField(help_text="Whether the product brings it; deleting puts it back.")
    waits_for = serializers.SerializerMethodField(help_text='What its metric waits for; "" when it is evaluated.')

    class Meta:
        model = Rule
        fields = [
            "id", "rule_key", "organization_id", "alert_type", "title", "metric", "comparison", "threshold",
            "for_seconds", "consecutive", "severity", "scope", "is_enabled", "is_default", "is_changed", "changed_by",
            "waits_for", "updated_at",
        ]  # fmt: skip

    def get_is_default(self, row: Rule) -> bool:
        """Look it up."""
        return rules.is_default(row)

    def get_waits_for(self, row: Rule) -> str:
        """Look it up."""
        return probes.waits_for(row.metric)


class RuleChange(serializers.Serializer[Any]):
    """The body that changes a rule: what it leaves out stays."""

    title = serializers.CharField(max_length=200, required=False)
    metric = serializers.CharField(max_length=60, required=False)
    comparison = serializers.ChoiceField(Rule.Comparison.values, required=False)
    threshold = serializers.FloatField(required=False)
    for_seconds = serializers.IntegerField(min_value=0, max_value=rules.MAX_SECONDS, required=False)
    consecutive = serializers.IntegerField(min_value=1, max_value=rules.MAX_CONSECUTIVE, required=False)
    severity = serializers.ChoiceField(Severity.values, required=False)
    scope = serializers.ChoiceField(Rule.Scope.values, required=False)
    is_enabled = serializers.BooleanField(required=False)


class NewRule(RuleChange):
    """The body that makes a rule; with the key of a rule for everywhere, what it leaves out is taken from that."""

    rule_key = serializers.CharField(max_length=80)
    organization_id = serializers.CharField(max_length=50, required=False, allow_blank=True)
    alert_type = serializers.CharField(max_length=60, required=False)


class Rules(rest.View):
    """`/api/v1/system/alert-rules`."""

    @rest.operation(
        RuleRow,
        shape=rest.Shape.PAGE,
        parameters={
            "organization_id": rest.Parameter("This organization's own, and those for everywhere."),
            "rule_key": rest.Parameter("Only this key."),
        },
    )
    def get(self, request: Request) -> Response:
        """List the rules: those for everywhere, and those of the caller's organizations."""
        rows = access.narrow(request, Rule.objects.all()) | _everywhere()
        if wanted := self.query["rule_key"]:
            rows = rows.filter(rule_key=wanted)
        return rest.page(request, rows, RuleRow)

    @rest.operation(RuleRow, body=NewRule, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Make a rule for an organization, or (superadmin) for everywhere."""
        wish = rest.body(request, NewRule)
        organization_id = target(request, wish.pop("organization_id", ""))
        who = access.require_admin(request, organization_id)
        row = rules.create(wish.pop("rule_key"), organization_id=organization_id, acting_user=who.user, **wish)
        return rest.answer(RuleRow(row).data, status=201)


class OneRule(rest.View):
    """`/api/v1/system/alert-rules/{rule_id}`."""

    @rest.operation(RuleRow)
    def get(self, request: Request, rule_id: str) -> Response:
        """Return one rule."""
        return rest.answer(RuleRow(_rule(request, rule_id)).data)

    @rest.operation(RuleRow, body=RuleChange)
    def patch(self, request: Request, rule_id: str) -> Response:
        """Change what the body names; those for everywhere are a superadmin's."""
        row = _rule(request, rule_id)
        who = access.require_admin(request, row.organization_id)
        row = rules.change(row, acting_user=who.user, **rest.body(request, RuleChange))
        return rest.answer(RuleRow(row).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY, errors=("conflict",))
    def delete(self, request: Request, rule_id: str) -> Response:
        """Delete a rule; a default one for everywhere is put back as it was."""
        row = _rule(request, rule_id)
        who = access.require_admin(request, row.organization_id)
        rules.delete(row, acting_user=who.user)
        return Response(status=204)


def target(request: Request, wanted: str) -> str:
    """Return the organization a body is about: the one it names, the header's, the caller's only one; "": all.

    Raises `not_found` for a foreign one, and InvalidInput where it is to be named.
    """
    who = access.caller(request)
    wanted = wanted or access.chosen(request)
    if wanted:
        access.check(request, wanted)
        return wanted
    if who.is_superadmin:
        return ""
    if not who.roles:
        raise Forbidden
    if len(who.roles) > 1:
        raise InvalidInput(fields={"organization_id": "You belong to several; name one."})
    return next(iter(who.roles))


def _everywhere() -> QuerySet[Rule]:
    return Rule.objects.filter(organization_id="")


def _rule(request: Request, rule_id: str) -> Rule:
    shared = _everywhere().filter(pk=int(rule_id)).first()
    if shared is not None and (access.caller(request).is_superadmin or access.caller(request).roles):
        return shared
    return access.get(request, Rule.objects.all(), pk=int(rule_id))
