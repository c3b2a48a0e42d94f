"""The book of prompts: a row each with its numbers, and its texts, sealed, unless its organization is private."""

import json
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from llm_gateway.models import Call, GatewayPolicy, Prompt, PromptContent
from llm_gateway.prompts.asking import Document
from llm_gateway.prompts.outcomes import Outcome
from orgs import sealed, vault
from orgs.models import Organization

logger = logging.getLogger(__name__)
MAX_ANSWER: Final = 1024 * 1024  # characters
GRACE: Final = timedelta(seconds=60)
INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True, slots=True)
class Asking:
    """What begins a prompt besides its text: who asks, how the answer is delivered, and for which task.

    `model` is what is asked for, where that is known to be the name of a model already.
    """

    created_by: str
    is_stream: bool = False
    task_id: str = ""
    model: str = ""


@transaction.atomic
def create(organization: Organization, *, asked: Document, how: Asking) -> Prompt:
    """Write down that somebody asks; the texts are kept, sealed, unless the organization is private."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # as who sets its policy does
    is_private = _is_private(organization.pk)
    row = Prompt.objects.create(
        prompt_id=f"prm_{secrets.token_hex(12)}",
        organization=organization,
        agent_id=asked["agent_id"],
        task_id=how.task_id,
        is_stream=how.is_stream,
        requested_model=how.model[:200],
        is_private=is_private,
        created_by=how.created_by[:200],
        created_at=timezone.now(),
    )
    if not is_private:
        content = PromptContent(prompt=row, organization=organization, kept_at=row.created_at)
        sealed.put(content, "request", json.dumps(asked))
        content.save(force_insert=True)
    return row


def claim(prompt_id: str, *, call_id: str, now: datetime) -> bool:
    """Begin a prompt that waits; return whether it was this caller's to begin: it is run once."""
    waiting = Prompt.objects.filter(prompt_id=prompt_id, status=Prompt.Status.PENDING)
    return waiting.update(status=Prompt.Status.RUNNING, call_id=call_id, started_at=now) == 1


def asked(prompt_id: str) -> Document | None:
    """Return what a prompt asks, None where nothing of it was kept or can be read."""
    row = PromptContent.objects.filter(prompt__prompt_id=prompt_id).first()
    return opened(row)[0] if row is not None else None


def opened(row: PromptContent) -> tuple[Document | None, str | None]:
    """Return what was asked and what was answered; None for what cannot be opened any more."""
    try:
        document: Document = json.loads(sealed.read(row, "request"))
        return document, sealed.read(row, "answer")
    except vault.Unreadable:
        logger.error("the texts of the prompt %s cannot be read", row.pk)
        return None, None


def finish(prompt_id: str, outcome: Outcome) -> None:
    """Write down how a prompt ended, with the numbers of its call's end, and its answer where texts are kept."""
    columns = outcome.columns() | {"finished_at": timezone.now()}
    if outcome.asked_model:
        columns["requested_model"] = outcome.asked_model
    with transaction.atomic():
        rows = Prompt.objects.filter(prompt_id=prompt_id, status=Prompt.Status.RUNNING)
        if rows.update(**columns) and outcome.text:
            _keep_answer(prompt_id, outcome.text)


def _keep_answer(prompt_id: str, text: str) -> None:
    content = PromptContent.objects.select_for_update().filter(prompt__prompt_id=prompt_id).first()
    if content is None:
        return
    sealed.put(content, "answer", text[:MAX_ANSWER])
    content.is_answer_truncated = len(text) > MAX_ANSWER
    content.save(update_fields=["answer", "is_answer_truncated"])


def missing(row: Prompt) -> str | None:
    """Return why nothing of a prompt's texts can be shown: `private` or `expired`; None where they can."""
    if getattr(row, "content", None) is not None:
        return None
    return "private" if row.is_private or _is_private(row.organization_id) else "expired"


def settle_lost(*, now: datetime) -> int:
    """End the prompts whose process died, with what the ledger says of their calls; return how many."""
    since = now - timedelta(seconds=settings.LLM_TOTAL_SECONDS) - GRACE
    rows = list(Prompt.objects.filter(status=Prompt.Status.RUNNING, started_at__lt=since)[:1000])
    calls = {row.pk: row for row in Call.objects.filter(pk__in=[row.call_id for row in rows])}
    return sum(_settle(row, calls.get(row.call_id), now=now) for row in rows)


def _settle(row: Prompt, call: Call | None, *, now: datetime) -> int:
    if call is not None and call.status == Call.Status.RUNNING:
        return 0
    columns: dict[str, Any] = {"status": Prompt.Status.FAILED, "error": INTERRUPTED, "finished_at": now}
    if call is not None:
        columns |= {
            "requested_model": call.requested_model, "model": call.model, "provider": call.provider,
            "input_tokens": call.input_tokens, "output_tokens": call.output_tokens,
            "cost_usd_micros": call.cost_usd_micros, "latency_ms": call.latency_ms,
        }  # fmt: skip
    return Prompt.objects.filter(pk=row.pk, status=Prompt.Status.RUNNING).update(**columns)


def _is_private(organization_id: str) -> bool:
    return GatewayPolicy.objects.filter(pk=organization_id, is_private=True).exists()
