"""REST doors of an organization's cache: what it does, what it saved, and how it is emptied."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import caching
from llm_gateway.models.caching import DEFAULT_SECONDS, MAX_MODELS, MAX_SECONDS
from orgs import access, rest, spending
from orgs.models import Organization


class CacheWish(serializers.Serializer[Any]):
    """The body that sets the cache."""

    is_enabled = serializers.BooleanField(
        required=False, default=True, help_text="false: not even for calls that ask for it."
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, max_length=MAX_MODELS,
        help_text="Models and aliases whose answers are kept unasked; * is all of them.",
    )  # fmt: skip
    ttl_seconds = serializers.IntegerField(
        required=False,
        default=DEFAULT_SECONDS,
        min_value=1,
        max_value=MAX_SECONDS,
        help_text="How long an answer is kept.",
    )


class CacheState(serializers.Serializer[Any]):
    """What the cache does, and what it saved in the last thirty days."""

    organization_id = serializers.CharField()
    is_enabled = serializers.BooleanField()
    models = serializers.ListField(child=serializers.CharField())
    ttl_seconds = serializers.IntegerField()
    hits = serializers.IntegerField(help_text="Calls that were answered from it in the last 30 days.")
    saved_usd = serializers.FloatField(help_text="What those answers had cost when they were made.")


class Cache(rest.View):
    """`/api/v1/orchestrators/{organization_id}/cache`."""

    @rest.operation(CacheState)
    def get(self, request: Request, organization_id: str) -> Response:
        """Show what the organization's cache does, and what it saved."""
        return _answer(access.get(request, Organization.objects.all(), field="pk", pk=organization_id))

    @rest.operation(CacheState, body=CacheWish, body_may_be_empty=True)
    def put(self, request: Request, organization_id: str) -> Response:
        """Set what the cache does; what is left out is as it is without a rule. It holds within two seconds."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        caching.put(organization, acting_user=who.user, **rest.body(request, CacheWish, may_be_empty=True))
        return _answer(organization)


class CacheEntries(rest.View):
    """`/api/v1/orchestrators/{organization_id}/cache/entries`."""

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, organization_id: str) -> Response:
        """Empty the organization's cache; no answer of before is given two seconds later."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        caching.empty(organization, acting_user=who.user)
        return Response(status=204)


def _answer(organization: Organization) -> Response:
    found = caching.saved(organization, now=timezone.now())
    told = {"hits": found["hits"], "saved_usd": spending.usd(found["saved_usd_micros"])}
    row = caching.told(caching.of(organization))
    return rest.answer(CacheState({"organization_id": organization.pk, **row, **told}).data)
