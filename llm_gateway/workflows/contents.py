"""Contents: what runs are given and come to, sealed, and gone when nobody needs them any more.

An input, what steps came to and what their models say meanwhile go with the end of their run, what parts of a step were
answered with the step's own. A result stays as long as its run; of an organization whose calls are private it goes with
its first delivery, or after an hour.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from django.db import transaction
from django.db.models import Q

from llm_gateway.models import WorkflowContent, WorkflowRun
from orgs import sealed, vault

PRIVATE_SECONDS: Final = 3_600
WAITING_DAYS: Final = 7  # nothing waits longer in the queue
INPUT: Final = "input"
RESULT: Final = "result"
TEXT: Final = "text:"


def keep(run: WorkflowRun, name: str, document: Any, *, expires_at: datetime | None = None) -> None:
    """Keep a document of a run, in place of an older one of the name."""
    row = WorkflowContent.objects.filter(run=run, name=name).first() or WorkflowContent(run=run, name=name)
    row.organization_id, row.expires_at = run.organization_id, expires_at
    sealed.put(row, "document", _json(document))
    row.save()


def _keep_new(name: str, documents: Iterable[tuple[WorkflowRun, Any]], *, expires_at: datetime | None) -> None:
    """Keep a document of each of several runs, which have none of the name yet, in one statement."""
    rows = []
    for run, document in documents:
        row = WorkflowContent(run=run, organization_id=run.organization_id, name=name, expires_at=expires_at)
        sealed.put(row, "document", _json(document))
        rows.append(row)
    WorkflowContent.objects.bulk_create(rows)


def keep_inputs(documents: Iterable[tuple[WorkflowRun, Any]], *, now: datetime) -> None:
    """Keep what new runs are given until they are over."""
    _keep_new(INPUT, documents, expires_at=latest(now))


def keep_results(documents: Iterable[tuple[WorkflowRun, Any]]) -> None:
    """Keep what new runs, of which none is private, were answered at once."""
    _keep_new(RESULT, documents, expires_at=None)


def results(runs: Iterable[int], *, now: datetime) -> dict[int, Any]:
    """Return {run's pk: its result} of those whose result can be read still; one query."""
    rows = WorkflowContent.objects.filter(run__in=list(runs), name=RESULT)
    rows = rows.filter(Q(expires_at=None) | Q(expires_at__gt=now))
    found = {row.run_id: opened(row) for row in rows}
    return {pk: document for pk, document in found.items() if document is not None}


def latest(now: datetime) -> datetime:
    """Return when even the content of a run that is not over goes."""
    return now + timedelta(days=WAITING_DAYS)


@transaction.atomic
def keep_open(run: WorkflowRun, name: str, document: Any, *, now: datetime, **where: Any) -> None:
    """Keep a document until the run is over; of one that is over already, or not as in `where`, nothing is kept."""
    open_ones = WorkflowRun.objects.filter(pk=run.pk, completed_at__isnull=True, **where)
    if open_ones.select_for_update(no_key=True).first() is not None:  # whoever ends it waits, and deletes this, too
        keep(run, name, document, expires_at=latest(now))


def of_step(name: str) -> str:
    """Return what the document is called that a step came to."""
    return f"step:{name}"


def of_part(name: str, number: int) -> str:
    """Return what the document is called that a part of a step was answered."""
    return f"part:{name}:{number}"


def of_text(name: str) -> str:
    """Return what the document is called that holds what a step's model says while it says it."""
    return f"{TEXT}{name}"


def keep_text(run: WorkflowRun, name: str, call_id: str, text: str, *, now: datetime) -> None:
    """Keep what a step's model said so far, for who follows the run; of a private one nothing is."""
    keep_open(run, of_text(name), {"call_id": call_id, "text": text}, now=now, is_private=False)


def forget_parts(run: WorkflowRun, name: str) -> None:
    """Delete what the parts of a step were answered."""
    WorkflowContent.objects.filter(run=run, name__startswith=f"part:{name}:").delete()


def keep_result(run: WorkflowRun, document: Any, *, now: datetime) -> None:
    """Keep what a run came to."""
    end = now + timedelta(seconds=PRIVATE_SECONDS) if run.is_private else None
    keep(run, RESULT, document, expires_at=end)


def read(run: WorkflowRun, name: str, *, now: datetime) -> Any:
    """Return a document of a run, None where there is none (any more), or it cannot be opened."""
    row = WorkflowContent.objects.filter(run=run, name=name).first()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return opened(row)


def opened(row: WorkflowContent) -> Any:
    """Return what a row holds, None where it cannot be opened."""
    try:
        return json.loads(sealed.read(row, "document"))
    except (vault.Unreadable, ValueError):
        return None


def forget(run: WorkflowRun, *, but: tuple[str, ...] = ()) -> None:
    """Delete what is kept of a run."""
    WorkflowContent.objects.filter(run=run).exclude(name__in=but).delete()


def forget_organization(organization_id: str) -> int:
    """Delete what is kept of runs that are over, and what any are found by; return how many documents went.

    Runs that are not over are private from now on, and lose what was kept for who follows them.
    """
    runs = WorkflowRun.objects.filter(organization=organization_id)
    runs.filter(completed_at__isnull=True).update(is_private=True)
    runs.exclude(content_hash="").update(content_hash="")
    rows = WorkflowContent.objects.filter(run__in=runs)
    return rows.filter(Q(run__completed_at__isnull=False) | Q(name__startswith=TEXT)).delete()[0]


def _json(document: Any) -> str:
    try:
        return orjson.dumps(document).decode()
    except TypeError:  # a number or a text that JSON takes and orjson does not
        return json.dumps(document)
