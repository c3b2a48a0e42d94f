"""What the page of one call shows: its facts, its attempts on a line of time, and the arithmetic of its cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from llm_gateway.admin import words
from llm_gateway.models import Attempt, Call, Refusal
from llm_gateway.watching import contents
from orgs import vault
from orgs.admin import bars
from orgs.admin.bars import Bar
from orgs.admin.base import exact
from orgs.models import ApiKey

SOURCES: Final = {
    "organization": "the organization's own price",
    "installation": "the price for every organization",
    "genai-prices": "published (genai-prices)",
    "estimate": "estimated: nobody knows the price",
    "local": "local: free",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the arithmetic."""

    what: str
    tokens: str
    rate: str
    usd: str


def link(page: str, pk: str, text: str) -> SafeString:
    """Return the way to a row."""
    return format_html('<a class="mo-link" href="{}">{}</a>', reverse(f"admin:{page}_change", args=[quote(pk)]), text)


def who(row: Call, names: dict[str, tuple[int, str]]) -> SafeString:
    """Show who called, by key, person or orchestrator; `names` are {key id: (pk, name)}."""
    if row.key_id in names:
        pk, name = names[row.key_id]
        found = link("orgs_apikey", str(pk), name)
    else:
        found = SafeString(format_html("{}", row.user or row.key_id or "–"))
    below = row.orchestrator_id or row.organization_id
    return format_html('<span class="mo-name gw-who"><b>{}</b><small>{}</small></span>', found, below)


def key_names(rows: Sequence[Call | Refusal]) -> dict[str, tuple[int, str]]:
    """Return {key id: (pk, name)} of the keys that made these calls; one query."""
    wanted = {row.key_id for row in rows if row.key_id}
    found = ApiKey.objects.filter(key_id__in=wanted).values_list("key_id", "pk", "name") if wanted else ()
    return {key_id: (pk, name) for key_id, pk, name in found}


def shown(row: Call, *, now: datetime) -> dict[str, Any]:
    """Return what the page of one call is given."""
    attempts = list(Attempt.objects.filter(call_id=row.pk).order_by("number"))
    lines = arithmetic(row)
    return {
        "call": row,
        "badge": words.state(row),
        "facts": [*_facts(row), *_ids(attempts)],
        "bars": draw(row, attempts, now=now),
        "whole": words.ms(row.latency_ms),
        "lines": lines,
        "cost": words.usd(row.cost_usd_micros),
        "source": SOURCES.get(row.price.get("source", ""), row.price.get("source", "")),
        "is_tiered": bool(lines) and _sum(row) != row.cost_usd_micros,
        "reserved": words.usd(row.reserved_usd_micros),
        **_content(row),
    }


def _ids(attempts: list[Attempt]) -> list[tuple[str, Any]]:
    """Return the providers' own ids, which is what their support asks for."""
    many = len(attempts) > 1
    return [
        (
            f"Id of attempt {one.number} at {one.provider}" if many else f"Id at {one.provider}",
            _code(one.provider_request_id),
        )
        for one in attempts
        if one.provider_request_id
    ]


def _code(text: str) -> SafeString:
    return format_html("<code>{}</code>", text)


def _content(row: Call) -> dict[str, Any]:
    """Return what was asked and answered, where it was kept, and whether that cannot be read any more."""
    kept = contents.find(row.organization_id, row.pk)
    try:
        return {"content": contents.opened(kept) if kept is not None else None, "is_unreadable": False}
    except vault.Unreadable:
        return {"content": None, "is_unreadable": True}


def draw(row: Call, attempts: list[Attempt], *, now: datetime) -> list[Bar]:
    """Return the call and its attempts on one line of time, with its first token."""
    ends = [_offset_ms(row, one) + (one.latency_ms or 0.0) for one in attempts]
    length = row.latency_ms or (now - row.started_at).total_seconds() * 1000
    whole, first = max([length, *ends, 0.01]), row.first_token_ms
    tone = {"completed": "blue", "failed": "red", "running": "blue", "lost": "amber"}.get(row.status, "gray")
    text = words.ms(length) + (f" · first token {words.ms(first)}" if first is not None else "")
    call = bars.draw(
        "Call", row.requested_model, tone=tone, text=text, start=0.0, length=length, whole=whole, mark=first
    )
    return [call, *(_attempt(row, one, whole) for one in attempts)]


def _attempt(row: Call, one: Attempt, whole_ms: float) -> Bar:
    result = one.error or (f"HTTP {one.http_status}" if one.http_status else "answered")
    status = f" · HTTP {one.http_status}" if one.error and one.http_status else ""
    return bars.draw(
        f"{one.number}. {one.provider}",
        one.model,
        tone="red" if one.error else "green",
        text=f"{result}{status} · {words.ms(one.latency_ms)}",
        start=_offset_ms(row, one),
        length=one.latency_ms or 0.0,
        whole=whole_ms,
        mark=row.first_token_ms if not one.error else None,
    )


def _offset_ms(row: Call, attempt: Attempt) -> float:
    """Return when an attempt began; the one that answered did so before its first token, which another clock told."""
    offset = max(0.0, (attempt.started_at - row.started_at).total_seconds() * 1000)
    return offset if attempt.error or row.first_token_ms is None else min(offset, row.first_token_ms)


def arithmetic(row: Call) -> list[Line]:
    """Return how the cost came about: tokens of each kind, their price per million, and what that is."""
    return [
        Line(what, words.count(tokens), words.rate(rate), f"${_exact(tokens, rate):.8f}".rstrip("0").ljust(4, "0"))
        for what, tokens, rate in _parts(row)
    ]


def _parts(row: Call) -> list[tuple[str, int, Decimal]]:
    plain = max(0, row.input_tokens - row.cached_input_tokens - row.cache_write_tokens)
    kinds = (
        ("Input", plain, "input"),
        ("Input from the provider's cache", row.cached_input_tokens, "cached_input"),
        ("Input written to its cache", row.cache_write_tokens, "cache_write"),
        ("Output", row.output_tokens, "output"),
    )
    if not row.price.get("source"):
        return []
    return [(what, tokens, _decimal(row.price.get(name))) for what, tokens, name in kinds if tokens]


def _exact(tokens: int, rate: Decimal) -> Decimal:
    return rate * tokens / words.MICROS


def _sum(row: Call) -> int:
    exact_usd = sum((_exact(tokens, rate) for _, tokens, rate in _parts(row)), Decimal(0))
    return int((exact_usd * words.MICROS).to_integral_value(ROUND_HALF_UP))


def _decimal(text: Any) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return Decimal(0)


def _facts(row: Call) -> list[tuple[str, Any]]:
    names = key_names([row])
    tokens = f"{words.count(row.input_tokens)} in, {words.count(row.output_tokens)} out"
    if row.reasoning_tokens:
        tokens += f", {words.count(row.reasoning_tokens)} of them reasoning"
    found: list[tuple[str, Any]] = [
        ("Organization", link("orgs_organization", row.organization_id, row.organization_id)),
        ("By", who(row, names)),
        ("Asked for", row.requested_model),
        ("Answered by", f"{row.provider}/{row.model}" if row.provider else "–"),
        ("Through", f"/v1/{row.surface}{', streamed' if row.is_stream else ''}" if row.surface else "–"),
        ("Tokens", f"{tokens} (estimated)" if row.is_estimated else tokens),
        ("Took", words.ms(row.latency_ms)),
        ("First token", words.ms(row.first_token_ms)),
        ("From our cache", f"yes, which saved {words.usd(row.saved_usd_micros)}" if row.is_cached else "no"),
        ("Began", exact(row.started_at)),
        ("Ended", exact(row.finished_at)),
        ("Process", row.holder),
        ("Call id", format_html("<code>{}</code>", row.pk)),
    ]
    return found
