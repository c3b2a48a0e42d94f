"""Templates: the types of workflow that an organization makes for itself."""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from llm_gateway.models import WorkflowTemplate
from llm_gateway.workflows import plans
from llm_gateway.workflows.kinds import KINDS
from moolai.errors import Conflict, InvalidInput, NotFound
from orgs import audit
from orgs.models import Organization, User


@transaction.atomic
def create(
    organization: Organization, *, name: str, steps: Any, acting_user: User | None, description: str = ""
) -> WorkflowTemplate:
    """Make a template.

    Raises `invalid_field` for steps that cannot be run and for a name that everybody has, `conflict` for a taken one.
    """
    row = WorkflowTemplate(organization=organization, template_id=f"wft_{secrets.token_hex(8)}")
    row.name, row.description, row.steps = name, description, plans.parse(steps)
    _save(row)
    _record("create", row, acting_user=acting_user, after=told(row))
    return row


@transaction.atomic
def update(template: WorkflowTemplate, /, *, acting_user: User | None, **wish: Any) -> WorkflowTemplate:
    """Change name, description or steps; runs that are queued keep the steps they were made with.

    Raises as `create` does, and `not_found` for one that was deleted meanwhile.
    """
    row = _locked(template)
    before = told(row)
    row.name, row.description = wish.get("name", row.name), wish.get("description", row.description)
    row.steps = plans.parse(wish["steps"]) if "steps" in wish else row.steps
    after = told(row)
    if before == after:
        return row
    _save(row)
    _record("update", row, acting_user=acting_user, before=before, after=after)
    return row


@transaction.atomic
def delete(template: WorkflowTemplate, *, acting_user: User | None) -> None:
    """Delete a template; runs that are queued are still done. Raises `not_found` where it is deleted already."""
    row = _locked(template)
    _record("delete", row, acting_user=acting_user, before=told(row))
    row.delete()


def told(row: WorkflowTemplate) -> dict[str, Any]:
    """Return a template as the audit trail has it."""
    return {"name": row.name, "description": row.description, "steps": row.steps}


def _locked(template: WorkflowTemplate) -> WorkflowTemplate:
    row = WorkflowTemplate.objects.select_for_update(of=("self",)).filter(pk=template.pk).first()
    if row is None:
        raise NotFound
    return row


def _save(row: WorkflowTemplate) -> None:
    if row.name in KINDS:
        raise InvalidInput(fields={"name": f"Everybody has the type {row.name}; take another name."})
    try:
        row.full_clean(exclude=["organization", "steps"], validate_unique=False, validate_constraints=False)
        with transaction.atomic():
            row.save()
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None
    except IntegrityError:
        raise Conflict(detail=f"There is a template {row.name} already.") from None


def _record(action: str, row: WorkflowTemplate, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"workflow_template.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("workflow_template", row.template_id),
        **change,
    )
