"""REST doors of signing in: login, refresh, logout (API §4)."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orgs import rest, signing_in, tokens
from orgs.models import User
from orgs.tokens import Pair


class Credentials(serializers.Serializer[Any]):
    """The body of a login."""

    username = serializers.CharField(max_length=150, trim_whitespace=False)
    password = serializers.CharField(max_length=1000, trim_whitespace=False)


class Refresh(serializers.Serializer[Any]):
    """The body of refresh and logout."""

    refresh_token = serializers.CharField(max_length=200)


class Tokens(serializers.Serializer[Any]):
    """What a refresh hands out."""

    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    token_type = serializers.CharField(help_text="Always bearer.")
    expires_in = serializers.IntegerField(help_text="Seconds the access token is good for.")


class RoleIn(serializers.Serializer[Any]):
    """A role in an organization."""

    organization_id = serializers.CharField()
    role = serializers.CharField()


class Person(serializers.Serializer[Any]):
    """Who signed in."""

    id = serializers.IntegerField()
    username = serializers.CharField()
    email = serializers.CharField()
    is_superadmin = serializers.BooleanField()
    roles = RoleIn(many=True)


class SignedIn(Tokens):
    """What a login hands out."""

    user = Person()


class Farewell(serializers.Serializer[Any]):
    """What a logout says."""

    message = serializers.CharField()


class Login(rest.PublicView):
    """`/api/v1/internal/auth/login`."""

    @rest.operation(SignedIn, body=Credentials, errors=("invalid_login", "locked_out"))
    def post(self, request: Request) -> Response:
        """Trade a user name and a password for a pair of tokens."""
        body = rest.body(request, Credentials)
        user = signing_in.check(request._request, username=body["username"], password=body["password"])
        return rest.answer(_document(tokens.sign_in(user, now=timezone.now())) | {"user": describe(user)})


class Renew(rest.PublicView):
    """`/api/v1/internal/auth/refresh`."""

    @rest.operation(Tokens, body=Refresh, errors=("unauthenticated",))
    def post(self, request: Request) -> Response:
        """Trade a refresh token, once, for the next pair."""
        return rest.answer(_document(tokens.refresh(rest.body(request, Refresh)["refresh_token"], now=timezone.now())))


class Logout(rest.PublicView):
    """`/api/v1/internal/auth/logout`."""

    @rest.operation(Farewell, body=Refresh)
    def post(self, request: Request) -> Response:
        """End the sign-in; a token that is no good any more is ended already."""
        tokens.sign_out(rest.body(request, Refresh)["refresh_token"], now=timezone.now())
        return rest.answer({"message": "Signed out."})


def _document(pair: Pair) -> dict[str, Any]:
    return {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "bearer",
        "expires_in": pair.expires_in,
    }


def describe(user: User) -> dict[str, Any]:
    """Return what a caller may know of itself: who it is, and its role in each organization."""
    roles = user.memberships.order_by("organization_id").values_list("organization_id", "role")
    return {
        "id": user.pk,
        "username": user.get_username(),
        "email": user.email,
        "is_superadmin": user.is_superuser,
        "roles": [{"organization_id": organization_id, "role": role} for organization_id, role in roles],
    }
