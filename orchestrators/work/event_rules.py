"""Event rules as people write them: made, changed, deleted, each with an audit row."""

import json
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from moolai.errors import InvalidInput
from orchestrators.models import EventRule
from orgs import audit, names
from orgs.models import Organization, User

FIELDS: Final = (
    "name", "event_type", "conditions", "action", "task_type", "priority", "payload", "severity", "per_minute",
    "is_enabled",
)  # fmt: skip
MAX_CONDITIONS: Final = 20
MAX_PAYLOAD_BYTES: Final = 64 * 1024
PLAIN: Final = (str, int, float, bool, type(None))


@transaction.atomic
def create(organization: Organization, *, acting_user: User | None, **columns: Any) -> EventRule:
    """Make a rule out of FIELDS; raises `invalid_field`."""
    row = EventRule(organization=organization)
    _write(row, columns)
    row.save(force_insert=True)
    _record("create", row, acting_user=acting_user, after=shown(row))
    return row


@transaction.atomic
def change(rule: EventRule, *, acting_user: User | None, **columns: Any) -> EventRule:
    """Change some of FIELDS; raises `invalid_field`."""
    row = EventRule.objects.select_for_update(of=("self",), no_key=True).get(pk=rule.pk)
    before = shown(row)
    _write(row, columns)
    after = shown(row)
    changed = [name for name in FIELDS if before[name] != after[name]]
    if changed:
        row.save(update_fields=[*changed, "updated_at"])
        was, now = ({name: state[name] for name in changed} for state in (before, after))
        _record("update", row, acting_user=acting_user, before=was, after=now)
    return row


@transaction.atomic
def delete(rule: EventRule, *, acting_user: User | None) -> None:
    """Delete a rule; what it did stays."""
    _record("delete", rule, acting_user=acting_user, before=shown(rule))
    rule.delete()


def shown(row: EventRule) -> dict[str, Any]:
    """Return what a rule says."""
    return {name: getattr(row, name) for name in FIELDS}


def _write(row: EventRule, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        setattr(row, name, value)
    problems = _problems(row)
    if problems:
        raise InvalidInput(fields=problems)
    row.name = names.require(row.name)
    try:
        row.full_clean(exclude=["organization"])
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(words) for name, words in error.message_dict.items()}) from None


def _problems(row: EventRule) -> dict[str, str]:
    found: dict[str, str] = {}
    if not isinstance(row.conditions, dict) or len(row.conditions) > MAX_CONDITIONS:
        found["conditions"] = f"is an object of at most {MAX_CONDITIONS} fields"
    elif not all(_is_plain(value) for value in row.conditions.values()):
        found["conditions"] = "has a text, a number, true, false, null, or a list of those for each field"
    if not isinstance(row.payload, dict) or len(json.dumps(row.payload)) > MAX_PAYLOAD_BYTES:
        found["payload"] = f"is an object of at most {MAX_PAYLOAD_BYTES} bytes"
    elif "event" in row.payload:
        found["payload"] = "leaves “event” out: the event stands there"
    if row.action == EventRule.Action.TASK and not row.task_type:
        found["task_type"] = "is needed to make a task"
    return found


def _is_plain(value: Any) -> bool:
    return all(isinstance(one, PLAIN) for one in (value if isinstance(value, list) else [value]))


def _record(action: str, row: EventRule, *, acting_user: User | None, **more: Any) -> None:
    audit.record(
        f"event_rule.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("event_rule", row.rule_id),
        **more,
    )
