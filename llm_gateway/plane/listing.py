"""Listing: which models a caller may name, and how their providers are; read from memory."""

from typing import Any, Final
from urllib.parse import parse_qs

from django.utils import timezone

from llm_gateway.plane import refusals
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.catalog import Source, View
from llm_gateway.plane.exchange import Exchange
from llm_gateway.plane.planes import Plane
from llm_gateway.plane.refusals import Failed
from moolai.errors import AppError

OPENAI: Final = "/v1/models"
CREATED: Final = 0  # nobody knows when a model was made
ALIAS_OWNER: Final = "moolai"
MAX_PAGE: Final = 1000
WORDS: Final = {"closed": "healthy", "half_open": "degraded", "open": "unhealthy"}


async def answer(exchange: Exchange, plane: Plane, standing: Standing) -> None:
    """Answer a read."""
    view = plane.catalog.view(standing.organization_id)
    path = exchange.path.rstrip("/")
    if path == OPENAI:
        found = models(view, standing)
        await exchange.answer_json(200, {"object": "list", "data": list(found.values())})
    elif path.startswith(f"{OPENAI}/"):
        name = path.removeprefix(f"{OPENAI}/")
        known = models(view, standing).get(name)
        if known is None:
            raise Failed(refusals.unknown_model(name))
        await exchange.answer_json(200, known)
    elif path.endswith("/models"):
        await exchange.answer_json(200, _enveloped(_page(exchange, list(models(view, standing).values()))))
    else:
        await exchange.answer_json(200, _enveloped(health(view, plane)))


def models(view: View, standing: Standing) -> dict[str, dict[str, Any]]:
    """Return the aliases, and the models that providers name, as `provider/model`, by id."""
    found = {alias: _model(alias, ALIAS_OWNER) for alias in sorted(view.aliases)}
    for source in view.sources:
        for model in sorted(source.models):
            name = f"{source.name}/{model}"
            found[name] = _model(name, source.name)
    held = standing.held
    return {name: model for name, model in found.items() if held.may_call(name, name.partition("/")[2])}


def health(view: View, plane: Plane) -> dict[str, Any]:
    """Return the providers of an organization: a provider is as bad as the worst of its models that failed lately."""
    providers = [_provider(source, plane) for source in view.sources]
    states = {provider["status"] for provider in providers}
    status = (
        "unhealthy" if states == {"unhealthy"} or not states else "degraded" if states != {"healthy"} else "healthy"
    )
    return {"status": status, "providers": providers}


def _provider(source: Source, plane: Plane) -> dict[str, Any]:
    failing = plane.breakers.states(source.key)
    worst = "open" if "open" in failing.values() else "half_open" if failing else "closed"
    return {
        "name": source.name,
        "dialect": source.dialect,
        "is_local": source.is_local,
        "status": WORDS[worst],
        "failing_models": sorted(failing),
    }


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}


def _page(exchange: Exchange, items: list[Any]) -> dict[str, Any]:
    query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
    number, size = _number(query, "page", 1), min(MAX_PAGE, _number(query, "page_size", 100))
    pages = -(-len(items) // size)
    return {
        "items": items[(number - 1) * size : number * size],
        "page": number,
        "page_size": size,
        "total_items": len(items),
        "total_pages": pages,
        "has_next": number < pages,
        "has_prev": number > 1 and pages > 0,
    }


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or not text.strip("0") or len(text) > 9:
        raise AppError("invalid_parameter", f"{name} must be a whole number from 1.")
    return int(text)


def _enveloped(data: Any) -> dict[str, Any]:
    return {"success": True, "data": data, "timestamp": timezone.now().isoformat().replace("+00:00", "Z")}
