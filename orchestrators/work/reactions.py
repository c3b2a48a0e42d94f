"""What events set off: in the transaction that stores the event, so each rule acts once for each event, or not at all.

A task is made here. An alert stands in the event itself (`alerts`), where the alert engine reads it, once. An event
about a task that a rule made does not set that rule off again, and each rule acts so often in a minute at most.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import F

from moolai.errors import Conflict, InvalidInput
from orchestrators.models import EventRule, Task, TaskStep
from orchestrators.work import board
from orgs.models import Organization, User

WINDOW: Final = timedelta(minutes=1)
LONGEST_CHAIN: Final = 5
CHAIN: Final = "event_rules"
Published = Mapping[str, Any]


def react(
    organization: Organization,
    event: Published,
    *,
    about: Task | None,
    acting_user: User | None,
    creator: str,
    now: datetime,
) -> dict[str, list[Any]]:
    """Do what the organization's rules say of an event; return what the event is to tell of it.

    `alerts`: [{rule_id, title, severity}]; `tasks`: ids; `suppressed`: the rules that fit and did not act. Only those
    that are not empty.
    """
    chain = _chain(about)
    told: dict[str, list[Any]] = {"alerts": [], "tasks": [], "suppressed": []}
    for rule in _fitting(organization, event):
        if rule.rule_id in chain or len(chain) >= LONGEST_CHAIN or not _has_room(rule, now=now):
            _suppress(rule, told)
        elif rule.action == EventRule.Action.ALERT:
            told["alerts"].append({"rule_id": rule.rule_id, "title": rule.name, "severity": rule.severity})
        else:
            try:
                task = _task(
                    rule, event, chain=[*chain, rule.rule_id], acting_user=acting_user, creator=creator, now=now
                )
            except (Conflict, InvalidInput):  # a task that must not be made stops neither the event nor other rules
                _suppress(rule, told)
                continue
            told["tasks"].append(task.task_id)
    return {name: found for name, found in told.items() if found}


def _suppress(rule: EventRule, told: dict[str, list[Any]]) -> None:
    EventRule.objects.filter(pk=rule.pk).update(suppressed=F("suppressed") + 1)
    told["suppressed"].append(rule.rule_id)


def fits(rule: EventRule, event: Published) -> bool:
    """Whether an event is one that the rule speaks of."""
    if not _matches(rule.event_type, str(event["event_type"])):
        return False
    return all(_meets(_value(event.get("payload"), path), wanted) for path, wanted in rule.conditions.items())


def _matches(pattern: str, text: str) -> bool:
    """Whether a text is of a pattern, in which `*` stands for anything: each character is looked at once."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    place, end = len(first), len(text) - len(last)
    if end < place or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _value(payload: Any, path: str) -> Any:
    """Return what stands at `a.b.c`, or under that whole name; None where there is nothing."""
    if isinstance(payload, Mapping) and path in payload:
        return payload[path]
    for name in path.split("."):
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload


def _meets(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of those; true is not 1."""
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _fitting(organization: Organization, event: Published) -> Sequence[EventRule]:
    """Return the rules that fit, held until the transaction ends, so that their counts are exact."""
    rules = EventRule.objects.filter(organization=organization, is_enabled=True)
    found = [rule.pk for rule in rules if fits(rule, event)]
    if not found:
        return []
    return list(EventRule.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=found).order_by("pk"))


def _chain(about: Task | None) -> list[str]:
    """Return the rules that led to the task an event is about, the first one first."""
    found = about.metadata.get(CHAIN) if about is not None and isinstance(about.metadata, dict) else None
    return [str(rule_id) for rule_id in found] if isinstance(found, list) else []


def _has_room(rule: EventRule, *, now: datetime) -> bool:
    """Count one action, and return whether it is within the rule's limit for the minute."""
    if rule.window_started_at is None or rule.window_started_at <= now - WINDOW:
        rule.window_started_at, rule.window_count = now, 0
    rule.window_count, rule.matched, rule.last_matched_at = rule.window_count + 1, rule.matched + 1, now
    rule.save(update_fields=["window_started_at", "window_count", "matched", "last_matched_at"])
    return rule.window_count <= rule.per_minute


def _task(
    rule: EventRule, event: Published, *, chain: list[str], acting_user: User | None, creator: str, now: datetime
) -> Task:
    kept = {name: event[name] for name in ("event_type", "source_agent", "payload", "task_id", "trace_id")
            if event.get(name) is not None}  # fmt: skip
    task = board.create(
        rule.organization,
        task_type=rule.task_type,
        payload={**rule.payload, "event": kept},
        priority=rule.priority or event.get("priority") or "P2",
        acting_user=acting_user,
        creator=creator,
        details=board.Details(source=f"event:{event['event_type']}"[:100], metadata={CHAIN: chain}),
    )
    note = f"{event['event_type']}, by the rule {rule.name}"
    TaskStep.objects.create(task=task, kind=TaskStep.Kind.EVENT, actor=event["source_agent"], note=note, at=now)
    return task
