"""Guarding: what organizations set of their guardrails."""

from typing import Any

from django.db import transaction

from llm_gateway.guardrails import rules
from llm_gateway.models import Guardrails
from moolai.errors import InvalidInput
from orgs import audit
from orgs.models import Organization, User


def of(organization: Organization) -> Guardrails:
    """Return an organization's guardrails; without rules, and not stored, where it set none."""
    return Guardrails.objects.filter(pk=organization.pk).first() or Guardrails(organization=organization)


@transaction.atomic
def put(organization: Organization, *, rules: list[Any], acting_user: User | None) -> Guardrails:
    """Replace the rules; every web process keeps to them within two seconds. Raises `invalid_field`."""
    found = checked(rules)
    Organization.objects.select_for_update().get(pk=organization.pk)
    row = of(organization)
    before, row.rules = row.rules, found
    row.save()
    audit.record(
        "guardrails.set",
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("organization", organization.pk),
        before={"rules": before},
        after={"rules": found},
    )
    return row


def checked(wanted: Any) -> list[dict[str, Any]]:
    """Return the rules with what they leave out; raises `invalid_field`, which names each place."""
    if not isinstance(wanted, list):
        raise InvalidInput(fields={"rules": "Write a list of rules."})
    found, wrong = rules.normal(wanted)
    if wrong:
        raise InvalidInput(fields=wrong)
    return found
