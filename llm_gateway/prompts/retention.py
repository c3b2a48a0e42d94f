"""Retention of prompts: their numbers as long as the ledger keeps calls, their texts as long as contents are kept."""

from datetime import datetime, timedelta

from django.conf import settings

from llm_gateway import retention
from llm_gateway.models import Prompt, PromptContent
from orgs.retention import Rule


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now."""
    found = []
    if days := settings.LLM_CALL_RETENTION_DAYS:
        rows = Prompt.objects.exclude(status=Prompt.Status.RUNNING).filter(created_at__lt=now - timedelta(days=days))
        found.append(Rule("prompts", rows, "created_at"))
    return [*found, *retention.contents("prompt_contents", PromptContent.objects.all(), now=now)]
