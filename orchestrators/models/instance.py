"""An orchestrator instance: what it should be, what it reported, whether it is alive and where its socket is held."""

from datetime import datetime, timedelta
from typing import Any, Final, Self

from django.conf import settings
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from orchestrators import labels
from orchestrators.models.config_version import ConfigVersion
from orchestrators.models.rollout import Rollout
from orgs.models import Organization
from orgs.models.organization import validate_identifier
from orgs.names import NameField
from orgs.sealed import SealedURL, SealedValues

# Columns that may be large, its organization's included: lists leave them in the database.
DOCUMENTS: Final = (
    "features", "session_config", "environment_variables", "health_status", "metadata", "organization__settings",
)  # fmt: skip


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Reads of the fleet that more than one door needs."""

    def present(self) -> Self:
        """Return the instances that were not deleted."""
        return self.filter(deleted_at__isnull=True)

    def connected(self) -> Self:
        """Return the instances with an open session, through the partial index."""
        return self.present().filter(is_connected=True)

    def with_organization_version(self) -> Self:
        """Add `organization_version`: which version of its organization's configuration each is to run; 0 for none."""
        released_ones = ConfigVersion.objects.filter(organization=OuterRef("organization"), released_at__isnull=False)
        newest = Subquery(released_ones.order_by("-version").values("version")[:1])
        return self.annotate(organization_version=Coalesce("config_base__version", newest, 0))

    def slim(self) -> Self:
        """Return them with their organizations and without the columns that may be large, for lists."""
        return self.select_related("organization").defer(*DOCUMENTS)


class Instance(models.Model):
    """A registered orchestrator; the first block of columns is published (API §8)."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        INDEPENDENT = "independent"
        INACTIVE = "inactive"
        DEGRADED = "degraded"
        ERROR = "error"

    class ConfigStatus(models.TextChoices):
        UNKNOWN = "unknown"
        PENDING = "pending"
        APPLYING = "applying"
        APPLIED = "applied"
        FAILED = "failed"

    orchestrator_id = models.CharField("orchestrator id", max_length=50, unique=True, validators=[validate_identifier])
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="orchestrators")
    name = NameField(max_length=200, blank=True)
    organization_name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=20, choices=Status, default=Status.INACTIVE)
    health_status = models.JSONField(default=dict, blank=True)
    is_independent = models.BooleanField("independent", default=False)
    last_seen = models.DateTimeField(null=True, blank=True)
    features = models.JSONField(default=dict, blank=True)
    session_config = models.JSONField(default=dict, blank=True)
    privacy_mode = models.BooleanField(default=False)
    internal_url = SealedURL(blank=True)
    database_url = SealedURL(blank=True)
    redis_url = SealedURL(blank=True)
    container_id = models.CharField(max_length=200, blank=True)
    image_name = models.CharField(max_length=300, blank=True)
    environment_variables = SealedValues(default=dict, blank=True)
    phoenix_endpoint = models.CharField(max_length=500, blank=True)
    monitoring_enabled = models.BooleanField(default=True)
    admin_email = models.EmailField(blank=True)
    support_email = models.EmailField(blank=True)
    website = models.URLField(blank=True)
    last_activity = models.DateTimeField(null=True, blank=True)
    labels = models.JSONField(default=dict, blank=True, validators=[labels.validate])
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    # What it said of itself when it registered.
    version = models.CharField(max_length=100, blank=True)
    capabilities = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    is_acknowledging = models.BooleanField(default=False, editable=False, help_text="Whether its session acknowledges.")

    # Its open session; written once at connect and cleared at disconnect. `epoch` fences older sockets.
    is_connected = models.BooleanField("connected", default=False)
    session_id = models.CharField(max_length=32, blank=True)
    epoch = models.BigIntegerField(default=0)
    node = models.CharField(max_length=100, blank=True)
    connected_at = models.DateTimeField(null=True, blank=True)
    remote_address = models.CharField(max_length=64, blank=True)
    credential_id = models.CharField(max_length=32, blank=True)
    takeovers = models.JSONField(default=list, editable=False)

    # When it is due to be declared inactive; set with every flush of last_seen.
    deadline_at = models.DateTimeField(null=True, blank=True, editable=False)

    # Configuration: desired, reported and status are three separate facts.
    config_version = models.PositiveIntegerField(default=1)
    config_hash = models.CharField(max_length=80, blank=True)
    config_reported_hash = models.CharField(max_length=200, blank=True)
    config_status = models.CharField(max_length=20, choices=ConfigStatus, default=ConfigStatus.UNKNOWN)
    config_error = models.CharField(max_length=1000, blank=True)
    config_reported_at = models.DateTimeField(null=True, blank=True)
    # When it first went away without a word on how that went; null also where it was the controller that hung up.
    config_lost_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The version a staged rollout gave it (null: the organization's), and the rollout it is a member of.
    config_base = models.ForeignKey(
        ConfigVersion, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    config_rollout = models.ForeignKey(
        Rollout, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="members"
    )

    objects = InstanceQuerySet.as_manager()

    class Meta:
        db_table = "orchestrator_instances"
        ordering = ["orchestrator_id"]
        verbose_name = "orchestrator"
        indexes = [
            models.Index(
                fields=["organization", "orchestrator_id"], name="instances_live", condition=Q(is_connected=True)
            ),
            models.Index(fields=["node"], name="instances_by_node", condition=Q(is_connected=True)),
            models.Index(fields=["deadline_at"], name="instances_due"),
            models.Index(
                fields=["node"],
                name="instances_unanswered",
                condition=Q(is_connected=True, is_acknowledging=True, config_status="pending"),
            ),
        ]

    def __str__(self) -> str:
        return self.orchestrator_id

    @staticmethod
    def deadline_after(moment: datetime) -> datetime:
        """Return when an instance last heard of at `moment` is due to be declared inactive."""
        return moment + timedelta(seconds=settings.HEARTBEAT_TTL_SEC + settings.INACTIVE_GRACE_SECONDS)

    @property
    def owes_an_answer(self) -> bool:
        """Whether it was given a configuration, or will be, and has not said how it went; older clients never do."""
        return self.is_acknowledging and self.config_status in (self.ConfigStatus.PENDING, self.ConfigStatus.APPLYING)

    @property
    def independence_source(self) -> str | None:
        """Where its independence comes from: "own", "organization", or None when it is managed."""
        if self.is_independent:
            return "own"
        return "organization" if self.organization.is_independent else None

    @property
    def is_effectively_independent(self) -> bool:
        """Whether its own flag or its organization's makes it independent."""
        return self.independence_source is not None

    def config_document(self) -> dict[str, Any]:
        """Return the desired configuration: the organization's base with this instance's own columns on top.

        The base is the version a staged rollout gave it, else the organization's. It is data and nothing else.
        """
        base = self.config_base.content if self.config_base_id and self.config_base else released(self.organization)
        return base | {
            "features": _section(base, "features") | self.features,
            "session": _section(base, "session") | self.session_config,
            "metadata": _section(base, "metadata")
            | {"name": self.name, "organization_id": self.organization_id, "organization_name": self.organization.name},
            "privacy_mode": self.privacy_mode or base.get("privacy_mode") is True,
            "monitoring_enabled": self.monitoring_enabled and base.get("monitoring_enabled") is not False,
            "llm": _section(base, "llm"),
        }

    def seen_ago_seconds(self, *, now: datetime) -> float | None:
        """Return how long ago it was last seen, in seconds; None when it never was."""
        return (now - self.last_seen).total_seconds() if self.last_seen else None


def released(organization: Organization) -> dict[str, Any]:
    """Return the configuration that every orchestrator of an organization starts from."""
    base = organization.settings.get("config") if isinstance(organization.settings, dict) else None
    return base if isinstance(base, dict) else {}


def _section(base: dict[str, Any], name: str) -> dict[str, Any]:
    value = base.get(name)
    return value if isinstance(value, dict) else {}
