"""Idempotency keys: a write that is sent again with the same key is answered again, not done again (API §1).

The answer is stored in the transaction of the change itself, so there is never one without the other; a second call
with the same key waits for the first one's transaction. Refusals change nothing and are not stored.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from moolai.errors import AppError
from orgs import sealed
from orgs.authentication import Caller
from orgs.models import IdempotencyKey

KEPT: Final = timedelta(hours=24)
MAX_LENGTH: Final = 200
REPEATED: Final = ("ETag", "Location")
TASK: Final = "moolai_task_id"  # of a response: the task whose texts it holds


def once(
    request: HttpRequest, caller: Caller, key: str, write: Callable[[], Response], *, chosen: str
) -> Response | HttpResponse:
    """Do `write`, or answer what it answered the first time `caller` sent `key`; `chosen` is the organization named.

    Raises `bad_request` for an unusable key, and `idempotency_conflict` when the key was sent with another request, or
    when the caller may do something else by now: an answer may hold a secret that is no longer for it.
    """
    if not key.strip() or not key.isascii() or not key.isprintable() or len(key) > MAX_LENGTH:
        raise AppError("bad_request", f"Idempotency-Key: send up to {MAX_LENGTH} printable ASCII characters.")
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    fingerprint, caller_id = _fingerprint(request, caller, chosen=chosen), caller.caller_id
    with transaction.atomic():
        row = IdempotencyKey(caller=caller_id, key=key, fingerprint=fingerprint, created_at=timezone.now())
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            return _again(IdempotencyKey.objects.get(caller=caller_id, key=key), fingerprint)
        response = write()
        row.status, row.task_id = response.status_code, getattr(response, TASK, "")
        sealed.put(row, "response", _text(response))
        row.save(update_fields=["status", "response", "task_id"])
    return response


def about(response: Response, task_id: str) -> Response:
    """Say that an answer holds a task's texts: `forget` finds what is stored of it."""
    setattr(response, TASK, task_id)
    return response


def forget(task_ids: QuerySet[Any]) -> int:
    """Delete the stored answers that hold texts of these tasks (a query of their ids); return how many went."""
    return IdempotencyKey.objects.filter(task_id__in=task_ids).delete()[0]


def _text(response: Response) -> str:
    """Return what is stored of an answer: a line with the headers that belong to it, as JSON, and its body as sent."""
    body = "" if response.data is None else JSONRenderer().render(response.data).decode()
    return json.dumps({name: response[name] for name in REPEATED if name in response}) + "\n" + body


def _again(row: IdempotencyKey, fingerprint: str) -> HttpResponse:
    if row.fingerprint != fingerprint:
        raise AppError("idempotency_conflict")
    headers, _, body = sealed.read(row, "response").partition("\n")
    answer = HttpResponse(body, status=row.status, content_type="application/json")
    if row.status == 204:
        del answer["Content-Type"]
    for name, value in json.loads(headers).items():
        answer[name] = value
    answer["Idempotency-Replayed"] = "true"
    return answer


def _fingerprint(request: HttpRequest, caller: Caller, *, chosen: str) -> str:
    """Return a hash of what was asked, and of who asked: method, path with parameters, authority, and body."""
    authority = json.dumps([caller.authority, chosen], sort_keys=True)
    head = f"{request.method} {request.get_full_path()}\n{authority}\n".encode()
    return hashlib.sha256(head + request.body).hexdigest()
