"""Events in human words, for the console's lists."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from orgs.models import Event

Words = Callable[[str, dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Sentence:
    """What happened, with the icon (Material Symbols) and the tone (green, blue, gray, red) it is shown with."""

    text: str
    icon: str
    tone: str


def _connected(who: str, data: dict[str, Any]) -> str:
    address = data.get("remote_address")
    return f"{who} connected from {address}" if address else f"{who} connected"


def _independence(who: str, data: dict[str, Any]) -> str:
    return f"{who} became independent" if data.get("is_independent") else f"{who} is managed again"


def _because(text: str, data: dict[str, Any], name: str) -> str:
    return f"{text}: {data[name]}" if data.get(name) else text


def _reports(who: str, data: dict[str, Any]) -> str:
    return f"{who} reports {data.get('status', 'its health')}"


def _changed(who: str, data: dict[str, Any]) -> str:
    return f"{who} was changed: {', '.join(data.get('fields', []))}".removesuffix(": ")


def _disconnected(who: str, data: dict[str, Any]) -> str:
    return _because(f"{who} disconnected", data, "reason").replace("_", " ")


def _kind(data: dict[str, Any]) -> str:
    return f"“{data['message_type']}”" if data.get("message_type") else "a message"


def _configured(who: str, data: dict[str, Any]) -> str:
    version, push = data.get("organization_version"), data.get("version")
    named = [f"{data.get('organization_id')} version {version}"] if version else []
    return f"{who} has a new configuration ({', '.join([*named, f'push {push}'])})"


def _rollout(verb: str) -> Words:
    return lambda who, data: _because(f"The rollout of version {data.get('version')} to {who} {verb}", data, "reason")


def _job(what: str) -> Words:
    def say(who: str, data: dict[str, Any]) -> str:
        done = int(data.get("done", 0)) + int(data.get("failed", 0))
        return f"The job {data.get('kind', '')} {what}: {done} of {data.get('total', 0)}"

    return say


def _alert(what: str) -> Words:
    return lambda who, data: f"The alert “{data.get('title', who)}” {what}"


def _task(what: str) -> Words:
    return lambda who, data: _because(
        f"The task {data.get('task_id')} ({data.get('task_type')}) {what}", data, "reason"
    )


def _published(who: str, data: dict[str, Any]) -> str:
    return f"{data.get('source_agent')} published “{data.get('event_type')}”"


WORDS: Final[dict[str, tuple[str, str, Words]]] = {
    "orchestrator.created": ("add_circle", "gray", lambda who, data: f"{who} was added"),
    "orchestrator.registered": ("add_circle", "green", lambda who, data: f"{who} registered for the first time"),
    "orchestrator.updated": ("edit", "gray", _changed),
    "orchestrator.deleted": ("delete", "red", lambda who, data: f"{who} was deleted"),
    "orchestrator.connected": ("link", "green", _connected),
    "orchestrator.disconnected": ("link_off", "gray", _disconnected),
    "orchestrator.active": ("favorite", "green", lambda who, data: f"{who} is active again"),
    "orchestrator.inactive": ("heart_broken", "red", lambda who, data: f"{who} went silent: no heartbeat in time"),
    "orchestrator.health": ("monitor_heart", "gray", _reports),
    "independence.changed": ("toggle_on", "blue", _independence),
    "config.changed": ("tune", "gray", _configured),
    "config.applying": ("tune", "gray", lambda who, data: f"{who} is applying its configuration"),
    "config.applied": ("task_alt", "green", lambda who, data: f"{who} applied its configuration"),
    "config.failed": ("error", "red", lambda who, data: _because(f"{who} refused its configuration", data, "error")),
    "rollout.started": ("rocket_launch", "blue", _rollout("started")),
    "rollout.advanced": ("rocket_launch", "blue", _rollout("reached its next stage")),
    "rollout.paused": ("pause_circle", "gray", _rollout("was paused")),
    "rollout.resumed": ("play_circle", "blue", _rollout("goes on")),
    "rollout.completed": ("task_alt", "green", _rollout("is complete")),
    "rollout.halted": ("error", "red", _rollout("was halted")),
    "rollout.cancelled": ("cancel", "gray", _rollout("was cancelled")),
    "message.queued": ("outbox", "gray", lambda who, data: f"{who} is sent {_kind(data)}"),
    "message.received": ("inbox", "gray", lambda who, data: f"{who} sent {_kind(data)}"),
    "message.delivered": ("mark_email_read", "green", lambda who, data: f"{who} took {_kind(data)}"),
    "message.failed": ("error", "red", lambda who, data: _because(f"A message to {who} failed", data, "error")),
    "message.expired": ("timer_off", "gray", lambda who, data: f"A message to {who} expired"),
    "recommendation.read": ("lightbulb", "gray", lambda who, data: f"A recommendation of {who} was read"),
    "recommendation.accepted": ("lightbulb", "green", lambda who, data: f"A recommendation of {who} was accepted"),
    "recommendation.dismissed": ("lightbulb", "gray", lambda who, data: f"A recommendation of {who} was dismissed"),
    "job.queued": ("checklist", "gray", _job("was asked for")),
    "job.progress": ("checklist", "gray", _job("goes on")),
    "job.completed": ("checklist", "green", _job("is done")),
    "job.failed": ("checklist", "red", _job("failed")),
    "job.cancelled": ("checklist", "gray", _job("was cancelled")),
    "task.created": ("add_task", "gray", _task("was created")),
    "task.approval_requested": ("approval", "blue", _task("waits for approval")),
    "task.approved": ("approval", "green", _task("was approved")),
    "task.rejected": ("approval", "red", _task("was rejected")),
    "task.expired": ("timer_off", "red", _task("was not approved in time")),
    "task.escalated": ("notification_important", "red", _task("still waits for approval")),
    "task.taken": ("play_circle", "blue", _task("was taken")),
    "task.given_back": ("undo", "gray", _task("was given back")),
    "task.attempt_failed": ("error", "gray", _task("failed and is tried again")),
    "task.completed": ("task_alt", "green", _task("is completed")),
    "task.failed": ("error", "red", _task("failed")),
    "task.cancelled": ("cancel", "gray", _task("was cancelled")),
    "task.dead": ("error", "red", _task("failed too often")),
    "task.sla_missed": ("timer_off", "red", _task("is late")),
    "event.published": ("campaign", "gray", _published),
    "process.started": ("memory", "gray", lambda who, data: f"The process {data.get('node')} started"),
    "process.crashed": ("error", "red", lambda who, data: f"The process {data.get('node')} ended without a goodbye"),
    "alert.fired": ("notifications_active", "red", _alert("fires")),
    "alert.escalated": ("notification_important", "red", _alert("became more severe")),
    "alert.acknowledged": ("notifications_paused", "blue", _alert("was acknowledged")),
    "alert.resolved": ("notifications_off", "green", _alert("is resolved")),
    "organization.created": ("domain_add", "green", lambda who, data: f"{who} was added"),
    "organization.updated": ("domain", "gray", _changed),
    "organization.suspended": ("block", "red", lambda who, data: f"{who} was suspended"),
    "organization.deleted": ("domain_disabled", "red", lambda who, data: f"{who} was deleted"),
    "user.changed": ("manage_accounts", "gray", lambda who, data: f"The access of {data.get('username')} changed"),
    "api_key.expiring": ("key", "gray", lambda who, data: f"A key of {who} was rotated"),
    "budget.changed": ("account_balance_wallet", "gray", lambda who, data: f"The limits of {who} changed"),
    "prices.changed": ("sell", "gray", lambda who, data: f"Prices of models changed for {who}"),
    "api_key.revoked": ("key_off", "red", lambda who, data: f"A key of {who} was revoked"),
}


def of(event: Event) -> Sentence:
    """Return the event as a sentence; a kind nobody described shows its own name."""
    who = event.orchestrator_id or event.organization_id or "The fleet"
    icon, tone, words = WORDS.get(event.kind, ("info", "gray", lambda who, data: f"{who}: {event.kind}"))
    data = event.data if isinstance(event.data, dict) else {}
    text = words(who, {"organization_id": event.organization_id, **data})
    by = data.get("actor") or data.get("by")
    return Sentence(f"{text} — {by}" if by else text, icon, tone)
