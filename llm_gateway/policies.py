"""Policies: set and read what the gateway keeps of an organization's prompts and answers."""

from collections.abc import Collection
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from llm_gateway.models import CallContent, GatewayPolicy, PromptContent
from llm_gateway.workflows import contents
from orchestrators.work import board
from orgs import audit
from orgs.models import Organization, User

FIELDS: Final = ("is_private", "keeps_content", "content_days")


def of(organization: Organization) -> GatewayPolicy:
    """Return an organization's policy; one that keeps nothing, and is not stored, where it set none."""
    return GatewayPolicy.objects.filter(pk=organization.pk).first() or GatewayPolicy(organization=organization)


def days(row: GatewayPolicy) -> int:
    """Return for how many days content is kept: the shorter of its own and the installation's; 0: for ever."""
    own, most = row.content_days or 0, settings.LLM_CONTENT_RETENTION_DAYS
    return min(own, most) if own and most else own or most


@transaction.atomic
def put(organization: Organization, *, acting_user: User | None, **wanted: Any) -> GatewayPolicy:
    """Replace the policy; what is left out is off. Calls keep to it within two seconds.

    An organization that becomes private loses at once what was kept of its calls and prompts.
    """
    Organization.objects.select_for_update().get(pk=organization.pk)
    row = of(organization)
    before = told(row)
    row.is_private = bool(wanted.get("is_private"))
    row.keeps_content = bool(wanted.get("keeps_content"))
    row.content_days = wanted.get("content_days")
    row.save()
    gone = _forget(organization) if row.is_private else 0
    audit.record(
        "llm_policy.set",
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("organization", organization.pk),
        before=before,
        after=told(row) | ({"contents_deleted": gone} if gone else {}),
    )
    return row


def _forget(organization: Organization) -> int:
    """Delete what was kept of its calls and prompts, and what its workflows came to; return how many texts."""
    kept = (CallContent, PromptContent)
    count = sum(model._default_manager.filter(organization=organization).delete()[0] for model in kept)
    count += board.forget_texts(organization, task_type="prompt")
    return count + contents.forget_organization(organization.pk)


@transaction.atomic
def delete(row: GatewayPolicy, *, acting_user: User | None) -> None:
    """Forget a policy: nothing is kept any more; what was kept stays for as long as the installation keeps it."""
    audit.record(
        "llm_policy.delete",
        acting_user=acting_user,
        organization_id=row.pk,
        target=("organization", row.pk),
        before=told(row),
    )
    row.delete()


def told(row: GatewayPolicy) -> dict[str, Any]:
    """Return a policy as the audit trail has it."""
    return {name: getattr(row, name) for name in FIELDS}


def keeping(organization_ids: Collection[str]) -> set[str]:
    """Return those of the organizations that have contents kept now; locked, for who is about to write some."""
    rows = GatewayPolicy.objects.select_for_update().filter(pk__in=organization_ids).order_by("pk")
    return {row.pk for row in rows if row.is_kept}
