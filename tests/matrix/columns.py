"""Which columns hold text that somebody wrote: those the canary must sit in. A new one without it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.db import models

from orgs import sealed

APPS: Final = ("orgs", "orchestrators", "llm_gateway", "monitoring")
MADE: Final = {  # made by us, of random or of a hash: nobody's words
    "orgs.ApiKey": {"key_id", "prefix", "secret_hash", "scopes", "role"},
    "orgs.AuditEntry": {"hash", "previous_hash"},
    "orgs.AuditHead": {"hash"},
    "orgs.RefreshToken": {"token_hash", "sign_in_id"},
    "orgs.User": {"password"},
    "orchestrators.Instance": {"config_hash", "takeovers"},
    "orchestrators.Job": {"job_id", "kind", "targets", "holder"},
    "orchestrators.Message": {"content_hash"},
    "orchestrators.Agent": {"agent_id"},
    "orchestrators.Approval": {"approval_id"},
    "orchestrators.EventRule": {"rule_id"},
    "orchestrators.Route": {"agent_id"},
    "orchestrators.Task": {"task_id", "given_priority", "assigned_agent", "creator", "orchestrator_id"},
    "orchestrators.ConfigVersion": {"config_hash"},
    "orchestrators.Rollout": {"outcome"},
    "monitoring.Activity": {"activity_id"},
    "monitoring.Alert": {"alert_id"},
    "monitoring.Rule": {"metric"},
    "monitoring.Silence": {"silence_id"},
    "monitoring.MetricRollup": {"columns", "summaries"},
    "monitoring.SystemMetric": {"message_hash"},
    "monitoring.Channel": {"channel_id"},
    "monitoring.Delivery": {"delivery_id"},
    "orgs.AllowedNetwork": {"cidr", "created_by"},
    "orgs.SpendingLimit": {"counted_as"},
    "llm_gateway.BudgetWindow": {"window"},
    "llm_gateway.Call": {"key_id", "scope_key", "leases", "surface"},
    "llm_gateway.Price": {"price_id"},
    "llm_gateway.Prompt": {"prompt_id"},
    "llm_gateway.Provider": {"provider_id"},
    "llm_gateway.Alias": {"alias_id"},
    "llm_gateway.Refusal": {"code", "key_id"},
    "llm_gateway.Spending": {"key_id"},
    "llm_gateway.WorkflowRun": {"content_hash", "orchestrator_id", "creator"},
    "llm_gateway.WorkflowTemplate": {"template_id"},
    "llm_gateway.WorkflowContent": {"name"},
}
OURS: Final = {  # of the installation, not of an organization; or never read again by any door
    "orgs.Lease": "the beat's own",
    "orgs.IdempotencyKey": "read only by the caller whose key it is (test_matrix_side_channels.py)",
    "orchestrators.Node": "the processes' own",
    "llm_gateway.BudgetLease": "the processes' own",
    "llm_gateway.JournalCursor": "the processes' own",
    "orgs.Counter": "read as sums by the alert engine only",
    "monitoring.Holding": "read by the alert engine only",
    "monitoring.EngineState": "the alert engine's own",
    "monitoring.MetricMark": "read by the roll-ups only",
    "monitoring.RequestMetric": "read as sums only; routes are ours",
}


def written() -> Iterator[tuple[type[models.Model], models.Field[Any, Any]]]:
    """Yield every (model, column) of text that somebody wrote."""
    for model in apps.get_models():
        label = model._meta.label
        if model._meta.app_label not in APPS or label in OURS or model._meta.proxy:
            continue
        for column in model._meta.concrete_fields:
            is_text = isinstance(column, models.CharField | models.TextField | models.JSONField)
            if is_text and not column.choices and column.attname not in MADE.get(label, ()):
                yield model, column


def value(row: models.Model, column: models.Field[Any, Any]) -> str:
    """Return what the column holds, opened where it is sealed."""
    if column.name in sealed.columns(type(row)):
        return str(sealed.read(row, column.name))
    return str(getattr(row, column.attname))
