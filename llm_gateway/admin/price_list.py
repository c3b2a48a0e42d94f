"""The list of models: aliases, models that providers name, and published ones of those that name none; with prices."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.urls import reverse
from django.utils.http import urlencode

from llm_gateway import hosts
from llm_gateway import prices as own_prices
from llm_gateway.admin import words
from llm_gateway.models import Alias, Price
from llm_gateway.money import prices
from llm_gateway.money.prices import UnitPrice
from llm_gateway.plane import catalog
from llm_gateway.plane.catalog import Source

MOST: Final = 300
SOURCES: Final = {
    "organization": ("blue", "own price"),
    "installation": ("blue", "price for all"),
    "genai-prices": ("gray", "published"),
    "estimate": ("amber", "estimated"),
    "local": ("green", "local: free"),
    "": ("red", "unknown"),
}
_FROM: Final = "genai-prices"


@dataclass(frozen=True, slots=True)
class Line:
    """One name that may be asked for."""

    name: str
    provider: str
    note: str
    rates: tuple[str, str, str]
    source: tuple[str, str]
    url: str
    action: str
    try_url: str


def read(organization_id: str, *, search: str) -> dict[str, Any]:
    """Return `aliases`, `lines`, `is_cut` and what is done with a model whose price nobody knows."""
    view = catalog.read().view(organization_id)
    overrides = own_prices.overrides(organization_id)
    rows = {(row.organization_id, row.model): row.pk for row in Price.objects.filter(model__in=list(overrides))}
    found: list[Line] = []
    for source in view.sources:
        for model, note in _models(source):
            if search.lower() in f"{source.name}/{model}".lower():
                found.append(_line(source, model, note, overrides, rows, organization_id))
            if len(found) > MOST:
                break
    return {
        "aliases": _aliases(view.aliases, organization_id, search),
        "lines": found[:MOST],
        "is_cut": len(found) > MOST,
        "most": MOST,
        "is_refused": settings.LLM_UNKNOWN_PRICE == "refuse",
    }


def _aliases(found: Mapping[str, Any], organization_id: str, search: str) -> list[dict[str, Any]]:
    wanted = [name for name in sorted(found) if search.lower() in name.lower()][:MOST]
    rows = {(row.organization_id, row.alias): row.pk for row in Alias.objects.filter(alias__in=wanted)}
    return [
        {
            "name": name,
            "targets": ", ".join(choice.model for choice in found[name]),
            "url": reverse(
                "admin:llm_gateway_alias_change", args=[rows.get((organization_id, name)) or rows[None, name]]
            ),
        }
        for name in wanted
        if (organization_id, name) in rows or (None, name) in rows
    ]


def _models(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the models of a provider: those it names, else those that are published of its owner."""
    if source.models:
        yield from ((model, "") for model in sorted(source.models))
    elif source.base_url == hosts.OWNERS.get(source.dialect):
        yield from ((model, "published") for model in prices.models(source.dialect))
    else:
        yield "…", "names none: any may be asked for"


def _line(
    source: Source,
    model: str,
    note: str,
    overrides: Mapping[str, UnitPrice],
    rows: Mapping[tuple[str | None, str], int],
    organization_id: str,
) -> Line:
    name = f"{source.name}/{model}"
    price = None if model == "…" else _price(source, model, overrides)
    rates = (price.input, price.output, price.cached_input) if price else (None, None, None)
    url, action = _way(name, model, price, rows, organization_id)
    asked = urlencode({"organization": organization_id, "model": name})
    return Line(
        name,
        source.name,
        note,
        (words.rate(rates[0]), words.rate(rates[1]), words.rate(rates[2])),
        SOURCES.get(price.source if price else "", SOURCES[""]) if model != "…" else ("gray", "per model"),
        url,
        action,
        "" if model == "…" else f"{reverse('admin:llm_gateway_call_playground')}?{asked}",
    )


def _price(source: Source, model: str, overrides: Mapping[str, UnitPrice]) -> UnitPrice | None:
    base_url = "" if source.base_url == hosts.OWNERS.get(source.dialect) else source.base_url
    named = {"provider": source.name, "is_local": source.is_local}
    found = prices.find(source.dialect, model, overrides, base_url=base_url, **named)  # type: ignore[arg-type]
    return found or prices.find(source.dialect, model, overrides, **named)  # type: ignore[arg-type]


def _way(
    name: str, model: str, price: UnitPrice | None, rows: Mapping[tuple[str | None, str], int], organization_id: str
) -> tuple[str, str]:
    """Return where the price is changed, or where one is entered."""
    if price is not None and price.source in ("organization", "installation"):
        owner = organization_id if price.source == "organization" else None
        pk = rows.get((owner, name)) or rows.get((owner, model))
        return reverse("admin:llm_gateway_price_change", args=[pk]), "Change"
    if price is not None and price.source == "local":
        return "", ""  # what is entered does not count
    given: dict[str, Any] = {"model": name, "organization": organization_id} if model != "…" else {}
    if price is not None:
        given |= {"input_usd_per_million": price.input, "output_usd_per_million": price.output}
    return f"{reverse('admin:llm_gateway_price_add')}?{urlencode(given)}", "Enter a price" if given else ""
