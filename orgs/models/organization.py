"""An organization: the tenant that everything else belongs to."""

from django.core.validators import RegexValidator
from django.db import models

from orgs.names import NameField

IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,49}\Z"
validate_identifier = RegexValidator(
    IDENTIFIER_PATTERN, "Use up to 50 letters, digits, dots, dashes or underscores, beginning with a letter or digit."
)


class Organization(models.Model):
    """A tenant; the columns are published (API §8)."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"
        SUSPENDED = "suspended"
        PROVISIONING = "provisioning"

    organization_id = models.CharField(
        "organization id", primary_key=True, max_length=50, validators=[validate_identifier]
    )
    name = NameField(max_length=200)
    status = models.CharField(max_length=20, choices=Status, default=Status.ACTIVE)
    is_active = models.BooleanField(default=True)
    is_independent = models.BooleanField(
        "independent", default=False, help_text="Every orchestrator of the organization runs on its own."
    )
    settings = models.JSONField(
        default=dict, blank=True, help_text='JSON; "config" in it is the base of every orchestrator\'s configuration.'
    )
    admin_email = models.EmailField(blank=True)
    support_email = models.EmailField(blank=True)
    website = models.URLField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "organizations"
        ordering = ["organization_id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.organization_id})"

    @classmethod
    def open_at(cls, path: str = "") -> models.Q:
        """Return the condition under which rows whose `path` leads to an organization have an open one."""
        return models.Q(**{f"{path}is_active": True}) & ~models.Q(**{f"{path}status": cls.Status.SUSPENDED})

    @property
    def is_open(self) -> bool:
        """Whether its people and orchestrators may act at all."""
        return self.is_active and self.status != self.Status.SUSPENDED
