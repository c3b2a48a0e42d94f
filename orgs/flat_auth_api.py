"""The door that hands out tokens for the flat paths (API §7)."""

from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orgs import access, external, names, rest
from orgs.authentication import ConsoleSessionAuthentication
from orgs.models import Organization

ORGANIZATION = rest.Parameter("Where the token acts, where the body names none; the default one without.")


class Wish(serializers.Serializer[Any]):
    """Who the token is for."""

    user_id = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(list(external.ROLES), help_text="agent means operator, user means viewer.")
    organization_id = serializers.CharField(max_length=50, required=False)


class Token(serializers.Serializer[Any]):
    """A token."""

    access_token = serializers.CharField()
    token_type = serializers.CharField(help_text="Always bearer.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TokenDoor(rest.View):
    """`/auth/token`."""

    authentication_classes = (external.FlatAuthentication, ConsoleSessionAuthentication)

    @rest.operation(Token, body=Wish, shape=rest.Shape.FLAT, parameters={"organization_id": ORGANIZATION})
    def post(self, request: Request) -> Response:
        """Make a token that acts in one organization on the flat paths (superadmin)."""
        who = access.require_superadmin(request)
        wish = rest.body(request, Wish)
        user_id = names.require(wish["user_id"], field="user_id")
        organization_id = (
            wish.get("organization_id") or self.query["organization_id"] or settings.DEFAULT_ORGANIZATION_ID
        )
        access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        token, lifetime = external.issue(
            user_id,
            role=wish["role"],
            organization_id=organization_id,
            now=timezone.now(),
            acting_user=who.user,
        )
        return Response({"access_token": token, "token_type": "bearer", "expires_in": lifetime})
