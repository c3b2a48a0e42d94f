"""REST doors of an organization's API keys: list, make, rotate, revoke (API §6). A secret is shown once."""

from datetime import datetime
from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orgs import access, keys, rest, spending
from orgs.models import ApiKey, Organization, Role, SpendingLimit
from orgs.models.organization import validate_identifier
from orgs.names import NameText
from orgs.spending_forms import MAX_MODELS, LimitFields, ModelName, ShownLimits

DAY_SECONDS: Final = 86_400
MAX_GRACE_SECONDS: Final = 90 * DAY_SECONDS


class ApiKeyRows(serializers.ListSerializer[ApiKey]):
    """Keys of a list: what they have spent is read for all of them at once."""

    def to_representation(self, data: Any) -> list[Any]:
        """Return the rows."""
        rows = list(data)
        found = spending.standing([row.spending_limit for row in rows if hasattr(row, "spending_limit")])
        for row in rows:
            row.standing = found
        return super().to_representation(rows)


class ApiKeyRow(ShownLimits, serializers.ModelSerializer[ApiKey]):
    """A key as its organization sees it: how the secret begins, never the rest."""

    organization_id = serializers.CharField()
    secret = serializers.SerializerMethodField()
    created_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True, allow_null=True)

    spent_usd = serializers.SerializerMethodField(help_text="Of its budget, in the window that runs; null without one.")
    window_ends_at = serializers.SerializerMethodField(help_text="When its budget begins anew; null: never.")

    class Meta:
        model = ApiKey
        list_serializer_class = ApiKeyRows
        fields = [
            "key_id", "organization_id", "name", "secret", "role", "scopes", "orchestrator_id", "expires_at",
            "revoked_at", "created_by", "created_at", "models", "budget_usd", "budget_window", "requests_per_minute",
            "tokens_per_minute", "max_parallel", "spent_usd", "window_ends_at",
        ]  # fmt: skip

    def get_secret(self, row: ApiKey) -> str:
        """Mask the secret."""
        return f"{row.prefix}***"

    def get_spent_usd(self, row: ApiKey) -> float | None:
        """Return dollars."""
        return spending.usd(_standing(row)[0])

    def get_window_ends_at(self, row: ApiKey) -> datetime | None:
        """Return the moment."""
        return _standing(row)[1]


class NewSecret(ApiKeyRow):
    """A key with its secret, shown this one time."""

    secret = serializers.SerializerMethodField(help_text="The whole secret; it cannot be shown again.")


class NewApiKey(LimitFields):
    """The body that makes a key; the limits are those of the LLM gateway.

    Without `role` and `scopes` it is an orchestrator's when it is bound to one, else a viewer's.
    """

    name = NameText()
    role = serializers.ChoiceField(Role.choices, required=False)
    scopes = serializers.ListField(child=serializers.CharField(max_length=50), required=False, max_length=10)
    orchestrator_id = serializers.CharField(
        max_length=50, required=False, allow_blank=True, validators=[validate_identifier]
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    models = serializers.ListField(
        child=ModelName(), required=False, max_length=MAX_MODELS, help_text="The only models it may call; empty: all."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Give a key that says neither what it may the least there is."""
        if attrs.get("role") or attrs.get("scopes"):
            return attrs
        return attrs | ({"scopes": ["orchestrator"]} if attrs.get("orchestrator_id") else {"role": Role.VIEWER.value})


class Grace(serializers.Serializer[Any]):
    """The body that rotates a key: how long the old one still works."""

    grace_seconds = serializers.IntegerField(min_value=0, max_value=MAX_GRACE_SECONDS, default=DAY_SECONDS)


class ApiKeys(rest.View):
    """`/api/v1/orchestrators/{organization_id}/api-keys`."""

    @rest.operation(ApiKeyRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the keys, newest first; who is no administrator sees those it made itself."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        rows = ApiKey.objects.filter(organization=organization).select_related("created_by", "spending_limit")
        who = access.caller(request)
        if not who.may_write(organization_id):
            rows = rows.filter(created_by=who.user) if who.user else rows.none()
        return rest.page(request, rows.order_by("-created_at", "-id"), ApiKeyRow)

    @rest.operation(NewSecret, body=NewApiKey, status=201)
    def post(self, request: Request, organization_id: str) -> Response:
        """Make a key; the answer holds its secret, this one time."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row, secret = keys.create(organization, acting_user=who.user, **rest.body(request, NewApiKey))
        return rest.answer(ApiKeyRow(row).data | {"secret": secret}, status=201)


class Key(rest.View):
    """`/api/v1/orchestrators/{organization_id}/api-keys/{id}`."""

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, organization_id: str, key_id: str) -> Response:
        """Revoke the key; it stays in the list, and revoking it again changes nothing."""
        row = _get(request, organization_id, key_id)
        keys.revoke(row, acting_user=access.caller(request).user)
        return Response(status=204)


class Rotation(rest.View):
    """`/api/v1/orchestrators/{organization_id}/api-keys/{id}/rotate`."""

    @rest.operation(NewSecret, body=Grace, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, organization_id: str, key_id: str) -> Response:
        """Make a successor; the answer holds its secret, this one time. An orchestrator's key may rotate itself."""
        row = _own(request, organization_id, key_id) or _get(request, organization_id, key_id)
        wish = rest.body(request, Grace, may_be_empty=True)
        row, secret = keys.rotate(row, acting_user=access.caller(request).user, grace_seconds=wish["grace_seconds"])
        return rest.answer(ApiKeyRow(row).data | {"secret": secret})


def _get(request: Request, organization_id: str, key_id: str) -> ApiKey:
    """Return the key for a caller that administers its organization."""
    row = access.get(request, ApiKey.objects.filter(organization=organization_id), key_id=key_id)
    access.require_admin(request, organization_id)
    return row


def _standing(row: ApiKey) -> tuple[int | None, datetime | None]:
    """Return what a key has spent of its budget, and when that begins anew."""
    limit: SpendingLimit | None = getattr(row, "spending_limit", None)
    if limit is None:
        return None, None
    found = row.standing if hasattr(row, "standing") else spending.standing([limit])
    return found.get(limit.pk, (None, None))


def _own(request: Request, organization_id: str, key_id: str) -> ApiKey | None:
    """Return the key that an orchestrator calls with, when the path names that very key."""
    key = access.caller(request).key
    if key is None or not key.may_register or (key.organization_id, key.key_id) != (organization_id, key_id):
        return None
    return ApiKey.objects.get(key_id=key_id)
