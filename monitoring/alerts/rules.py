"""Rules as people change them: everywhere, or for one organization in place of the rule with the same key."""

import math
import re
from typing import Any, Final

from django.db import transaction

from monitoring.alerts import defaults, probes
from monitoring.models import Rule, Severity
from monitoring.models.rule import KEY_PATTERN
from moolai.errors import Conflict, InvalidInput
from orgs import audit
from orgs.models import Organization, User

FIELDS: Final = defaults.FIELDS
_CHOICES: Final = {
    "comparison": Rule.Comparison.values,
    "severity": Severity.values,
    "scope": Rule.Scope.values,
}
MAX_SECONDS: Final = 86_400
MAX_CONSECUTIVE: Final = 1000


@transaction.atomic
def create(rule_key: str, *, organization_id: str = "", acting_user: User | None, **columns: Any) -> Rule:
    """Make a rule; what is not named is taken from the one for everywhere with the same key.

    Raises InvalidInput, and Conflict when there is one already.
    """
    if not re.fullmatch(KEY_PATTERN, rule_key):
        raise InvalidInput(fields={"rule_key": "Use up to 80 of a-z, 0-9, dot, dash and underscore."})
    if organization_id and not Organization.objects.filter(pk=organization_id).exists():
        raise InvalidInput(fields={"organization_id": "There is no such organization."})
    if Rule.objects.filter(rule_key=rule_key, organization_id=organization_id).exists():
        raise Conflict(detail=f"There is a rule {rule_key} already; change it.")
    base = Rule.objects.filter(rule_key=rule_key, organization_id="").first()
    start = {name: getattr(base, name) for name in FIELDS} if base else {"alert_type": rule_key.partition(".")[0]}
    wanted = _checked({**start, **columns})
    row = Rule(rule_key=rule_key, organization_id=organization_id, is_changed=True, **wanted)
    row.changed_by = audit.actor(acting_user)
    row.save()
    _record("create", row, acting_user=acting_user, after=_shown(row))
    return row


@transaction.atomic
def change(rule: Rule, *, acting_user: User | None, **columns: Any) -> Rule:
    """Change some of FIELDS of a rule; raises InvalidInput."""
    row = Rule.objects.select_for_update().get(pk=rule.pk)
    before = _shown(row)
    wanted = _checked({**before, **columns})
    changed = {name: value for name, value in wanted.items() if value != before[name]}
    if not changed:
        return row
    for name, value in changed.items():
        setattr(row, name, value)
    row.is_changed, row.changed_by = True, audit.actor(acting_user)
    row.save(update_fields=[*changed, "is_changed", "changed_by", "updated_at"])
    was = {name: before[name] for name in changed}
    _record("update", row, acting_user=acting_user, before=was, after=changed)
    return row


@transaction.atomic
def delete(rule: Rule, *, acting_user: User | None) -> None:
    """Delete a rule; a default one for everywhere is put back instead. Raises Conflict when there is nothing to do."""
    row = Rule.objects.select_for_update().get(pk=rule.pk)
    before = _shown(row)
    if not is_default(row):
        _record("delete", row, acting_user=acting_user, before=before)
        row.delete()
        return
    wanted = {name: defaults.RULES[row.rule_key][name] for name in FIELDS}
    if not row.is_changed:
        raise Conflict(detail="This is the default already; switch it off instead.")
    Rule.objects.filter(pk=row.pk).update(**wanted, is_changed=False, changed_by="")
    _record("reset", row, acting_user=acting_user, before=before, after=wanted)


def is_default(rule: Rule) -> bool:
    """Whether the product brings this rule."""
    return not rule.organization_id and rule.rule_key in defaults.RULES


def _shown(row: Rule) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _checked(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a rule, all of them; raises InvalidInput naming each that cannot be used."""
    wanted = {"comparison": ">=", "for_seconds": 0, "consecutive": 1, "is_enabled": True, **columns}
    problems = {name: "is needed" for name in FIELDS if wanted.get(name) in (None, "")}
    for name, choices in _CHOICES.items():
        if name not in problems and wanted[name] not in choices:
            problems[name] = f"is one of {', '.join(choices)}"
    if "metric" not in problems and wanted["metric"] not in probes.metrics():
        problems["metric"] = f"is one of {', '.join(probes.metrics())}"
    if "threshold" not in problems and not math.isfinite(float(wanted["threshold"])):
        problems["threshold"] = "is a finite number"
    if not 0 <= int(wanted["for_seconds"]) <= MAX_SECONDS:
        problems["for_seconds"] = f"is from 0 to {MAX_SECONDS}"
    if not 1 <= int(wanted["consecutive"]) <= MAX_CONSECUTIVE:
        problems["consecutive"] = f"is from 1 to {MAX_CONSECUTIVE}"
    if "alert_type" not in problems and not re.fullmatch(KEY_PATTERN, str(wanted["alert_type"])[:60]):
        problems["alert_type"] = "takes a-z, 0-9, dot, dash and underscore"
    if problems:
        raise InvalidInput(fields=problems)
    return {name: wanted[name] for name in FIELDS}


def _record(action: str, row: Rule, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"alert_rule.{action}", acting_user=acting_user, organization_id=row.organization_id,
        target=("alert_rule", row.rule_key), **change,
    )  # fmt: skip
