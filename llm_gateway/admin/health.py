"""How providers and their models are: what became of the newest requests to them, and what breakers here say."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from llm_gateway.admin import words
from llm_gateway.models import Attempt
from llm_gateway.plane import planes
from orgs.admin.base import badge

SPAN: Final = timedelta(hours=1)
MOST: Final = 5_000  # the newest requests of the hour are looked at, however many there were
OURS: Final = frozenset({"client_left", "interrupted"})  # says nothing of the provider
ILL, WEAK = 0.5, 0.05
Key = tuple[str, str, str]  # organization, provider, model


@dataclass(slots=True)
class Health:
    """What became of some requests."""

    requests: int = 0
    failed: int = 0
    times_ms: list[float] = field(default_factory=list)

    def __add__(self, other: "Health") -> "Health":
        return Health(self.requests + other.requests, self.failed + other.failed, self.times_ms + other.times_ms)

    @property
    def error_ratio(self) -> float:
        """Which part of them failed, 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def p50_ms(self) -> float | None:
        """The median of the times of those that did not fail."""
        return median(self.times_ms) if self.times_ms else None

    @property
    def tone(self) -> str:
        """Return the colour of a badge."""
        if not self.requests:
            return "gray"
        return "red" if self.error_ratio >= ILL else "amber" if self.error_ratio >= WEAK else "green"


def recent(*, now: datetime) -> dict[Key, Health]:
    """Return how the newest requests of the last hour went, by organization, provider and model. One query."""
    rows = Attempt.objects.filter(call__started_at__gte=now - SPAN).order_by("-call__started_at")
    found: dict[Key, Health] = {}
    columns = ("organization_id", "provider", "model", "error", "latency_ms")
    for *key, error, latency_ms in rows.values_list(*columns)[:MOST]:
        if error in OURS:
            continue
        one = found.setdefault((key[0], key[1], key[2]), Health())
        one.requests += 1
        one.failed += bool(error)
        if not error and latency_ms is not None:
            one.times_ms.append(latency_ms)
    return found


def total(found: dict[Key, Health], names: Iterable[tuple[str, str]]) -> Health:
    """Return the health of these (organization, provider)."""
    wanted = set(names)
    return sum((one for key, one in found.items() if key[:2] in wanted), Health())


def breakers(source_key: str) -> dict[str, str]:
    """Return the models of a provider whose breaker is not closed in this process: `open` or `half_open`."""
    plane = planes.running()
    return plane.breakers.states(source_key) if plane else {}


def show(one: Health, *, failing: dict[str, str]) -> SafeString:
    """Show a health as a badge with its numbers below."""
    if "open" in failing.values():
        found = badge("red", "✖", "Breaker open here")
    elif failing:
        found = badge("amber", "◔", "Tried again")
    elif not one.requests:
        return badge("gray", "○", "No calls")
    else:
        word = {"green": "Healthy", "amber": "Some errors", "red": "Failing"}[one.tone]
        found = badge(one.tone, {"green": "●", "amber": "▲", "red": "✖"}[one.tone], word)
    numbers = f"{words.count(one.requests)} calls · {words.share(one.failed, one.requests)} failed"
    middle = f" · {words.ms(one.p50_ms)}" if one.p50_ms is not None else ""
    return format_html('<span class="mo-name">{}<small>{}{}</small></span>', found, numbers, middle)


def facts(one: Health) -> list[tuple[str, Any]]:
    """Return the numbers of a health for a list of facts."""
    return [
        ("Requests", words.count(one.requests)),
        ("Failed", f"{words.count(one.failed)} ({words.share(one.failed, one.requests)})"),
        ("Median time", words.ms(one.p50_ms)),
    ]
