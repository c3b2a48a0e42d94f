"""Networks inside that a superadmin lets an organization call (`orgs/destinations.py`)."""

import ipaddress

from django.core.exceptions import ValidationError
from django.db import models

from orgs.models.organization import Organization


def validate_network(text: str) -> None:
    """Raise ValidationError unless `text` names a network, such as 10.1.0.0/16, or one address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValidationError("Write a network such as 10.1.0.0/16, or one address.") from None


class AllowedNetwork(models.Model):
    """A network that an organization's channels and providers may call although it is private."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="allowed_networks")
    cidr = models.CharField("network", max_length=50, validators=[validate_network])
    reason = models.CharField(max_length=200, blank=True)
    created_by = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "allowed_networks"
        ordering = ["organization", "cidr"]
        constraints = [models.UniqueConstraint(fields=["organization", "cidr"], name="one_row_per_allowed_network")]

    def __str__(self) -> str:
        return f"{self.cidr} for {self.organization_id}"
