"""People: users of the console and the API, and what they may do in which organization."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from orgs.models.organization import Organization
from orgs.names import NameField


class User(AbstractUser):
    """A person; `is_superuser` is the role superadmin, everything else comes from memberships."""

    first_name = NameField("first name", max_length=150, blank=True)
    last_name = NameField("last name", max_length=150, blank=True)

    class Meta:
        db_table = "users"


class Role(models.TextChoices):
    """What somebody may do in one organization (API §2), strongest first."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Reads of roles that more than one room needs."""

    def open(self) -> "MembershipQuerySet":
        """Return those in organizations that are open (`Organization.is_open`)."""
        return self.filter(Organization.open_at("organization__"))


class Membership(models.Model):
    """One user's role in one organization."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        db_table = "memberships"
        constraints = [models.UniqueConstraint(fields=["user", "organization"], name="one_role_per_organization")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.organization_id}"
