"""What the tests of the gateway's pages share: a provider, a call in the ledger, what a page told."""

from typing import Any, Final

from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llm_gateway import providers
from llm_gateway.models import Call, Provider
from llm_gateway.money import ledger
from llm_gateway.money.records import Attempt, Begin, End
from orgs.models import Organization

KEY: Final = "sk-proj-0123456789abcdef-WXYZ"
PUBLIC: Final = "https://93.184.215.14/v1"


def provider(owner: Organization | None, **more: Any) -> Provider:
    given = {"name": "ours", "dialect": "openai", "base_url": PUBLIC, "api_key": KEY, "known_models": ["small"], **more}
    return providers.create(owner, acting_user=None, **given)


def made(number: int = 1, *, ago_seconds: float = 60, **columns: Any) -> Call:
    """Leave a call in the ledger, of `acme` unless `columns` say otherwise, with one attempt."""
    at = timezone.now().timestamp() - ago_seconds
    who: dict[str, Any] = {"organization_id": "acme", "key_id": "", "scope_key": "", "user": ""}
    who = {name: columns.pop(name, default) for name, default in who.items()}
    target = {"provider": columns.pop("provider", "ours"), "model": columns.pop("model", "small")}
    call: dict[str, Any] = {"call_id": f"{number:024x}", "at": at}
    error = columns.get("error", "")
    begin = Begin(**call, **who, requested_model="smart", reserved_usd_micros=900)
    status = 500 if error else 200
    attempt = Attempt(**call, **target, number=1, http_status=status, error=error, latency_ms=200)
    given = {"status": "failed" if error else "completed", "latency_ms": 210.0, **columns}
    end = End(**{**call, "at": at + 1}, **target, **given)
    ledger.write([begin, attempt, end], holder="test")
    return Call.objects.get(pk=call["call_id"])


def told(answer: Any) -> str:
    return " ".join(str(note) for note in get_messages(answer.wsgi_request))


def queries(console: Client, url: str) -> int:
    """Return how many queries a page makes."""
    with CaptureQueriesContext(connection) as asked:
        assert console.get(url).status_code == 200, url
    return len(asked.captured_queries)
