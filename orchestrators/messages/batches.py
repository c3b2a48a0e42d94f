"""The same message to many orchestrators, in one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from orchestrators import protocol
from orchestrators.models import Instance, Message
from orgs import events
from orgs.models import Event, User

STATEMENT_BYTES: Final = 4 * 1024 * 1024  # contents in one statement: each row has its own copy there


def queue_many(
    instances: Sequence[Instance],
    *,
    prefix: str,
    message_type: str,
    content: Any,
    acting_user: User | None,
    expires_at: datetime | None,
) -> int:
    """Queue a message, checked by `outbox.check` before, to each of `instances`; return how many are new.

    The id on the wire is `prefix-<orchestrator id>`: queued again under the same prefix, nothing happens.
    """
    ids = {row.orchestrator_id: f"{prefix}-{row.orchestrator_id}" for row in instances}
    known = Message.objects.filter(
        orchestrator__in=list(instances), direction=Message.Direction.OUTBOUND, message_id__in=list(ids.values())
    )
    there = set(known.values_list("message_id", flat=True))
    fresh = [row for row in instances if ids[row.orchestrator_id] not in there]
    now = timezone.now()
    size = len(protocol.encode({"content": content}))
    Message.objects.bulk_create(
        (
            Message(
                orchestrator_id=row.orchestrator_id,
                message_id=ids[row.orchestrator_id],
                message_type=message_type,
                message_content=content,
                expires_at=expires_at,
                created_by=acting_user,
                created_at=now,
                updated_at=now,
            )
            for row in fresh
        ),
        batch_size=max(1, STATEMENT_BYTES // size),
    )
    events.record_many(
        Event(
            kind="message.queued",
            organization_id=row.organization_id,
            orchestrator_id=row.orchestrator_id,
            data={"message_id": ids[row.orchestrator_id], "message_type": message_type},
        )
        for row in fresh
    )
    return len(fresh)
