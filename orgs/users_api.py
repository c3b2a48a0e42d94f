"""REST doors of an organization's users: list, make, change, take out (API §6). The id is the user's integer one."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden, InvalidInput
from orgs import access, rest, users
from orgs.models import Membership, Organization, Role, User


class UserRow(serializers.ModelSerializer[Membership]):
    """A user as one organization sees it."""

    id = serializers.IntegerField(source="user_id")
    username = serializers.CharField(source="user.username")
    email = serializers.CharField(source="user.email")
    organization_id = serializers.CharField()
    is_active = serializers.BooleanField(source="user.is_active")
    last_login = serializers.DateTimeField(source="user.last_login", allow_null=True)

    class Meta:
        model = Membership
        fields = ["id", "username", "email", "organization_id", "role", "is_active", "last_login", "created_at"]


class Change(serializers.Serializer[Any]):
    """The body that changes a user; the user name stays for good."""

    email = serializers.EmailField(required=False, max_length=254)
    role = serializers.ChoiceField(Role.choices, required=False)
    password = serializers.CharField(required=False, max_length=1000, trim_whitespace=False)
    is_active = serializers.BooleanField(required=False)


class Replacement(Change):
    """The body of a PUT: a user as it was read may be sent back."""

    username = serializers.CharField(required=False, max_length=150, help_text="The same as ever; it stays for good.")


class NewUser(Change):
    """The body that makes a user."""

    username = serializers.CharField(max_length=150)
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Role.choices)


class Users(rest.View):
    """`/api/v1/orchestrators/{organization_id}/users`."""

    @rest.operation(UserRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the users by name; who is no administrator sees itself."""
        access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who, rows = access.caller(request), _members(organization_id)
        if not who.may_write(organization_id):
            rows = rows.filter(user=who.user) if who.user else rows.none()
        return rest.page(request, rows.order_by("user__username"), UserRow)

    @rest.operation(UserRow, body=NewUser, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Make a user with a role; without a password the account cannot sign in yet."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row = users.create(organization, acting_user=who.user, **rest.body(request, NewUser))
        return rest.answer(UserRow(row).data, status=201)


class Person(rest.View):
    """`/api/v1/orchestrators/{organization_id}/users/{id}`."""

    @rest.operation(UserRow)
    def get(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Return one user, for an administrator or the user itself."""
        row = access.get(request, _members(organization_id), user=int(user_id))
        if access.caller(request).user != row.user:
            access.require_admin(request, organization_id)
        return rest.answer(UserRow(row).data)

    @rest.operation(UserRow, body=Replacement)
    def put(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Change what the body names; a new password or a closed account ends the user's sign-ins."""
        row = access.get(request, _members(organization_id), user=int(user_id))
        who = access.require_admin(request, organization_id)
        wish = rest.body(request, Replacement)
        if User.normalize_username(wish.pop("username", row.user.username)) != row.user.username:
            raise InvalidInput(fields={"username": "A user name stays for good."})
        is_shared = row.user.memberships.exclude(pk=row.pk).exists()
        if is_shared and _changed(row.user, wish) - {"role"} and not who.is_superadmin:
            raise Forbidden(detail="This account belongs to other organizations too: only its role here is yours.")
        return rest.answer(UserRow(users.update(row, acting_user=who.user, **wish)).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Take the user out of the organization; an account without any other is closed."""
        row = access.get(request, _members(organization_id), user=int(user_id))
        who = access.require_admin(request, organization_id)
        users.remove(row, acting_user=who.user)
        return Response(status=204)


def _changed(user: User, wish: dict[str, Any]) -> set[str]:
    """Return what a body would change of an account; what is sent back as it was read does not count."""
    return {name for name, value in wish.items() if name == "password" or value != getattr(user, name, None)}


def _members(organization_id: str) -> Any:
    return Membership.objects.filter(organization=organization_id).select_related("user")
